package watch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tagship/tagship/events"
)

// hookAge is how old a hook becomes that what it tells of cannot be seen yet. The
// next sweep finds it then.
const hookAge = time.Minute

// hookPatience is how old a hook becomes that cannot be followed because something
// fails. The sweeps go on trying, and their failures are told as the app's.
const hookPatience = 10 * time.Minute

// hookLag is by how much what a host answers may be older than what its hooks say.
const hookLag = 5 * time.Second

// Heard follows a hook: it looks at the one tag that the hook is about, at that
// repository alone. What is so is what the host says, never what the hook says,
// except who did it.
func (w *Watcher) Heard(ctx context.Context, d events.Delivery[*events.Hook]) ([]events.Fact, error) {
	w.clock.note(d.Time)
	err := w.follow(ctx, d)
	_, _, snoozed := events.IsSnooze(err)
	_, skipped := events.IsSkip(err)
	failed := err != nil && !snoozed && !skipped && ctx.Err() == nil
	if failed && time.Since(d.Time) > hookPatience {
		return nil, events.Skip("left to the next sweep: %v", err)
	}
	return nil, err
}

// follow follows a hook for every app that it is about.
func (w *Watcher) follow(ctx context.Context, d events.Delivery[*events.Hook]) error {
	apps, err := w.concerned(ctx, d)
	if err != nil {
		return err
	}
	if len(apps) == 0 {
		return events.Skip("no app watches the repository")
	}
	finds := &finds{h: d.Message, tags: map[Repo]foundTag{}}
	var problems []error
	var later, skipped error
	followed := false
	for _, a := range apps {
		err := patient(w.heard(ctx, a, d, finds))
		if _, skip := events.IsSkip(err); skip {
			skipped = err
		} else if _, _, snoozed := events.IsSnooze(err); snoozed {
			later = err
		} else if err != nil {
			problems = append(problems, fmt.Errorf("app %s: %w", a.Name, err))
		} else {
			followed = true
		}
	}
	switch {
	case len(problems) > 0:
		return errors.Join(problems...)
	case later != nil:
		return later
	case !followed:
		return skipped
	}
	return nil
}

// concerned returns the apps that a hook is about. A repository of a watched
// owner that is not known yet is looked for.
func (w *Watcher) concerned(ctx context.Context, d events.Delivery[*events.Hook]) ([]*watched, error) {
	h := d.Message
	if h.App != "" {
		if a := w.app(h.App); a != nil {
			return []*watched{a}, nil
		}
		return nil, nil
	}
	repo := Repo{Name: h.Repo, ID: h.RepoID}
	apps := w.watching(h.Host, repo)
	if len(apps) > 0 {
		return apps, nil
	}
	for _, g := range w.groupsOf(h.Host, repo) {
		if err := w.adopt(ctx, g, repo); err != nil {
			return nil, patient(err)
		}
	}
	return w.watching(h.Host, repo), nil
}

// heard follows a hook for one app.
func (w *Watcher) heard(ctx context.Context, a *watched, d events.Delivery[*events.Hook], finds *finds) error {
	h := d.Message
	if looked := a.looked.Load(); looked != nil && !h.Deleted && w.clock.surelyAfter(looked.Add(-hookLag), d.Time) {
		return events.Skip("a look that began later has seen it")
	}
	version, is := a.Choice.Version(h.Tag)
	if h.Tag != "" && !is {
		return events.Skip("the tag is no version of the app")
	}
	known, alone, err := w.standing(ctx, a)
	if err != nil {
		return err
	}
	if h.Tag == "" || !alone {
		_, err := w.look(ctx, a, ask{})
		return err
	}
	tag, err := finds.find(ctx, a.Host, known.repo())
	if unfit := new(UnfitError); errors.As(err, &unfit) {
		_, err := w.look(ctx, a, ask{})
		return err
	}
	if err != nil && !errors.Is(err, ErrNoTag) {
		return fmt.Errorf("look up tag %s: %w", h.Tag, err)
	}
	there := err == nil
	c := candidateOf(a.Choice, tag, h.Tag, version)
	if there != h.Deleted {
		return w.settleOne(ctx, a, known, c, there, h.By)
	}
	// It happened after the hook, by whomever, or cannot be seen yet.
	if there {
		if err := w.settleOne(ctx, a, known, c, true, ""); err != nil {
			return err
		}
	}
	if err := tooEarly(d.Time); err != nil {
		return err
	}
	if !there {
		return events.Skip("there is no such tag")
	}
	return nil
}

// standing returns what is on record of an app's repository, and whether a tag
// alone can be told to be new: it cannot before there is a baseline.
func (w *Watcher) standing(ctx context.Context, a *watched) (known repoRecord, alone bool, err error) {
	if err := w.recall(ctx, a); err != nil {
		return repoRecord{}, false, err
	}
	known = *a.known.Load()
	if !known.known() || a.repo() != known.repo() {
		return known, false, nil
	}
	_, err = w.readBaseline(ctx, a, known.Origin)
	if errors.Is(err, events.ErrNotRecorded) {
		return known, false, nil
	}
	return known, err == nil, err
}

// settleOne settles one tag that was looked up.
func (w *Watcher) settleOne(ctx context.Context, a *watched, repo repoRecord, c candidate, there bool, by string) error {
	began := time.Now()
	if err := a.enter(ctx); err != nil {
		return err
	}
	defer a.leave()
	s := &survey{w: w, a: a, asked: ask{by: by}, repo: repo, where: a.where(), began: began}
	var listing []candidate
	if there {
		listing = []candidate{c}
	}
	if err := s.load(ctx, listing); err != nil {
		return err
	}
	if there {
		return s.settle(ctx, c)
	}
	return s.gone(ctx, c.Name)
}

// candidateOf makes a candidate of a tag that was looked up by name.
func candidateOf(choice Choice, tag Tag, name, version string) candidate {
	tag.Name = name
	_, parsed, _ := choice.read(name)
	return candidate{Tag: tag, version: version, parsed: parsed}
}

// tooEarly puts a hook back that came before what it tells of can be seen; nil
// if it is too old for that.
func tooEarly(stored time.Time) error {
	age := time.Since(stored)
	switch {
	case age < 2*time.Second:
		return events.Snooze(time.Second, "the tag is not as the hook says, yet")
	case age < 10*time.Second:
		return events.Snooze(2*time.Second, "the tag is not as the hook says, yet")
	case age < hookAge:
		return events.Snooze(5*time.Second, "the tag is not as the hook says, yet")
	}
	return nil
}

// patient turns what is no failure of a hook into what becomes of it: it waits
// while the host wants no requests, and is left to the sweeps where a repository
// is gone.
func patient(err error) error {
	var limit *LimitError
	if errors.As(err, &limit) {
		return events.Snooze(limit.delay(), limit.Error())
	}
	var gone *GoneError
	if errors.As(err, &gone) {
		return events.Skip("%s", gone.Error())
	}
	return err
}

// finds looks up a hook's tag, once for each repository however many apps watch it.
type finds struct {
	h    *events.Hook
	tags map[Repo]foundTag
}

type foundTag struct {
	tag Tag
	err error
}

func (f *finds) find(ctx context.Context, host Host, repo Repo) (Tag, error) {
	found, known := f.tags[repo]
	if !known {
		found.tag, found.err = host.Find(ctx, repo, f.h.Tag)
		f.tags[repo] = found
	}
	return found.tag, found.err
}

// clock compares the clock of this process with that of the servers that say
// when a message was stored.
type clock struct {
	// lead is the shortest time from storing a message to handling it, in
	// nanoseconds and with 1 added: this clock is ahead by that at most. 0 if none is known.
	lead atomic.Int64
}

// note learns from a message at hand.
func (c *clock) note(stored time.Time) {
	lead := int64(max(time.Since(stored), 0)) + 1
	for {
		before := c.lead.Load()
		if before != 0 && before <= lead || c.lead.CompareAndSwap(before, lead) {
			return
		}
	}
}

// surelyAfter tells whether a time of this clock is after a message was stored,
// however far this clock is ahead.
func (c *clock) surelyAfter(at, stored time.Time) bool {
	lead := c.lead.Load()
	return lead != 0 && at.Add(-time.Duration(lead)).After(stored)
}
