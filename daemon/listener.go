package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// Listener serves /metrics, /healthz and /readyz, and what a service adds.
//
// /healthz answers 200 as long as the process runs. /readyz answers 200 once the
// service does its work and NATS answers, and 503 with the reason otherwise.
type Listener struct {
	Mux *http.ServeMux

	listener net.Listener
	server   *http.Server
	ready    atomic.Bool
	watch    atomic.Pointer[func() bool]
}

// Listen opens the listener and serves until it is closed.
func Listen(address string, metrics prometheus.Gatherer, log *zap.Logger) (*Listener, error) {
	opened, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, usage(fmt.Errorf("listen on %s: another program has this port, choose another with --listen", address))
	}
	if err != nil {
		return nil, usage(fmt.Errorf("listen on %s (see --listen): %w", address, err))
	}
	l := &Listener{Mux: http.NewServeMux(), listener: opened}
	l.Mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	l.Mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	l.Mux.HandleFunc("GET /readyz", l.readyz)
	l.server = &http.Server{Handler: l.Mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	go func() {
		if err := l.server.Serve(opened); !errors.Is(err, http.ErrServerClosed) {
			log.Error("listener ended", zap.Error(err))
		}
	}()
	return l, nil
}

// URL is where the listener answers.
func (l *Listener) URL() string { return "http://" + l.listener.Addr().String() }

// Ready says that the service does its work.
func (l *Listener) Ready() { l.ready.Store(true) }

// Watch makes readiness depend on connected as well.
func (l *Listener) Watch(connected func() bool) { l.watch.Store(&connected) }

// Close stops serving, letting answers in work go on for a moment.
func (l *Listener) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		// The process ends: whoever still reads has had its time.
		_ = l.server.Close()
	}
}

func (l *Listener) readyz(w http.ResponseWriter, _ *http.Request) {
	connected := l.watch.Load()
	switch {
	case !l.ready.Load():
		answer(w, http.StatusServiceUnavailable, "starting")
	case connected != nil && !(*connected)():
		answer(w, http.StatusServiceUnavailable, "NATS does not answer")
	default:
		answer(w, http.StatusOK, "ok")
	}
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	// A client that has gone away needs no answer.
	_, _ = fmt.Fprintln(w, text)
}
