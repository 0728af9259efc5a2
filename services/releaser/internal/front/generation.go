package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

var (
	errCut        = errors.New("cut off: the instance is stopped")
	errNoInstance = errors.New("no instance is there")
)

// dialTimeout is how long an instance may take to accept a connection.
const dialTimeout = 5 * time.Second

// generation is the backends between two switches, and what is in flight at them.
type generation struct {
	backends  Backends
	next      atomic.Uint64
	dialer    net.Dialer
	transport *http.Transport

	mu       sync.Mutex
	inFlight int
	retired  bool
	idle     chan struct{} // closed when retired and nothing is in flight

	cut    context.Context // ends when what is in flight is cut off
	cutOff context.CancelFunc
}

func newGeneration(b Backends) *generation {
	g := &generation{backends: b, dialer: net.Dialer{Timeout: dialTimeout}, idle: make(chan struct{})}
	g.transport = &http.Transport{
		DialContext:         g.dialer.DialContext,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true, // what the instance answers is passed on as it is
	}
	g.cut, g.cutOff = context.WithCancel(context.Background())
	return g
}

func (g *generation) same(b Backends) bool {
	return g.backends.HTTP == b.HTTP && slices.Equal(g.backends.Addrs, b.Addrs)
}

func (g *generation) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.retired {
		return false
	}
	g.inFlight++
	return true
}

func (g *generation) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inFlight--; g.retired && g.inFlight == 0 {
		close(g.idle)
	}
}

func (g *generation) retire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.retired {
		return
	}
	g.retired = true
	if g.inFlight == 0 {
		close(g.idle)
	}
}

// drain waits until nothing is in flight at a retired generation. After its
// grace, what is left is cut off.
func (g *generation) drain(ctx context.Context) error {
	defer g.transport.CloseIdleConnections()
	defer g.cutOff()
	grace := time.NewTimer(g.backends.Grace)
	defer grace.Stop()
	select {
	case <-g.idle:
		return nil
	case <-grace.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// finished reports whether nothing is in flight at a retired generation, and
// then lets go of its connections.
func (g *generation) finished() bool {
	select {
	case <-g.idle:
		g.transport.CloseIdleConnections()
		return true
	default:
		return false
	}
}

// inTurn lists the instances, beginning with the one whose turn it is.
func (g *generation) inTurn() []string {
	addrs := g.backends.Addrs
	if len(addrs) == 0 {
		return nil
	}
	first := int((g.next.Add(1) - 1) % uint64(len(addrs)))
	return slices.Concat(addrs[first:], addrs[:first])
}

func (g *generation) proxy(app string, log *zap.Logger) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: g,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		ErrorLog: zap.NewStdLog(log),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				log.Debug("request failed", zap.String("method", r.Method), zap.Error(err))
			}
			http.Error(w, app+": no instance answers", http.StatusBadGateway)
		},
	}
}

// RoundTrip gives a request to the instance whose turn it is, or to the next one
// where that refuses the connection: then nothing of the request was sent.
func (g *generation) RoundTrip(r *http.Request) (*http.Response, error) {
	body := r.Body
	if body != nil {
		// A failed attempt closes the body, and the next one needs it.
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(body)
		if body == http.NoBody {
			r.Body = body
		}
		defer body.Close()
	}
	err := errNoInstance
	for _, addr := range g.inTurn() {
		r.URL.Host = addr
		var resp *http.Response
		if resp, err = g.transport.RoundTrip(r); err == nil {
			return resp, nil
		}
		if !refused(err) {
			break
		}
	}
	return nil, err
}

func refused(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) && network.Op == "dial"
}

// serveConn passes bytes between a client and an instance until both are done.
// The generation has been entered.
func (f *Front) serveConn(g *generation, client net.Conn) {
	defer g.leave()
	defer client.Close()
	instance, err := g.dial()
	if err != nil {
		f.log.Debug("connection failed", zap.Error(err))
		return
	}
	defer instance.Close()
	defer context.AfterFunc(g.cut, func() {
		_ = client.Close()   // their copying ends with an error, which says no more
		_ = instance.Close() // than that they were cut off
	})()
	var both sync.WaitGroup
	both.Go(func() { passOn(instance, client) })
	both.Go(func() { passOn(client, instance) })
	both.Wait()
}

func (g *generation) dial() (net.Conn, error) {
	err := errNoInstance
	for _, addr := range g.inTurn() {
		var conn net.Conn
		if conn, err = g.dialer.DialContext(g.cut, "tcp", addr); err == nil {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("connect to an instance: %w", err)
}

// passOn copies one direction and then passes on its end, so that a client which
// has said all still hears the answer. After an error both directions end.
func passOn(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(*net.TCPConn)
	if err == nil && ok && half.CloseWrite() == nil {
		return
	}
	_ = to.Close()   // the connection is broken already
	_ = from.Close() // and ends the other direction
}
