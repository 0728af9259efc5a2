package up

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tagship/tagship/cmd/tagship/internal/tell"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"golang.org/x/sync/errgroup"
)

// reporter prints a line per step of each version as it happens.
type reporter struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	builds map[string]time.Time // that are at work, since when
}

// reminder is how often a build that goes on is mentioned.
const reminder = 10 * time.Second

// follow prints facts, and hands each to seen, until ctx ends.
func (r *reporter) follow(ctx context.Context, b *bus.Bus, since time.Time, seen func(events.Fact) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, filter := range []string{"tag.>", "build.>", "release.>", "cdn.>"} {
		group.Go(func() error {
			for recorded, err := range b.Follow(ctx, filter, since) {
				if err != nil {
					return err
				}
				r.print(recorded.Fact)
				if err := seen(recorded.Fact); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		r.remind(ctx)
		return nil
	})
	return group.Wait()
}

// remind says of builds that take long that they go on.
func (r *reporter) remind(ctx context.Context) {
	tick := time.NewTicker(reminder)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			r.mu.Lock()
			for _, about := range slices.Sorted(maps.Keys(r.builds)) {
				if took := now.Sub(r.builds[about]); took >= reminder {
					_, _ = fmt.Fprintf(r.out, "%s · %s still compiling after %s; 'tagship logs %s -f' shows its output\n",
						now.Format("15:04:05"), about, took.Truncate(time.Second), about) // as in print
				}
			}
			r.mu.Unlock()
		}
	}
}

// note keeps in mind which builds are at work. It is called with mu held.
func (r *reporter) note(about string, f events.Fact) {
	switch f.(type) {
	case *events.BuildStarted:
		if r.builds == nil {
			r.builds = map[string]time.Time{}
		}
		r.builds[about] = f.Head().At
	case *events.BuildDone, *events.BuildFailed:
		delete(r.builds, about)
	}
}

func (r *reporter) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(r.out, format+"\n", args...) // as in print
}

func (r *reporter) print(f events.Fact) {
	if _, looked := f.(*events.TagLooked); looked {
		return // the answer to whoever asked; what was found has lines of its own
	}
	what, text, mood := tell.Fact(f)
	mark := map[tell.Mood]string{tell.Neutral: "·", tell.Good: "✓", tell.Bad: "✗"}[mood]
	if r.colour {
		mark = map[tell.Mood]string{tell.Neutral: "·", tell.Good: "\x1b[32m✓\x1b[0m", tell.Bad: "\x1b[31m✗\x1b[0m"}[mood]
	}
	// A reason of several lines stays readable below its first one.
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+strings.Repeat(" ", 11))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(what, f)
	// A terminal that went away is no reason to stop releasing.
	_, _ = fmt.Fprintf(r.out, "%s %s %s %s\n", f.Head().At.Local().Format("15:04:05"), mark, what, text)
}
