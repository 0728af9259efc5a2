package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
)

// measureTags asks for many tags at once and takes the time until the last one
// is released and published.
func measureTags(ctx context.Context, b *bench) error {
	for _, sync := range []bool{false, true} {
		var first float64
		for i, n := range []int{250, 500, 1000} {
			f, err := ship(ctx, b, n, sync)
			if err != nil {
				return fmt.Errorf("%d tags, %s: %w", n, syncText(sync), err)
			}
			r := row{
				what:     fmt.Sprintf("%d tags through all stages, %s", n, syncText(sync)),
				measured: fmt.Sprintf("%.0f/s, all in %.1f s", rate(n, f.took), f.took.Seconds()),
				beside:   f.share(),
			}
			if i == 0 {
				first = rate(n, f.took)
			} else {
				r.ratio = fmt.Sprintf("%.2f", rate(n, f.took)/first)
			}
			b.report.add(r)
		}
	}
	b.report.note("Tags are of as many apps, so that no release overtakes another; a tag is 7 facts and 5 messages handled, and each fact was found exactly once.")
	b.report.note("Their ratio is the rate beside that of 250 tags: 1 is linear. Shares are of the time of all cores.")
	return nil
}

// flow is one passage of many tags through every stage.
type flow struct {
	took         time.Duration
	workers      time.Duration // processor time of the four services
	nats         time.Duration // processor time of the server
	machine      conditions    // before
	machineAfter conditions
}

// share says who used the cores.
func (f flow) share() string {
	busy, idle := f.machineAfter.busy-f.machine.busy, f.machineAfter.idle-f.machine.idle
	all := max(1, (busy + idle).Seconds())
	percent := func(d time.Duration) float64 { return 100 * d.Seconds() / all }
	return fmt.Sprintf("workers %.0f%%, NATS %.0f%%, others %.0f%%, idle %.0f%%",
		percent(f.workers), percent(f.nats), max(0, percent(busy-f.workers-f.nats)), percent(idle))
}

// warmUp is how many tags go through before the clock starts.
const warmUp = 20

// ship runs four services on a fresh server, asks for n tags at once, waits for
// all of them, and checks the record.
func ship(ctx context.Context, b *bench, n int, sync bool) (f flow, err error) {
	s, err := b.startNATS(ctx, sync)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	watch, err := s.connect(ctx, "bench", zapcore.WarnLevel)
	if err != nil {
		return f, err
	}
	defer watch.Close()
	if err := watch.Ensure(ctx); err != nil {
		return f, err
	}
	working, stop := context.WithCancel(ctx)
	services, working := errgroup.WithContext(working)
	for name, workers := range pipeline() {
		services.Go(func() error { return serve(working, s, name, workers) })
	}
	ended := newEnds()
	services.Go(func() error { return ended.follow(working, watch, "release.done.>") })
	services.Go(func() error { return ended.follow(working, watch, "cdn.done.>") })
	defer func() {
		stop()
		err = errors.Join(err, services.Wait())
	}()

	if err := ask(working, watch, "warm", warmUp); err != nil {
		return f, err
	}
	if err := ended.wait(working, 2*warmUp); err != nil {
		return f, err
	}
	if err := wait(working, suspicion); err != nil {
		return f, err
	}
	f.machine, f.workers, f.nats = readConditions(), cpuOfSelf(), cpuOf(s.cmd.Process.Pid)
	began := time.Now()
	if err := ask(working, watch, "app", n); err != nil {
		return f, err
	}
	if err := ended.wait(working, 2*(warmUp+n)); err != nil {
		return f, err
	}
	f.took = time.Since(began)
	f.machineAfter = readConditions()
	f.workers, f.nats = cpuOfSelf()-f.workers, cpuOf(s.cmd.Process.Pid)-f.nats
	return f, checkRecord(working, watch, n+warmUp)
}

// ask requests n tags at once, each of an app of its own.
func ask(ctx context.Context, b *bus.Bus, name string, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(100)
	for i := range n {
		group.Go(func() error {
			_, err := b.Request(ctx, events.NewRequest(events.TagRequested, "", fmt.Sprintf("%s-%d", name, i), "", ""))
			return err
		})
	}
	return group.Wait()
}

// serve runs one service until ctx ends.
func serve(ctx context.Context, s *natsServer, name string, workers func(*bus.Bus) []bus.Worker) error {
	connected, err := s.connect(ctx, name, zapcore.InfoLevel)
	if err != nil {
		return err
	}
	defer connected.Close()
	if err := connected.Run(ctx, workers(connected)...); err != nil && ctx.Err() == nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	return nil
}

// ends counts the facts at the ends of the pipeline.
type ends struct {
	mu      sync.Mutex
	count   int
	changed chan struct{} // has room for one
}

func newEnds() *ends { return &ends{changed: make(chan struct{}, 1)} }

func (e *ends) follow(ctx context.Context, b *bus.Bus, filter string) error {
	for _, err := range b.Follow(ctx, filter, time.Now().Add(-time.Minute)) {
		if err != nil {
			return err
		}
		e.mu.Lock()
		e.count++
		e.mu.Unlock()
		select {
		case e.changed <- struct{}{}:
		default:
		}
	}
	return nil
}

func (e *ends) seen() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.count
}

func (e *ends) wait(ctx context.Context, want int) error {
	for e.seen() < want {
		select {
		case <-e.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(patience):
			return fmt.Errorf("nothing happened for %s: %d of %d ends reached", patience, e.seen(), want)
		}
	}
	return nil
}
