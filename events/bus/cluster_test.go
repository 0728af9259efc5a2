package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

// TestCluster shuts down the node that leads, in mid-work, in a cluster of three
// with three replicas of everything.
func TestCluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: three servers take a while")
	}
	c := eventstest.NewCluster(t, 3)
	replicated := func(o *bus.Options) {
		o.URL, o.Topology.Replicas, o.Log = c.URL(), 3, discard()
	}
	b := c[0].Bus("builder", replicated)
	const messages = 20
	down := make(chan struct{})
	var once sync.Once
	worker := onBuild(func(ctx context.Context, d request) ([]events.Fact, error) {
		if d.Message.Version == "v5" && d.Attempt == 1 {
			// Only now, with messages delivered, acknowledged and waiting.
			once.Do(func() {
				eventstest.Eventually(t, func() error {
					leader := c.LeaderOf(events.StreamBuilds)
					if leader == nil {
						return errors.New("the stream has no leader")
					}
					leader.Stop()
					return nil
				})
				close(down)
			})
		}
		err := b.Hold(ctx, "build.web", func(ctx context.Context) error {
			_, err := b.Publish(ctx, failedFact(d.Message.Version, "during the work"))
			return err
		})
		if errors.Is(err, events.ErrHeld) {
			return nil, events.Snooze(100*time.Millisecond, "held")
		}
		return []events.Fact{doneFact(d.Message.Version)}, err
	})
	worker.Slots = 2
	for i := range messages {
		ask(t, b, fmt.Sprintf("v%d", i))
	}
	run(t, b, worker)
	within(t, down, "the leader is shut down")
	ask(t, b, fmt.Sprintf("v%d", messages)) // while there is no leader
	record := eventstest.NewRecorder(t, b)
	record.WaitFor("build.done.>", "one for each message", func(facts []events.Recorded) bool { return len(facts) > messages })
	record.Settled()
	for i := range messages + 1 {
		version := fmt.Sprintf("v%d", i)
		record.Once(events.KindBuildDone.Subject("web", version))
		record.Once(events.KindBuildFailed.Subject("web", version))
	}
	record.Dead(0)
}

// TestClusterReads reads what was just stored, also where the server places the
// reader at a replica that is behind.
func TestClusterReads(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: three servers take a while")
	}
	c := eventstest.NewCluster(t, 3)
	b := c[0].Bus("tagwatch", func(o *bus.Options) { o.URL, o.Topology.Replicas, o.Log = c.URL(), 3, discard() })
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		fact := movedFact(fmt.Sprint(i))
		stored, err := b.Publish(t.Context(), fact)
		if err != nil {
			t.Fatal(err)
		}
		var seen uint64
		for r, err := range b.Facts(t.Context(), fact.Subject(), false) {
			if err != nil {
				t.Fatal(err)
			}
			seen = r.Seq
		}
		if newest, err := b.Newest(t.Context(), events.KindTagMoved.All()); err != nil || len(newest) != 1 || newest[0].Seq != stored.Seq || seen != stored.Seq {
			t.Fatalf("round %d: wanted to read up to %d, saw %d, and as the newest %+v, %v", i, stored.Seq, seen, newest, err)
		}
	}
}
