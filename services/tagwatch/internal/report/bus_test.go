package report_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"github.com/tagship/tagship/services/tagwatch/internal/report"
	"go.uber.org/zap/zaptest"
)

// world is a NATS server, and a forge that outlives whoever reports to it.
type world struct {
	t       *testing.T
	server  *eventstest.Server
	observe *bus.Bus
	forge   *forge
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := eventstest.NewServer(t)
	return &world{t: t, server: server, observe: server.Bus("observer"), forge: &forge{}}
}

// workers report through a bus, as the service wires them.
func (w *world) workers(b *bus.Bus) []bus.Worker {
	reporter := report.New(report.Options{
		Hosts:  map[string]report.Host{"github.com": {Forge: w.forge, Statuses: true, Deployments: true}},
		Record: b, Leases: b, Table: b.Table(bus.TableReports), Log: zaptest.NewLogger(w.t),
	})
	var workers []bus.Worker
	for _, kind := range report.Kinds() {
		at := slices.IndexFunc(workers, func(have bus.Worker) bool { return have.Consumer.Stream == kind.Stream() })
		if at < 0 {
			at = len(workers)
			workers = append(workers, bus.Worker{
				Consumer: bus.Consumer{Name: "tagwatch-report", Stream: kind.Stream(), New: true},
				Slots:    4, GiveUp: report.GiveUp, Handle: reporter.Fact,
			})
		}
		workers[at].Consumer.Filters = append(workers[at].Consumer.Filters, kind.All())
	}
	return workers
}

// run runs one process until the returned function is called.
func (w *world) run(change ...func(*bus.Options)) (stop func()) {
	w.t.Helper()
	b := w.server.Bus("tagwatch", change...)
	workers := w.workers(b)
	for _, worker := range workers { // so that they are there when the facts are stated
		if err := b.Ensure(w.t.Context(), worker.Consumer); err != nil {
			w.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	var over sync.WaitGroup
	over.Go(func() {
		if err := b.Run(ctx, workers...); err != nil && ctx.Err() == nil {
			w.t.Errorf("run: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		b.Close() // does not wait for what cannot end
		over.Wait()
	})
	w.t.Cleanup(stop)
	return stop
}

// state publishes facts.
func (w *world) state(facts ...events.Fact) {
	w.t.Helper()
	for _, fact := range facts {
		if fact.Head().ID == "" && !fact.Kind().Once() {
			fact.Head().ID = fmt.Sprintf("%s@%d", fact.Subject(), time.Now().UnixNano())
		}
		if _, err := w.observe.Publish(w.t.Context(), fact); err != nil {
			w.t.Fatal(err)
		}
	}
}

// wait waits until the forge was told last, under each name, what is wanted.
func (w *world) wait(want map[string]string) {
	w.t.Helper()
	eventstest.Eventually(w.t, func() error {
		last := w.forge.last()
		for name, text := range want {
			if last[name] != text {
				return fmt.Errorf("of %s the forge knows %q, expected %q; it was told\n%s", name, last[name], text, strings.Join(w.forge.told(), "\n"))
			}
		}
		return nil
	})
}

// wantOnce wants no line to have been told twice in a row under its name, and
// one deployment of each release; repeated lines are let pass so often.
func (w *world) wantOnce(repeated int) {
	w.t.Helper()
	eventstest.NewRecorder(w.t, w.observe).Settled()
	last, deploys, again := map[string]string{}, map[string]bool{}, 0
	for _, line := range w.forge.told() {
		name, text, _ := strings.Cut(line, ": ")
		if strings.HasPrefix(text, "deploy ") {
			if deploys[name] {
				w.t.Errorf("%s was deployed twice", name)
			}
			deploys[name] = true
		} else if last[name] == text {
			again++
		}
		last[name] = text
	}
	if again > repeated {
		w.t.Errorf("%d lines came twice in a row, expected at most %d:\n%s", again, repeated, strings.Join(w.forge.told(), "\n"))
	}
	letters, err := w.observe.DeadLetters(w.t.Context())
	if err != nil || len(letters) > 0 {
		w.t.Errorf("dead letters: %v, %v", letters, err)
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.state(seen("v0"), building("v0")) // before reports are switched on
	w.run()
	w.state(refused("v1"))
	w.wait(map[string]string{"v1": "failure: refused: .tagship.yaml:3:1: build.run is missing"})
	w.state(seen("v1"))
	w.wait(map[string]string{"v1": "pending: seen, waits to be built"})
	w.state(building("v1"))
	w.wait(map[string]string{"v1": "pending: building"})
	w.state(built("v1"))
	w.wait(map[string]string{"v1": "success: built"})
	w.state(releasing("dev", "v1", "r1"))
	w.wait(map[string]string{"r1": "in_progress: releasing"})
	w.state(released("dev", "v1", "r1"))
	w.wait(map[string]string{"v1": "success: released to dev", "r1": "success: running and healthy"})
	w.state(releasing("demo", "v1", "r2"), releaseFailed("demo", "v1", "r2", "crashed", ""))
	w.wait(map[string]string{"v1": "failure: release to demo failed: crashed; nothing runs in demo", "r2": "failure: crashed; nothing runs in demo"})
	w.wantOnce(0)
	if w.forge.last()["v0"] != "" {
		t.Errorf("what happened before is reported:\n%s", strings.Join(w.forge.told(), "\n"))
	}
}

// TestKilled kills the process after each call of the forge in turn, before it
// can record what it did.
func TestKilled(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup // rather than t.Parallel: these mostly wait
	defer all.Wait()
	for at, repeated := range map[string]int{
		"v1: success: released to dev":     1,
		"r1: deploy v1 to dev":             0,
		"r1: success: running and healthy": 1,
	} {
		all.Go(func() { t.Run(at, func(t *testing.T) { killedAfter(newWorld(t), at, repeated) }) })
	}
}

func killedAfter(w *world, at string, repeated int) {
	line := eventstest.NewLine()
	died := make(chan struct{})
	die := sync.OnceValue(func() error {
		line.Cut()
		close(died)
		return errors.New("the process is dead")
	})
	w.forge.meet = func(told string) (func() error, error) {
		select {
		case <-died: // the next life
			return nil, nil
		default:
		}
		if told == at {
			return die, nil
		}
		return nil, nil
	}
	stop := w.run(line.Join)
	w.state(seen("v1"), released("dev", "v1", "r1"))
	select {
	case <-died:
	case <-time.After(eventstest.Patience):
		w.t.Fatalf("was never told %s", at)
	}
	w.run()
	stop()
	w.wait(map[string]string{"v1": "success: released to dev", "r1": "success: running and healthy"})
	w.wantOnce(repeated)
}

// TestReplicas states the lives of several versions at once, while the forge fails now and then.
func TestReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var calls atomic.Int32
	w.forge.meet = func(string) (func() error, error) {
		if n := calls.Add(1); n%7 == 3 {
			return nil, errors.New("502 Bad Gateway")
		}
		return nil, nil
	}
	w.run()
	w.run()
	want := map[string]string{}
	for n := range 5 {
		v := fmt.Sprint("v", n)
		w.state(seen(v), building(v), built(v), releasing("dev", v, "dev-"+v), released("dev", v, "dev-"+v))
		want[v] = "success: released to dev"
	}
	w.state(releasing("demo", "v4", "demo-v4"), releaseFailed("demo", "v4", "demo-v4", "crashed", "v3"))
	want["v4"] = "failure: release to demo failed: crashed; demo runs v3"
	want["demo-v4"] = "failure: crashed; demo runs v3"
	w.wait(want)
	w.wantOnce(0)
	if got := w.forge.success["dev"]; got != "dev-v4" {
		t.Errorf("the forge takes %s for what runs in dev, expected dev-v4:\n%s", got, strings.Join(w.forge.told(), "\n"))
	}
}
