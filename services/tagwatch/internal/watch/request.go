package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tagship/tagship/events"
)

// Requested answers a request to look at an app's repository now: with tag.looked,
// which lists what the look found, beside the facts about each tag. A version it
// names that is none is answered with tag.refused. A request that names a version releases it even if the tag was
// there before the app was watched, and tries once more if it was refused; if the
// version was seen already, its source is staged again where it is no more.
func (w *Watcher) Requested(ctx context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
	r := d.Message
	a := w.app(r.App)
	if a == nil && w.discovering() && time.Since(d.Time) < longestWait {
		return nil, events.Snooze(longestStandby, "which repositories there are is still being found out")
	}
	if a == nil {
		return []events.Fact{&events.TagRefused{
			App:     r.App,
			Version: events.Unknown,
			Reason:  fmt.Sprintf("no app %q is watched, expected one of %s", r.App, w.Known()),
		}}, nil
	}
	found, err := w.look(ctx, a, ask{version: r.Version, origin: &d.Origin})
	if err == nil && r.Version != "" {
		found.refused, err = w.restage(ctx, a, r.Version, found.refused)
	}
	if limit := new(LimitError); errors.As(err, &limit) {
		return nil, events.Snooze(limit.delay(), limit.Error())
	}
	if err != nil {
		return nil, err
	}
	looked := &events.TagLooked{App: r.App, New: found.versions}
	if looked.New == nil {
		looked.New = []string{} // an empty list on the wire, not null
	}
	facts := []events.Fact{looked}
	if found.refused != nil {
		facts = append(facts, found.refused)
	}
	return facts, nil
}

// longestWait is for how long a message is put back while a host wants no requests.
const longestWait = 5 * time.Minute

// delay is how long to wait before asking again.
func (e *LimitError) delay() time.Duration {
	return min(max(time.Until(e.Until), time.Second), longestWait)
}

// Malformed answers a request that cannot be understood.
func Malformed(subject string, body []byte, err error) events.Fact {
	fact := &events.TagRefused{App: events.Unknown, Version: events.Unknown, Reason: err.Error()}
	if r, parseErr := events.ParseRequest(subject, body); parseErr != nil {
		fact.App, fact.Version = r.App, r.Version
	}
	return fact
}

// GaveUp answers a request that could not be followed for too long.
func GaveUp(message events.Event, reason error) []events.Fact {
	r, ok := message.(*events.Request)
	if !ok {
		return nil
	}
	fact := &events.TagRefused{App: r.App, Version: r.Version, Reason: "given up: " + reason.Error()}
	if fact.Version == "" {
		fact.Version = events.Unknown
	}
	return []events.Fact{fact}
}
