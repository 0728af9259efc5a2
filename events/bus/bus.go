// Package bus carries events over NATS JetStream. It is the only code of Tagship
// that knows JetStream.
//
// A service connects, and runs its workers:
//
//	b, err := bus.Connect(ctx, bus.Options{Service: "builder", URL: "nats://127.0.0.1:4222", Log: log})
//	…
//	return b.Run(ctx, bus.Worker{
//		Consumer: bus.Consumer{Name: "builder", Stream: events.StreamTags, Filters: []string{events.KindTagSeen.All()}},
//		Slots:    2,
//		GiveUp:   2 * time.Hour,
//		Handle:   bus.Handle(build.TagSeen), // func(ctx, events.Delivery[*events.TagSeen]) ([]events.Fact, error)
//	})
//
// What the package promises, and its tests show, whatever breaks around it:
//
//   - A fact happens once. Every publication is a compare-and-set on what its
//     subject holds, so handling a message twice states its facts once.
//   - Publish, then acknowledge. A message is settled only after its outcome is stored.
//   - Nothing is lost. A message leaves its consumer as handled, or as a dead
//     letter with everything needed to replay it.
//   - Shutdown is not failure: what is not finished in time is handed back.
//
// Reads that decisions rest on are answered by the stream's leader.
package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// Options says how to connect, and as whom.
type Options struct {
	// Service is the name of the service, as in "nats micro ls" and in dead letters.
	Service string
	// Version is the service's own version, a semantic version such as 1.2.3.
	Version string
	// URL is where NATS answers; several are separated by commas.
	URL string
	// Wait is how long Connect keeps trying while nothing answers; 0 means once.
	Wait time.Duration
	// Connection adds to how the connection is made: credentials, TLS, an
	// in-process server.
	Connection []nats.Option
	// Topology is what the streams and consumers are to be like.
	Topology Topology
	// Grace is how long handlers may go on after Run was asked to stop, before
	// their messages are handed back. Default 20 s.
	Grace time.Duration
	// Log must not be nil.
	Log *zap.Logger
	// Metrics is where the bus registers its metrics; nil means nowhere.
	Metrics prometheus.Registerer
	// Tracer makes spans; nil means spans that are passed on and not exported.
	Tracer trace.TracerProvider
}

// Bus is one service's connection. It is safe for concurrent use.
type Bus struct {
	opts    Options
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *zap.Logger
	tracer  trace.Tracer
	stats   *stats
	metrics *metrics
	closed  chan struct{} // closed after the last word of the connection

	// life ends when a service that was asked to stop must have stopped. Until
	// then output is stored.
	life context.Context
	end  context.CancelCauseFunc

	closeOnce sync.Once

	buckets sync.Map // bound buckets, by name

	denials denials

	crash *crash // where a test kills this process; nil outside of tests
}

// Connect connects to NATS. The error tells a person what was tried and what to
// check. The connection then survives restarts of NATS by itself.
func Connect(ctx context.Context, o Options) (*Bus, error) {
	if o.Grace == 0 {
		o.Grace = 20 * time.Second
	}
	if o.URL == "" {
		o.URL = nats.DefaultURL
	}
	o.Topology = o.Topology.withDefaults()
	if o.Tracer == nil {
		// Nothing would be exported: spans have ids to pass on, and record nothing.
		o.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	}
	b := &Bus{
		opts:    o,
		log:     o.Log,
		tracer:  o.Tracer.Tracer("github.com/tagship/tagship/events/bus"),
		stats:   newStats(),
		closed:  make(chan struct{}),
		denials: denials{waiting: map[*waiter]bool{}},
	}
	b.life, b.end = context.WithCancelCause(context.Background())
	var err error
	if b.crash, err = newCrash(os.Getenv(CrashVariable)); err != nil {
		return nil, err
	}
	if b.nc, err = b.dial(ctx); err != nil {
		return nil, err
	}
	if b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(apiTimeout)); err != nil {
		b.nc.Close()
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	if b.metrics, err = newMetrics(o.Metrics, b); err != nil {
		b.nc.Close()
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return b, nil
}

// apiTimeout bounds each single request to NATS; what is worth more is retried.
const apiTimeout = 5 * time.Second

func (b *Bus) dial(ctx context.Context) (*nats.Conn, error) {
	deadline := time.Now().Add(b.opts.Wait)
	for told := false; ; {
		nc, err := nats.Connect(b.opts.URL, b.connection()...)
		if err == nil {
			return nc, nil
		}
		final := errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired)
		if final || time.Now().After(deadline) {
			return nil, fmt.Errorf("connect to NATS at %s: %w%s", redactURL(b.opts.URL), err, connectHint(err))
		}
		if !told {
			b.log.Warn("NATS does not answer yet, waiting", zap.String("url", redactURL(b.opts.URL)), zap.Duration("for", b.opts.Wait), zap.Error(err))
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to NATS at %s: %w", redactURL(b.opts.URL), context.Cause(ctx))
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func connectHint(err error) string {
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return " (check the user or credentials in section nats of tagship.yaml)"
	case errors.Is(err, nats.ErrNoServers):
		return " (is it running? check nats.url in tagship.yaml)"
	}
	return ""
}

func (b *Bus) connection() []nats.Option {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	options := []nats.Option{
		nats.Name(fmt.Sprintf("tagship %s on %s", b.opts.Service, host)),
		nats.CustomInboxPrefix("_INBOX_" + b.opts.Service),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.Timeout(apiTimeout),
		nats.PingInterval(10 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("connection to NATS lost, reconnecting", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.log.Info("reconnected to NATS", zap.String("url", nc.ConnectedUrlRedacted()))
		}),
		nats.ErrorHandler(b.asyncError),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
	}
	return append(options, b.opts.Connection...)
}

// Connected reports whether NATS answers at this moment.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Service is the name the bus was connected under.
func (b *Bus) Service() string { return b.opts.Service }

// Close flushes what was published and closes the connection. Workers must have
// stopped. It may be called again.
func (b *Bus) Close() { b.closeOnce.Do(b.close) }

func (b *Bus) close() {
	if b.nc.IsConnected() {
		// Best effort: everything that matters was confirmed one by one.
		if err := b.nc.FlushTimeout(apiTimeout); err != nil {
			b.log.Debug("flush before closing", zap.Error(err))
		}
	}
	b.nc.Close()
	b.end(nats.ErrConnectionClosed)
	select {
	case <-b.closed: // nothing is logged from here on
	case <-time.After(apiTimeout):
	}
	b.metrics.unregister()
}

// redactURL hides user names and passwords in a list of server URLs.
func redactURL(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		if at := strings.LastIndexByte(part, '@'); at >= 0 {
			scheme, _, found := strings.Cut(part, "://")
			if !found {
				scheme = "nats"
			}
			parts[i] = scheme + "://[redacted]@" + part[at+1:]
		}
	}
	return strings.Join(parts, ",")
}
