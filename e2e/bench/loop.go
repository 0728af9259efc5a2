package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
)

const (
	loopRounds   = 5
	loopMessages = 1000 // in a round
	loopGoal     = 0.8  // of the bare loop's rate
)

// measureLoop compares the worker loop with the loop that its user would write
// with nats.go: get a message, decode it, publish what follows from it unless it
// is there, acknowledge and wait for the confirmation. Both take turns on one
// server, and the median over the rounds counts, of the ratios too, as the machine
// is not equally busy in all of them.
func measureLoop(ctx context.Context, b *bench) error {
	for _, sync := range []bool{false, true} {
		if err := measureLoopOn(ctx, b, sync); err != nil {
			return err
		}
	}
	return nil
}

func measureLoopOn(ctx context.Context, b *bench, sync bool) (err error) {
	s, err := b.startNATS(ctx, sync)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	quiet, err := newWorkerLoop(ctx, s, "quiet", zapcore.WarnLevel)
	if err != nil {
		return err
	}
	defer quiet.stop()
	logging, err := newWorkerLoop(ctx, s, "logging", zapcore.InfoLevel)
	if err != nil {
		return err
	}
	defer logging.stop()
	bare, err := newBareLoop(ctx, s)
	if err != nil {
		return err
	}
	if err := wait(ctx, suspicion); err != nil {
		return err
	}
	rates, ratios, costs := map[loop][]float64{}, map[loop][]float64{}, map[loop][]float64{}
	for round := range loopRounds + 1 {
		now, cost := map[loop]float64{}, map[loop]float64{}
		for _, l := range []loop{bare, quiet, logging} {
			used := cpuOfSelf()
			took, err := l.turn(ctx, round)
			if err != nil {
				return err
			}
			cost[l] = float64((cpuOfSelf() - used).Microseconds()) / loopMessages
			now[l] = rate(loopMessages-1, took)
		}
		if round == 0 {
			continue // it warms up
		}
		for l, r := range now {
			costs[l] = append(costs[l], cost[l])
			rates[l] = append(rates[l], r)
			ratios[l] = append(ratios[l], r/now[bare])
		}
	}
	line := func(log string, l loop) row {
		return row{
			what:     fmt.Sprintf("worker loop, 1 slot, TCP, %s, %s", syncText(sync), log),
			measured: fmt.Sprintf("%.0f/s", median(rates[l])), beside: fmt.Sprintf("bare loop %.0f/s", median(rates[bare])),
			ratio: fmt.Sprintf("%.2f", median(ratios[l])),
		}
	}
	first := line("log warn", quiet)
	first.goal, first.met = fmt.Sprintf("≥ %.2f", loopGoal), median(ratios[quiet]) >= loopGoal
	b.report.add(first, line("log info", logging), row{
		what:     fmt.Sprintf("its processor time per message, %s, log warn", syncText(sync)),
		measured: fmt.Sprintf("%.0f µs", median(costs[quiet])), beside: fmt.Sprintf("bare loop %.0f µs", median(costs[bare])),
		ratio: fmt.Sprintf("%.2f", median(costs[quiet])/median(costs[bare])),
	})
	return nil
}

func syncText(sync bool) string {
	if sync {
		return "fsync always"
	}
	return "fsync by interval"
}

// loop handles messages that are waiting. Turn is the time from its first
// message in hand to its last one in hand.
type loop interface {
	turn(ctx context.Context, round int) (time.Duration, error)
}

// workerLoop is the loop of package bus.
type workerLoop struct {
	js    jetstream.JetStream
	app   string
	gate  chan struct{}      // the first message of a turn waits for the others to be there
	ended chan time.Duration // one per turn
	begin time.Time          // of the turn
	count int                // of the turn
	stop  func()             // stops the worker and waits for it
}

func newWorkerLoop(ctx context.Context, s *natsServer, app string, level zapcore.Level) (*workerLoop, error) {
	connected, err := s.connect(ctx, app, level)
	if err != nil {
		return nil, err
	}
	nc, js, err := s.client()
	if err != nil {
		return nil, err
	}
	l := &workerLoop{js: js, app: app, gate: make(chan struct{}), ended: make(chan time.Duration, 1)}
	working, cancel := context.WithCancelCause(ctx)
	var group errgroup.Group
	group.Go(func() error {
		err := connected.Run(working, bus.Worker{
			Consumer: bus.Consumer{Name: app, Stream: events.StreamBuilds, Filters: []string{events.BuildRequested.Subject(app)}},
			Handle:   bus.Handle(l.handle),
		})
		cancel(err)
		return err
	})
	l.stop = func() {
		cancel(nil)
		_ = group.Wait() // a failure has ended a turn
		connected.Close()
		nc.Close()
	}
	return l, connected.Ensure(ctx)
}

func (l *workerLoop) handle(_ context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
	if l.count == 0 {
		<-l.gate
		l.begin = time.Now()
	}
	if l.count++; l.count == loopMessages {
		l.ended <- time.Since(l.begin)
		l.count = 0
	}
	return []events.Fact{buildDone(d.Message.App, d.Message.Version, 1)}, nil
}

func (l *workerLoop) turn(ctx context.Context, round int) (time.Duration, error) {
	if err := seed(ctx, l.js, l.app, round); err != nil {
		return 0, err
	}
	select {
	case l.gate <- struct{}{}:
	case <-time.After(patience):
		return 0, fmt.Errorf("worker %s got no message within %s", l.app, patience)
	}
	select {
	case took := <-l.ended:
		return took, settled(ctx, l.js, l.app)
	case <-time.After(patience):
		return 0, fmt.Errorf("worker %s not done within %s", l.app, patience)
	}
}

// settled waits until a consumer has nothing left, so that one turn does not
// reach into the next.
func settled(ctx context.Context, js jetstream.JetStream, consumer string) error {
	c, err := js.Consumer(ctx, events.StreamBuilds, consumer)
	if err != nil {
		return fmt.Errorf("look up consumer %s: %w", consumer, err)
	}
	return eventually(ctx, func() error {
		info, err := c.Info(ctx)
		if err == nil && (info.NumPending > 0 || info.NumAckPending > 0) {
			err = fmt.Errorf("%s has %d messages waiting and %d in work", consumer, info.NumPending, info.NumAckPending)
		}
		return err
	})
}

// bareLoop is the loop that a user of nats.go writes.
type bareLoop struct {
	js       jetstream.JetStream
	consumer jetstream.Consumer
}

const bareApp = "bare"

func newBareLoop(ctx context.Context, s *natsServer) (*bareLoop, error) {
	_, js, err := s.client()
	if err != nil {
		return nil, err
	}
	consumer, err := js.CreateConsumer(ctx, events.StreamBuilds, jetstream.ConsumerConfig{
		Durable: bareApp, FilterSubject: events.BuildRequested.Subject(bareApp), AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("create consumer: %w", err)
	}
	return &bareLoop{js: js, consumer: consumer}, nil
}

func (l *bareLoop) turn(ctx context.Context, round int) (time.Duration, error) {
	if err := seed(ctx, l.js, bareApp, round); err != nil {
		return 0, err
	}
	var begin, end time.Time
	for n := range loopMessages {
		msg, err := l.consumer.Next(jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return 0, fmt.Errorf("get message %d: %w", n, err)
		}
		if n == 0 {
			begin = time.Now()
		}
		end = time.Now()
		if err := l.handle(ctx, msg); err != nil {
			return 0, err
		}
	}
	return end.Sub(begin), nil
}

func (l *bareLoop) handle(ctx context.Context, msg jetstream.Msg) error {
	var request struct{ App, Version string }
	if err := json.Unmarshal(msg.Data(), &request); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	fact := buildDone(request.App, request.Version, 1)
	body, err := json.Marshal(fact)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if _, err := l.js.Publish(ctx, fact.Subject(), body, jetstream.WithExpectLastSequencePerSubject(0)); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return msg.DoubleAck(ctx)
}

// seed publishes the messages of one turn.
func seed(ctx context.Context, js jetstream.JetStream, app string, round int) error {
	for n := range loopMessages {
		body := fmt.Sprintf(`{"app":%q,"version":"v%d.%d"}`, app, round, n)
		if _, err := js.PublishAsync(events.BuildRequested.Subject(app), []byte(body)); err != nil {
			return fmt.Errorf("publish requests: %w", err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// buildDone is a fact of usual size.
func buildDone(app, version string, tagSeq uint64) *events.BuildDone {
	return &events.BuildDone{
		App: app, Version: version, Commit: commit, TagSeq: tagSeq,
		Image:  &events.Image{Repository: "registry.internal:5000/" + app, Digest: digest},
		Deploy: &events.Deploy{Instances: 1, Port: 8080, Health: events.Health{HTTP: "/healthz", Within: events.Duration(time.Minute)}},
	}
}
