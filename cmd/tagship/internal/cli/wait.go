package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tagship/tagship/cmd/tagship/internal/tell"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

const (
	// replay is how far back facts are read, so that none is missed where this
	// machine's clock is ahead of NATS's. Those of earlier requests are told
	// apart by their causes.
	replay = 10 * time.Minute
	// settling is how long a refusal may come behind the look that it belongs to.
	settling = 3 * time.Second
)

// waiter shows what follows from one request until its outcome.
type waiter struct {
	bus       *bus.Bus
	console   Console
	errand    errand
	request   events.Cause
	timeout   time.Duration
	hintAfter time.Duration // of silence, before it is asked who is there

	caused []events.Cause // the request and the facts that follow from it
	began  time.Time
	told   map[string]string // the last error that was told, by subject
	live   liveLine
}

// errSettle says that the outcome is a look's, unless a refusal comes within a moment.
var errSettle = errors.New("settle")

// wait returns nil once what was asked for is done, and an error with the exit
// code of the outcome otherwise. To stop waiting stops nothing else.
func (w *waiter) wait(ctx context.Context) error {
	w.began = time.Now()
	w.caused = []events.Cause{w.request}
	w.told = map[string]string{}
	w.live = liveLine{console: w.console, on: interactive(w.console.Out)}
	defer w.live.clear()

	follow, stop := context.WithCancel(ctx)
	defer stop()
	facts, failed := w.follow(follow)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	trouble := time.NewTicker(2 * time.Second)
	defer trouble.Stop()
	hint, over := time.After(w.hintAfter), time.After(w.timeout)
	var settled <-chan time.Time
	for {
		select {
		case fact := <-facts:
			ended, err := w.see(ctx, fact)
			if errors.Is(err, errSettle) {
				settled = time.After(settling)
			} else if ended {
				return err
			}
		case <-tick.C:
			w.live.show(fmt.Sprintf("%s, %s", w.errand.what, lasted(time.Since(w.began))))
		case <-trouble.C:
			w.tellTrouble(ctx)
		case <-hint:
			w.tellSilence(ctx)
		case <-settled:
			return refusedf("%s is no version; see 'tagship status %s'", about(w.errand.request.App, w.errand.request.Version), w.errand.request.App)
		case err := <-failed:
			return unavailablef("wait for the %s: %w; it goes on, see 'tagship status %s'", w.errand.what, err, w.errand.request.App)
		case <-over:
			return daemon.WithExit(exitTimeout, fmt.Errorf("the %s has not ended within %s; it goes on, see 'tagship status %s'", w.errand.what, w.timeout, w.errand.request.App))
		case <-ctx.Done():
			return daemon.WithExit(exitInterrupted, fmt.Errorf("stopped waiting; the %s goes on, see 'tagship status %s'", w.errand.what, w.errand.request.App))
		}
	}
}

func (w *waiter) follow(ctx context.Context) (<-chan events.Recorded, <-chan error) {
	facts, failed := make(chan events.Recorded), make(chan error, 1)
	go func() {
		for fact, err := range w.bus.Follow(ctx, w.errand.filter, w.began.Add(-replay)) {
			if err != nil {
				failed <- err
				return
			}
			select {
			case facts <- fact:
			case <-ctx.Done():
				return
			}
		}
	}()
	return facts, failed
}

// see tells one fact, and whether it is the outcome.
func (w *waiter) see(ctx context.Context, r events.Recorded) (ended bool, err error) {
	// A version is built once, and whoever had it built ends the waiting for it.
	_, isBuilt := r.Fact.(*events.BuildDone)
	if !w.follows(r.Fact) && (!isBuilt || r.Seq < w.request.Seq) {
		return false, nil
	}
	w.caused = append(w.caused, events.Cause{Stream: r.Fact.Kind().Stream(), Seq: r.Seq})
	ended, err = w.judge(ctx, r.Fact)
	if ended && err != nil {
		return true, err // which says it all
	}
	w.live.clear()
	name, text, mood := tell.Fact(r.Fact)
	p := painterFor(w.console.Out)
	mark := map[tell.Mood]string{tell.Neutral: " ", tell.Good: p.paint(green, "✓"), tell.Bad: p.paint(red, "✗")}[mood]
	clock := r.Fact.Head().At.In(w.console.Now().Location()).Format(time.TimeOnly)
	fmt.Fprintf(w.console.Out, "%s %s %s %s\n", clock, mark, name, strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n           "))
	return ended, err
}

func (w *waiter) follows(f events.Fact) bool {
	cause := f.Head().Cause
	return cause != nil && slices.Contains(w.caused, *cause)
}

// judge tells whether a fact that follows from the request is its outcome, and
// as an error if it is not what was asked for.
func (w *waiter) judge(ctx context.Context, f events.Fact) (ended bool, err error) {
	switch f := f.(type) {
	case *events.ReleaseDone, *events.BuildDone, *events.CDNDone:
		return true, nil
	case *events.ReleaseFailed:
		return true, w.failed(f.Reason + "; " + tell.Remains(f))
	case *events.BuildFailed:
		return true, w.failed(fmt.Sprintf("%s; its output: tagship logs %s@%s", f.Reason, f.App, f.Version))
	case *events.CDNFailed:
		return true, w.failed(f.Reason)
	case *events.ReleaseRefused:
		return true, w.refused(f.Reason)
	case *events.BuildRefused:
		return true, w.refused(f.Reason)
	case *events.CDNRefused:
		return true, w.refused(f.Reason)
	case *events.TagLooked:
		return w.judgeLook(ctx)
	case *events.TagRefused:
		asked := w.errand.request.Version
		if f.Version == events.Unknown && f.Tag == "" || asked != "" && f.Version == asked {
			return true, w.refused(f.Reason)
		}
	}
	return false, nil
}

func (w *waiter) failed(reason string) error {
	return daemon.WithExit(daemon.ExitFailure, fmt.Errorf("the %s failed: %s", w.errand.what, oneLine(reason)))
}

func (w *waiter) refused(reason string) error {
	return refusedf("the %s was refused: %s", w.errand.what, oneLine(reason))
}

// judgeLook tells whether a look has found the version that was asked for.
func (w *waiter) judgeLook(ctx context.Context) (ended bool, err error) {
	r := w.errand.request
	if r.Version == "" {
		return true, nil
	}
	_, err = w.bus.Last(ctx, events.KindTagSeen.Subject(r.App, r.Version))
	switch {
	case errors.Is(err, events.ErrNotRecorded):
		return false, errSettle
	case err != nil:
		return true, unavailablef("%w", err)
	}
	return true, nil
}

// tellTrouble shows what keeps the request from being followed, once for each error.
func (w *waiter) tellTrouble(ctx context.Context) {
	attempts, err := w.bus.Retrying(ctx)
	if err != nil {
		return // it is the waiting itself that will tell
	}
	for _, a := range attempts {
		kind, place, app, version := concerns(a.Subject)
		r := w.errand.request
		ours := app == r.App && place == r.Place() && (version == "" || version == r.Version) && kind.Stream() == r.Kind().Stream()
		if !ours || w.told[a.Subject] == a.Error {
			continue
		}
		w.told[a.Subject] = a.Error
		w.live.clear()
		fmt.Fprintf(w.console.Out, "%s   not possible yet, next attempt in %s: %s\n",
			w.console.Now().Format(time.TimeOnly), lasted(time.Until(a.Next).Round(time.Second)), clip(a.Error, 300))
	}
}

// tellSilence says so if nobody is there to take the request up.
func (w *waiter) tellSilence(ctx context.Context) {
	if len(w.caused) > 1 {
		return
	}
	services, err := w.bus.Services(ctx)
	if err != nil {
		return // it is the waiting itself that will tell
	}
	if slices.ContainsFunc(services, func(s bus.Service) bool { return s.Name == w.errand.service }) {
		return
	}
	w.live.clear()
	fmt.Fprintf(w.console.Out, "%s   no %s answers; the request waits until one runs\n", w.console.Now().Format(time.TimeOnly), w.errand.service)
}

// liveLine is a line that is written over again and again.
type liveLine struct {
	console Console
	on      bool
	shown   bool
}

func (l *liveLine) show(text string) {
	if !l.on {
		return
	}
	fmt.Fprintf(l.console.Out, "\r\x1b[K  … %s", text)
	l.shown = true
}

func (l *liveLine) clear() {
	if l.shown {
		fmt.Fprint(l.console.Out, "\r\x1b[K")
		l.shown = false
	}
}
