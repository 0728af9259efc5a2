package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
		return []events.Fact{&events.TagRefused{App: r.App, Version: events.Unknown, Reason: w.noApp(r.App)}}, nil
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

// noApp says that no app of a name is watched.
func (w *Watcher) noApp(name string) string {
	for _, g := range w.groups {
		if g.Name != name {
			continue
		}
		names := w.appsOf(g)
		if len(names) == 0 {
			return fmt.Sprintf("%s is no app but every repository of %s that has a recipe, and there is none", name, g.Owner)
		}
		if most := 10; len(names) > most {
			names = append(names[:most], "...")
		}
		return fmt.Sprintf("%s is no app but every repository of %s: name one of them, %s", name, g.Owner, strings.Join(names, ", "))
	}
	return fmt.Sprintf("no app %q is watched, expected one of %s", name, w.Known())
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
