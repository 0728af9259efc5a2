package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

func TestDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("dead", "list").expect(t, 0, "no dead letters\n")
	w.run("dead", "list", "--all").expect(t, 0, "no message was ever given up on\n")

	var handled atomic.Int64
	w.serve("cdnpush", bus.Worker{
		Consumer: bus.Consumer{Name: "cdnpush", Stream: events.StreamCDN, Filters: []string{events.CDNRequested.All()}},
		Handle: bus.Handle(func(context.Context, events.Delivery[*events.Request]) ([]events.Fact, error) {
			handled.Add(1)
			return nil, events.Permanent(errors.New("the bucket does not exist"))
		}),
	})
	for _, version := range []string{"1", "2"} {
		w.run("publish", "beta", "agent@"+version).expect(t, 0)
	}
	eventstest.NewRecorder(t, w.bus).Dead(2)

	r := w.run("dead", "list")
	r.expect(t, 0)
	golden(t, "dead-list", r.out)
	r = w.run("dead", "show", "1")
	r.expect(t, 0)
	golden(t, "dead-show", regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|00-[0-9a-f-]+`).ReplaceAllString(r.out, "<varies>"))

	w.run("dead", "show", "7").expect(t, 4, "there is no dead letter 7; 'tagship dead list --all' lists them")
	w.run("dead", "drop", "1", "--by", "bob").expect(t, 0, "dropped dead letter 1\n")
	// What is refused does not keep the others from being replayed.
	w.run("dead", "replay", "2", "9", "1").expect(t, 4, "replayed dead letter 2\n", "tagship: dead letter 1 was dropped already, by bob at ", "tagship: there is no dead letter 9")
	eventstest.Eventually(t, func() error {
		if handled.Load() < 3 {
			return errors.New("not handled again")
		}
		return nil
	})
	w.run("dead", "replay", "2").expect(t, 4, "dead letter 2 was replayed already, by ann at ")
	eventstest.NewRecorder(t, w.bus).Dead(3)

	r = w.run("dead", "list", "--all", "--json")
	r.expect(t, 0)
	var letters []struct {
		Number  uint64
		Reason  string
		Settled *struct{ Action, By string }
	}
	if err := json.Unmarshal([]byte(r.out), &letters); err != nil {
		t.Fatal(err)
	}
	if len(letters) != 3 || letters[0].Settled.By != "bob" || letters[1].Settled.Action != "replayed" || letters[2].Settled != nil {
		t.Errorf("listed %s", r.out)
	}
	w.run("status").expect(t, 0, "Dead letters  1 to look at: tagship dead list")
}
