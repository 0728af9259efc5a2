package cdnpush

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/tagship/tagship/services/cdnpush/internal/folder"
	"github.com/tagship/tagship/services/cdnpush/internal/publish"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// drain is for how long downloads may go on when the service stops.
const drain = 5 * time.Second

// sites are the folders of the channels and their HTTP servers. Channels with
// the same path share a folder, with the same address a server.
type sites struct {
	stores  map[string]publish.Store // by channel
	urls    map[string]string        // by channel: where its files are
	folders map[string]*folder.Folder
	servers map[string]*site
}

type site struct {
	server   *http.Server
	listener net.Listener
}

// openSites opens every folder and takes every port, so that what is wrong shows at the start.
func openSites(cfg Config, log *zap.Logger) (*sites, error) {
	s := &sites{stores: map[string]publish.Store{}, urls: map[string]string{}, folders: map[string]*folder.Folder{}, servers: map[string]*site{}}
	for _, channel := range slices.Sorted(maps.Keys(cfg.Channels)) {
		if err := s.open(channel, *cfg.Channels[channel].Store.Folder, log); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

func (s *sites) open(channel string, f Folder, log *zap.Logger) error {
	dir, err := filepath.Abs(f.Path)
	if err != nil {
		return fmt.Errorf("find %s.%s.path: %w", Name, folderField(channel), err)
	}
	opened, ok := s.folders[dir]
	if !ok {
		if opened, err = folder.Open(dir); err != nil {
			return fmt.Errorf("open the folder of channel %s (see %s.%s.path): %w", channel, Name, folderField(channel), err)
		}
		s.folders[dir] = opened
	}
	base := f.URL
	if f.Listen != "" {
		bound, err := s.listen(channel, f.Listen, opened, log)
		if err != nil {
			return err
		}
		if base == "" {
			base = "http://" + bound
		}
	}
	store := opened.Store(base)
	s.stores[channel], s.urls[channel] = store, store.URL(channel)+"/"
	return nil
}

// listen takes a port, unless another channel has it already, and tells the address.
func (s *sites) listen(channel, address string, f *folder.Folder, log *zap.Logger) (string, error) {
	if there, ok := s.servers[address]; ok {
		return there.listener.Addr().String(), nil
	}
	handler, err := f.Handler(log)
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", address)
	key := Name + "." + folderField(channel) + ".listen"
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", fmt.Errorf("serve channel %s on %s: another program has this port, choose another in %s", channel, address, key)
	}
	if err != nil {
		return "", fmt.Errorf("serve channel %s on %s (see %s): %w", channel, address, key, err)
	}
	s.servers[address] = &site{listener: listener, server: &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: zap.NewStdLog(log),
	}}
	return listener.Addr().String(), nil
}

// serve serves until ctx ends, then lets downloads go on for a while.
func (s *sites) serve(ctx context.Context) error {
	var group errgroup.Group
	for _, site := range s.servers {
		group.Go(func() error {
			if err := site.server.Serve(site.listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve channels on %s: %w", site.listener.Addr(), err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
			defer cancel()
			if site.server.Shutdown(ctx) != nil {
				return site.server.Close() // who downloads a file resumes it elsewhere, or later
			}
			return nil
		})
	}
	return group.Wait()
}

// close releases folders and ports. It may follow serve.
func (s *sites) close() error {
	var errs []error
	for _, site := range s.servers {
		if err := site.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, f := range s.folders {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
