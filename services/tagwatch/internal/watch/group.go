package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// discoverPause is between two looks at what repositories an owner has.
const discoverPause = 10 * time.Minute

// adoptPause is between two such looks because of hooks.
const adoptPause = time.Minute

// Group is every repository of an owner that has a recipe. Each is an app, called
// as the repository is, in lower case.
type Group struct {
	Name          string // in the configuration
	Host          Host   // which is a [Directory]
	Owner         string
	Choice        Choice
	Backfill      Backfill
	RequireSigned bool
}

// group is a group with what this process knows of it.
type group struct {
	Group
	host *hosted
	// turn is held by the one look at the owner that is under way.
	turn  chan struct{}
	since time.Time // when the group was first seen, guarded by turn; zero if that is not known
	// discovered is when the last look at the owner that succeeded began.
	discovered atomic.Pointer[time.Time]
	adopted    time.Time // when the last look because of a hook began, guarded by turn
	// without are repositories that were looked for and are not the group's, guarded by turn.
	without map[Repo]bool
	status  *Status // as last written, guarded by turn; nil if that is not known
}

// groupRecord is what is on record of a group.
type groupRecord struct {
	Since time.Time `json:"since"`
}

// discovering tells whether there is a group whose apps are not known yet.
func (w *Watcher) discovering() bool {
	return slices.ContainsFunc(w.groups, func(g *group) bool { return g.discovered.Load() == nil })
}

// groupsOf returns the groups that a repository may belong to.
func (w *Watcher) groupsOf(host string, repo Repo) []*group {
	owner, _, _ := strings.Cut(repo.Name, "/")
	var of []*group
	for _, g := range w.groups {
		if strings.EqualFold(g.Host.Name(), host) && strings.EqualFold(g.Owner, owner) {
			of = append(of, g)
		}
	}
	return of
}

// discoverAll looks at every owner again and again until ctx ends.
func (w *Watcher) discoverAll(ctx context.Context) {
	for ctx.Err() == nil {
		pause := jitter(discoverPause)
		for _, g := range w.groups {
			if err := w.rediscover(ctx, g); err != nil && ctx.Err() == nil {
				w.Log.Warn("cannot find out which repositories there are", zap.String("group", g.Name), zap.Error(err))
				pause = jitter(min(w.Interval, discoverPause))
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// enter waits for the group's turn; leave ends it.
func (g *group) enter(ctx context.Context) error {
	select {
	case g.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *group) leave() { <-g.turn }

// rediscover looks at what repositories an owner has.
func (w *Watcher) rediscover(ctx context.Context, g *group) error {
	if err := g.enter(ctx); err != nil {
		return err
	}
	defer g.leave()
	clear(g.without)
	return w.discoverNow(ctx, g)
}

// adopt looks whether a repository that a hook names, and that no app watches, is
// the group's. Each is looked for once between two other looks, for an owner may
// have many repositories without a recipe.
func (w *Watcher) adopt(ctx context.Context, g *group, repo Repo, heard time.Time) error {
	if err := g.enter(ctx); err != nil {
		return err
	}
	defer g.leave()
	last := g.discovered.Load()
	if g.without[repo] || last != nil && w.clock.surelyAfter(last.Add(-hookLag), heard) {
		return nil
	}
	if pause := adoptPause - time.Since(g.adopted); pause > 0 {
		return events.Snooze(pause, "which repositories there are was found out a moment ago")
	}
	g.adopted = time.Now()
	if err := w.discoverNow(ctx, g); err != nil {
		return err
	}
	if len(w.watching(g.Host.Name(), repo)) == 0 {
		g.without[repo] = true
	}
	return nil
}

// discoverNow looks at what repositories an owner has, and reports it.
func (w *Watcher) discoverNow(ctx context.Context, g *group) error {
	began := time.Now()
	clashes, err := w.discover(ctx, g)
	if ctx.Err() == nil {
		w.reportGroup(ctx, g, errors.Join(clashes, err))
	}
	if err == nil {
		g.discovered.Store(&began)
	}
	return err
}

// discover makes the group's apps what the owner's repositories are. The first
// result says which repositories cannot be apps.
func (w *Watcher) discover(ctx context.Context, g *group) (clashes, err error) {
	directory, ok := g.Host.(Directory)
	if !ok {
		return nil, fmt.Errorf("%s cannot tell which repositories %s has", g.Host.Name(), g.Owner)
	}
	if err := w.recallGroup(ctx, g); err != nil {
		return nil, err
	}
	owned, err := directory.Owned(ctx, g.Owner)
	if err != nil {
		return nil, fmt.Errorf("list the repositories of %s: %w", g.Owner, err)
	}
	// In the order of their names, so that the same one wins each time and everywhere.
	slices.SortFunc(owned, func(a, b Owned) int { return strings.Compare(a.Name, b.Name) })
	var problems []error
	wanted := map[string]bool{}
	added := 0
	for _, repository := range owned {
		if w.isConfigured(g.Host, repository.Repo) {
			continue
		}
		app := g.app(repository)
		if err := events.CheckApp(app.Name); err != nil {
			problems = append(problems, fmt.Errorf("%s cannot be an app: the name %w; configure it by itself, with another name", repository.Name, err))
			continue
		}
		before := w.app(app.Name)
		if before != nil && before.group != g || wanted[app.Name] {
			problems = append(problems, fmt.Errorf("%s cannot be the app %s, which is %s already; configure it by itself, with another name", repository.Name, app.Name, before.where()))
			continue
		}
		wanted[app.Name] = true
		if before != nil && before.Repo.ID == app.Repo.ID {
			continue
		}
		if before != nil {
			w.remove(before) // another repository has its name now
		}
		w.add(app, g)
		added++
	}
	for _, a := range g.host.list() {
		if a.group == g && !wanted[a.Name] {
			w.remove(a)
			w.Log.Info("the repository is watched no more: it is gone, archived, or has no recipe", zap.String("app", a.Name), zap.String("group", g.Name))
		}
	}
	if added > 0 {
		w.Log.Info("repositories found", zap.String("group", g.Name), zap.Int("new", added), zap.Int("all", len(wanted)))
		return errors.Join(problems...), w.restore(ctx, g.host)
	}
	return errors.Join(problems...), nil
}

// app is what a repository of the group is watched as. One that was made after
// the group was first seen has no versions from before.
func (g *group) app(repository Owned) App {
	app := App{
		Name: strings.ToLower(path.Base(repository.Name)), Host: g.Host, Repo: repository.Repo,
		Choice: g.Choice, Backfill: g.Backfill, RequireSigned: g.RequireSigned,
	}
	if repository.Created.After(g.since) {
		app.Backfill = BackfillAll
	}
	return app
}

// isConfigured tells whether a repository is an app of the configuration.
func (w *Watcher) isConfigured(host Host, repo Repo) bool {
	return slices.ContainsFunc(w.watching(host.Name(), repo), func(a *watched) bool { return a.group == nil })
}

// recallGroup reads when the group was first seen, which is now if it never was.
func (w *Watcher) recallGroup(ctx context.Context, g *group) error {
	if !g.since.IsZero() {
		return nil
	}
	first := groupRecord{Since: time.Now().UTC()}
	value, err := json.Marshal(first)
	if err == nil {
		err = w.Table.Create(ctx, groupKey(g.Name), value)
	}
	if errors.Is(err, events.ErrConflict) {
		value, _, err = w.Table.Get(ctx, groupKey(g.Name))
		if err == nil {
			err = json.Unmarshal(value, &first)
		}
	}
	if err != nil {
		return fmt.Errorf("record when the group was first seen: %w", err)
	}
	g.since = first.Since
	return nil
}

// reportGroup writes the group's status if it is another than before.
func (w *Watcher) reportGroup(ctx context.Context, g *group, failure error) {
	if limit := new(LimitError); errors.As(failure, &limit) {
		return
	}
	var err error
	if g.status == nil {
		a := &watched{App: App{Name: g.Name}}
		if err = w.readStatus(ctx, a); err == nil {
			g.status = a.status.Load()
		}
	}
	if err == nil {
		now := Status{Repo: g.Host.Where(Repo{Name: g.Owner + "/*"}), Tags: g.Choice.String(), BaselineAt: g.since.Truncate(time.Second)}
		now.fail(*g.status, failure)
		if err = w.writeStatus(ctx, g.Name, *g.status, now); err == nil {
			g.status = &now
		}
	}
	if err != nil && ctx.Err() == nil {
		w.Log.Warn("cannot write the group's status", zap.String("group", g.Name), zap.Error(err))
	}
}
