package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Worker is one step of a service: where its messages come from, what is done
// with one, and what becomes of those that cannot be handled.
type Worker struct {
	Consumer Consumer
	// Slots is how many messages this process works on at once. Default 1.
	Slots int
	// GiveUp is how old a message may become while its handling fails. Default 1 h.
	GiveUp time.Duration
	// Handle does the step; make it with [Handle].
	Handle HandleFunc
	// Malformed answers a message that cannot be decoded with a fact, as
	// requests must be. Without it such a message goes to the dead letters.
	Malformed func(subject string, body []byte, err error) events.Fact
	// GaveUp returns facts to state beside the dead letter when a message is
	// given up on, so that whoever waits for the outcome learns of it. May be nil.
	GaveUp func(m events.Event, reason error) []events.Fact
}

func (w Worker) withDefaults() Worker {
	if w.Slots == 0 {
		w.Slots = 1
	}
	if w.GiveUp == 0 {
		w.GiveUp = time.Hour
	}
	return w
}

// HandleFunc is a handler for any event.
type HandleFunc func(ctx context.Context, d events.Delivery[events.Event]) ([]events.Fact, error)

// Handle adapts the handler of one type of message. A message of another type on
// the worker's subjects goes to the dead letters.
func Handle[M events.Event](h events.Handler[M]) HandleFunc {
	return func(ctx context.Context, d events.Delivery[events.Event]) ([]events.Fact, error) {
		m, ok := d.Message.(M)
		if !ok {
			return nil, events.Permanent(fmt.Errorf("%s on %s is no message for this worker", d.Message.Kind(), d.Message.Subject()))
		}
		return h(ctx, events.Delivery[M]{Message: m, Origin: d.Origin, Time: d.Time, Attempt: d.Attempt, First: d.First})
	}
}

// pull is how long one request for a message waits at the server. Shutdown waits
// for it to end, so that no message arrives at nobody.
const pull = time.Second

// Run makes streams and consumers ready, announces the service, and works until
// ctx ends. Then it pulls no more, lets handlers finish for the time of grace,
// cancels the others with the cause [events.ErrShutdown], and hands their
// messages back.
func (b *Bus) Run(ctx context.Context, workers ...Worker) error {
	bound := make([]*worker, len(workers))
	consumers := make([]Consumer, len(workers))
	for i, w := range workers {
		consumers[i] = w.Consumer
	}
	if err := b.Ensure(ctx, consumers...); err != nil {
		return err
	}
	for i, w := range workers {
		source, err := b.consumer(ctx, w.Consumer)
		if err != nil {
			return err
		}
		bound[i] = b.newWorker(w.withDefaults(), source)
	}
	leave, err := b.announce(consumers)
	if err != nil {
		return err
	}
	defer leave()

	// A worker that cannot go on stops the others: half a service looks alive and is not.
	group, ctx := errgroup.WithContext(ctx)
	work, stop := b.grace(ctx)
	defer stop()
	for _, w := range bound {
		group.Go(func() error { return w.run(ctx, work) })
	}
	return group.Wait()
}

// grace returns a context that ends some time after ctx, with the cause
// [events.ErrShutdown].
func (b *Bus) grace(ctx context.Context) (work context.Context, stop func()) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		time.AfterFunc(b.opts.Grace+apiTimeout, func() { b.end(events.ErrShutdown) })
	})
	var over sync.WaitGroup
	over.Go(func() {
		select {
		case <-ctx.Done():
		case <-work.Done():
			return
		}
		b.log.Info("stopping: finishing what is in work", zap.Duration("within", b.opts.Grace))
		select {
		case <-time.After(b.opts.Grace):
			cancel(events.ErrShutdown)
		case <-work.Done():
		}
	})
	return work, func() {
		cancel(events.ErrShutdown)
		over.Wait()
	}
}

type worker struct {
	Worker
	bus     *Bus
	source  jetstream.Consumer
	log     *zap.Logger
	stats   *consumerStats
	metrics *consumerMetrics
	beat    time.Duration
	started time.Time
}

func (b *Bus) newWorker(w Worker, source jetstream.Consumer) *worker {
	ackWait := b.opts.Topology.AckWait
	if info := source.CachedInfo(); info != nil && info.Config.AckWait > 0 {
		ackWait = info.Config.AckWait
	}
	return &worker{
		Worker: w, bus: b, source: source,
		log:     b.log.With(zap.String("stream", w.Consumer.Stream), zap.String("consumer", w.Consumer.Name)),
		stats:   b.stats.of(w.Consumer),
		metrics: b.metrics.of(w.Consumer),
		beat:    ackWait / 4,
		started: time.Now(),
	}
}

// run pulls one message per free slot until ctx ends, then waits for the slots.
// Handlers run under work, which outlives ctx by the time of grace.
//
// A slot counts as free once its handler has returned: the next message is on
// its way while the outcome of the last one is stored, which halves the waiting.
// No handler is called for it before that is done.
func (w *worker) run(ctx, work context.Context) error {
	busy := make(chan struct{}, w.Slots)
	messages := make(chan pulled)
	var slots sync.WaitGroup
	for range w.Slots {
		// One goroutine for all of a slot's messages: its stack has grown after the first.
		slots.Go(func() {
			for next := range messages {
				settle := w.handle(ctx, work, next.msg)
				<-busy
				settle()
				next.stopBeat()
			}
		})
	}
	defer slots.Wait()
	defer close(messages)
	source := w.source
	for {
		select {
		case <-ctx.Done():
		case busy <- struct{}{}:
		}
		if ctx.Err() != nil { // whichever of the two was chosen
			return nil
		}
		msg, err := source.Next(jetstream.FetchMaxWait(pull))
		if err != nil {
			<-busy
			if source, err = w.pullFailed(ctx, source, err); err != nil {
				return err
			}
			continue
		}
		// From here on, for it may wait until an outcome is stored.
		next := pulled{msg, w.heartbeat(msg)}
		select {
		case messages <- next:
		case <-ctx.Done():
			next.stopBeat()
			w.handBack(msg)
			return nil
		}
	}
}

// pulled is a message and its heartbeat.
type pulled struct {
	msg      jetstream.Msg
	stopBeat func()
}

// pullFailed tells apart that there is no message, that NATS is away, and that
// the consumer is gone. It returns the consumer to pull from next, or an error
// that no patience mends.
func (w *worker) pullFailed(ctx context.Context, source jetstream.Consumer, err error) (jetstream.Consumer, error) {
	switch {
	case ctx.Err() != nil, errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrNoMessages), errors.Is(err, jetstream.ErrNoHeartbeat):
		return source, nil
	case errors.Is(err, nats.ErrConnectionClosed):
		return nil, fmt.Errorf("pull from %s: %w", w.Consumer.Name, err)
	case errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, nats.ErrNoResponders):
		// Deleted by hand, or NATS came back empty: make it again.
		if again, err := w.bus.consumer(ctx, w.Consumer); err == nil {
			source = again
		} else if lasting(err) && ctx.Err() == nil {
			return nil, err
		}
	}
	w.log.Debug("pull failed", zap.Error(err))
	select {
	case <-ctx.Done():
	case <-time.After(pull / 4):
	}
	return source, nil
}

// delivery is a message in work.
type delivery struct {
	msg     jetstream.Msg
	subject string
	origin  events.Cause
	time    time.Time
	attempt int
	event   events.Event // nil if it could not be decoded
	record  *attemptRecord
	log     *zap.Logger
}

// handle takes one message from delivery to its outcome, and returns what then
// settles it.
func (w *worker) handle(ctx, work context.Context, msg jetstream.Msg) (settle func()) {
	meta, err := msg.Metadata()
	if err != nil { // not a JetStream message: cannot come from a consumer
		w.log.Error("passed over a message without metadata", zap.String("subject", msg.Subject()), zap.Error(err))
		return func() {}
	}
	if ctx.Err() != nil { // arrived while stopping
		return func() { w.handBack(msg) }
	}
	if only := msg.Headers().Get(HeaderOnly); msg.Headers().Get(HeaderReplay) != "" && only != w.Consumer.Name {
		return func() { w.acknowledge(work, msg) } // replayed for another consumer
	}
	d := &delivery{
		msg:     msg,
		subject: msg.Subject(),
		origin:  events.Cause{Stream: meta.Stream, Seq: meta.Sequence.Stream},
		time:    meta.Timestamp,
		attempt: int(meta.NumDelivered),
	}
	work = propagation.TraceContext{}.Extract(work, propagation.HeaderCarrier(msg.Headers()))
	work, span := w.bus.tracer.Start(work, w.Consumer.Name, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("messaging.destination.name", d.subject), attribute.Int64("messaging.message.seq", int64(d.origin.Seq))))
	work = withOrigin(work, origin{cause: &d.origin, time: d.time})
	d.log = w.log.WithLazy(zap.String("subject", d.subject), zap.Stringer("message", d.origin), zap.Int("attempt", d.attempt),
		zap.Stringer("trace", span.SpanContext().TraceID()))

	began := time.Now()
	w.stats.start()
	facts, err := w.work(work, d)
	return func() {
		defer span.End()
		result := w.settle(work, d, facts, err)
		w.stats.finish(began, result)
		w.metrics.settled(result, time.Since(began))
		if err != nil && result != outcomeDone && result != outcomeSkipped {
			span.SetStatus(codes.Error, err.Error())
		}
	}
}

// work decodes a message and calls the handler, guarding against messages that
// kill their worker and against panics.
func (w *worker) work(ctx context.Context, d *delivery) (facts []events.Fact, err error) {
	defer func() {
		if r := recover(); r != nil {
			d.log.Error("handler panicked", zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
			facts, err = nil, fmt.Errorf("handler panicked: %v", r)
		}
	}()
	event, err := events.Decode(d.subject, d.msg.Data())
	if err != nil {
		if w.Malformed == nil {
			return nil, events.Permanent(err)
		}
		d.log.Warn("malformed message", zap.Error(err))
		return []events.Fact{w.Malformed(d.subject, d.msg.Data(), err)}, nil
	}
	d.event = event
	if err := w.beginAttempt(ctx, d); err != nil {
		return nil, err
	}
	return w.Handle(ctx, events.Delivery[events.Event]{Message: event, Origin: d.origin, Time: d.time, Attempt: d.attempt, First: firstSeq(d.msg.Headers(), d.origin.Seq)})
}

// heartbeat tells the server at every quarter of AckWait that the message is in
// work, until stopped.
func (w *worker) heartbeat(msg jetstream.Msg) (stop func()) {
	var mu sync.Mutex
	stopped := false
	var timer *time.Timer
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(w.beat, func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		if err := msg.InProgress(); err != nil {
			w.log.Debug("heartbeat failed", zap.Error(err))
		}
		timer.Reset(w.beat)
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}
