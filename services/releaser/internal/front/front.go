// Package front gives an app one stable TCP port in front of instances that come
// and go.
//
// Where the app speaks HTTP, each request is given to an instance, so that a
// client's open connection outlives the instances behind it; else each
// connection is. [Front.Switch] moves what comes next to other instances at
// once, and lets what is in flight finish: no request fails for a release.
package front

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Backends are the instances of one release.
type Backends struct {
	Addrs []string      // host:port each
	HTTP  bool          // requests are spread, rather than connections
	Grace time.Duration // how long what is in flight may take to finish, once others follow
}

// Front is one app's port. Its methods are safe for concurrent use.
type Front struct {
	app      string
	listener net.Listener
	log      *zap.Logger
	http     *http.Server
	conns    *handover
	current  atomic.Pointer[generation]
	mu       sync.Mutex // held while the generation changes
	former   []*generation
	accepted sync.WaitGroup
}

// newFront serves on the listener until Close.
func newFront(app string, listener net.Listener, log *zap.Logger) *Front {
	f := &Front{app: app, listener: listener, log: log, conns: newHandover(listener.Addr())}
	f.current.Store(newGeneration(Backends{HTTP: true}))
	f.http = &http.Server{
		Handler:           http.HandlerFunc(f.serveHTTP),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          zap.NewStdLog(log),
	}
	f.accepted.Go(func() {
		if err := f.http.Serve(f.conns); !errors.Is(err, http.ErrServerClosed) {
			log.Error("stopped serving", zap.Error(err))
		}
	})
	f.accepted.Go(f.accept)
	return f
}

// Port is the port the app answers on.
func (f *Front) Port() int { return f.listener.Addr().(*net.TCPAddr).Port }

// Switch gives everything that comes from now on to the backends. The wait it
// returns ends when all former backends have finished what they had in flight,
// or their grace is over and it was cut off; then they can be stopped. Without
// waiting, what is in flight goes on.
func (f *Front) Switch(to Backends) (wait func(ctx context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.current.Swap(newGeneration(to))
	last.retire()
	f.former = append(slices.DeleteFunc(f.former, (*generation).finished), last)
	former := slices.Clone(f.former)
	return func(ctx context.Context) error {
		for _, g := range former {
			if err := g.drain(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// Serves reports whether traffic goes to exactly these backends.
func (f *Front) Serves(b Backends) bool { return f.current.Load().same(b) }

// Close stops listening and cuts off what is in flight after the grace of the
// current backends.
func (f *Front) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), f.current.Load().backends.Grace)
	defer cancel()
	err := f.listener.Close()
	if shutdown := f.http.Shutdown(ctx); errors.Is(shutdown, context.DeadlineExceeded) {
		err = errors.Join(err, f.http.Close())
	}
	if drained := f.Switch(Backends{HTTP: true})(ctx); !errors.Is(drained, context.DeadlineExceeded) {
		err = errors.Join(err, drained)
	}
	f.accepted.Wait()
	return err
}

// accept sorts the connections: those of an app that speaks HTTP to the HTTP
// server, the others straight to an instance.
func (f *Front) accept() {
	for {
		conn, err := f.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Such as too many open files: it passes.
			f.log.Warn("cannot accept a connection", zap.Error(err))
			<-time.After(50 * time.Millisecond)
			continue
		}
		if g := f.enter(); g.backends.HTTP {
			g.leave()
			f.conns.give(conn)
		} else {
			go f.serveConn(g, conn)
		}
	}
}

// enter counts one more in flight at the current generation. Whoever is counted
// is waited for, so a generation that was switched away in between is not entered.
func (f *Front) enter() *generation {
	for {
		if g := f.current.Load(); g.enter() {
			return g
		}
	}
}

func (f *Front) serveHTTP(w http.ResponseWriter, r *http.Request) {
	g := f.enter()
	defer g.leave()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(g.cut, func() { cancel(errCut) })()
	g.proxy(f.app, f.log).ServeHTTP(w, r.WithContext(ctx))
}

// handover is a listener whose connections were accepted elsewhere.
type handover struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHandover(addr net.Addr) *handover {
	return &handover{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *handover) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.closed:
		_ = conn.Close() // nobody is left to serve it
	}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handover) Addr() net.Addr { return h.addr }
