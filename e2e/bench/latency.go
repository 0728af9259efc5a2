package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
)

const (
	latencySamples = 1000
	latencyPause   = 3 * time.Millisecond // between two, so that the worker waits for the next one
	latencyGoal    = 2 * time.Millisecond
)

// measureLatency takes the time from the call that publishes a message to the
// first line of its handler, for one message at a time and an idle worker.
func measureLatency(ctx context.Context, b *bench) error {
	for _, sync := range []bool{false, true} {
		if err := measureLatencyOn(ctx, b, sync); err != nil {
			return err
		}
	}
	return nil
}

func measureLatencyOn(ctx context.Context, b *bench, sync bool) (err error) {
	s, err := b.startNATS(ctx, sync)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	connected, err := s.connect(ctx, "builder", zapcore.InfoLevel)
	if err != nil {
		return err
	}
	defer connected.Close()
	if err := connected.Ensure(ctx); err != nil {
		return err
	}
	nc, _, err := s.client()
	if err != nil {
		return err
	}
	defer nc.Close()

	arrived := make(chan time.Time, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return connected.Run(ctx, bus.Worker{
			Consumer: bus.Consumer{Name: "builder", Stream: events.StreamBuilds, Filters: []string{events.BuildRequested.All()}},
			Handle: bus.Handle(func(context.Context, events.Delivery[*events.Request]) ([]events.Fact, error) {
				arrived <- time.Now()
				return nil, nil
			}),
		})
	})
	group.Go(func() error {
		defer cancel()
		if err := wait(ctx, suspicion); err != nil {
			return err
		}
		var took []time.Duration
		for n := range latencySamples {
			published := time.Now()
			if err := nc.Publish("build.web", fmt.Appendf(nil, "web@v%d", n)); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			select {
			case at := <-arrived:
				took = append(took, at.Sub(published))
			case <-time.After(patience):
				return fmt.Errorf("message %d did not arrive within %s", n, patience)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if err := wait(ctx, latencyPause); err != nil {
				return err
			}
		}
		b.report.add(latencyRow(took, sync))
		return nil
	})
	return group.Wait()
}

func latencyRow(took []time.Duration, sync bool) row {
	middle := median(took)
	return row{
		what:     "publish to handler, TCP, " + syncText(sync),
		measured: "p50 " + milliseconds(middle), beside: "p99 " + milliseconds(percentile(took, 99)),
		goal: "p50 < " + milliseconds(latencyGoal), met: middle < latencyGoal,
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}
