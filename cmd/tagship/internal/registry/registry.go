// Package registry is the OCI registry that "tagship up" brings along, so that
// a laptop needs none: the CNCF distribution registry in this process, with its
// content in a folder.
//
//	server, err := registry.Start(ctx, filepath.Join(data, "registry"), "127.0.0.1:5000", log)
//	…
//	defer server.Close(ctx)
//	// images go to server.Addr()+"/web"
//
// It has no users and no TLS, and is meant for the loopback interface. Nothing in
// it can be deleted over HTTP: a release may go back to any version ever built.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the driver named in config
	"go.uber.org/zap"
)

// Server is a running registry. Its methods are safe for concurrent use.
type Server struct {
	app      *handlers.App
	server   *http.Server
	addr     string
	ended    chan struct{} // closed once serving has ended
	serveErr error         // why; to be read after ended
}

// Start serves the registry whose content is in dir, which is made if missing,
// on addr, a TCP address such as 127.0.0.1:5000; port 0 takes a free one. It
// returns once connections are accepted. Only one registry may use a folder at a time.
//
// The registry's own log goes to log at level debug. It is the registry's
// process-wide log, so of two registries in a process the later one gets all of it.
//
// The context bounds the start and the life of the registry's background work;
// the server itself ends with [Server.Close].
func Start(ctx context.Context, dir, addr string, log *zap.Logger) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find folder of the registry: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of the registry: %w", err)
	}
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, listenError(addr, err)
	}
	routeLog(log)
	app, err := newApp(ctx, config(dir, listener.Addr().String()))
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s := &Server{
		app:    app,
		addr:   listener.Addr().String(),
		ended:  make(chan struct{}),
		server: &http.Server{Handler: app, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: zap.NewStdLog(log)},
	}
	go func() {
		defer close(s.ended)
		s.serveErr = s.server.Serve(listener)
	}()
	return s, nil
}

// Addr is the address the registry is bound to, host and port: the first part of
// its images' names.
func (s *Server) Addr() string { return s.addr }

// Close accepts no more connections, lets requests finish until ctx ends, then
// cuts them off, which an interrupted push survives by being tried again.
func (s *Server) Close(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("finish requests to the registry: %w", err), s.server.Close())
	}
	<-s.ended
	if !errors.Is(s.serveErr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve registry on %s: %w", s.addr, s.serveErr))
	}
	return errors.Join(err, s.app.Shutdown())
}

// config is the registry's configuration, as its file would say it.
func config(dir, addr string) *configuration.Configuration {
	c := &configuration.Configuration{
		Version: "0.1",
		Storage: configuration.Storage{
			"filesystem": configuration.Parameters{"rootdirectory": dir},
			"delete":     configuration.Parameters{"enabled": false},
			// What a killed push leaves behind goes after a day.
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{
				"enabled": true, "age": "24h", "interval": "24h", "dryrun": false,
			}},
		},
	}
	c.HTTP.Addr = addr
	c.HTTP.RelativeURLs = true // clients may know the registry by another name, as containers do
	c.Catalog.MaxEntries = 1000
	return c
}

// newApp turns the panics by which the registry reports a bad start into errors.
func newApp(ctx context.Context, c *configuration.Configuration) (app *handlers.App, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("start registry: %v", reason)
		}
	}()
	return handlers.NewApp(ctx, c), nil
}

func listenError(addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("start registry: another program listens on %s: stop it, or give the registry another address: %w", addr, err)
	}
	return fmt.Errorf("start registry on %s: %w", addr, err)
}
