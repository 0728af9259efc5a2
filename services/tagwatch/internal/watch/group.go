package watch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

const (
	// discoverPause is between two looks of the replica that leads at what
	// repositories an owner has, and standbyPause between those of another.
	discoverPause = 10 * time.Minute
	standbyPause  = time.Hour
	// leadTick is how soon a replica that comes to lead looks as often as it should.
	leadTick = time.Minute
)

// SweepsPerDiscovery is how many sweeps there are to one look at what
// repositories an owner has, at least: such a look costs about as much as a sweep.
const SweepsPerDiscovery = 6

// Group is every repository of an owner that has a recipe. Each is an app, called
// as the repository is, in lower case.
type Group struct {
	Name          string // in the configuration
	Host          Directory
	Owner         string
	Choice        Choice
	Backfill      Backfill
	RequireSigned bool
}

// group is a group with what this process knows of it.
type group struct {
	Group
	host       *hosted
	since      atomic.Pointer[time.Time] // when the group was first seen; nil if that is not known
	discovered atomic.Bool               // whether a look at the owner has succeeded
	kept       bool                      // the last look met a [HostError]; guarded by the host's mutex
	status     *Status                   // as last written; nil if that is not known

	// without are repositories that a hook was about and that have no recipe, and
	// when that was found out. Guarded by the watcher's enrolling.
	without map[Repo]time.Time
}

// groupRecord is what is on record of a group.
type groupRecord struct {
	Since time.Time `json:"since"`
}

// discovering tells whether there is a group whose apps are not known yet.
func (w *Watcher) discovering() bool {
	return slices.ContainsFunc(w.groups, func(g *group) bool { return !g.discovered.Load() })
}

// appsOf are the names of the group's apps, in their order.
func (w *Watcher) appsOf(g *group) []string {
	var names []string
	for _, a := range g.host.list() {
		if a.group == g {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	return names
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

// discoverAll looks at a group's owner again and again until ctx ends.
func (w *Watcher) discoverAll(ctx context.Context, g *group) {
	failing := w.backOff()
	for ctx.Err() == nil {
		began := time.Now()
		err := w.rediscover(ctx, g)
		host := g.keep(err)
		pause := time.Duration(0) // as the host's sweeps have it
		if limit := new(LimitError); errors.As(err, &limit) {
			pause = max(limit.Until.Sub(began), time.Second)
		} else if err != nil && ctx.Err() == nil {
			pause = failing.NextBackOff()
			if host == nil {
				w.Log.Warn("cannot find out which repositories there are", zap.String("group", g.Name), zap.Error(err), zap.Duration("again_in", pause))
			}
		} else {
			failing.Reset()
		}
		for {
			left := time.Until(began.Add(cmp.Or(pause, g.host.discoverPause())))
			if left <= 0 {
				break
			}
			select {
			case <-time.After(min(left, leadTick)):
			case <-ctx.Done():
				return
			}
		}
	}
}

// keep notes whether the host as a whole keeps the group from being looked at.
// It returns what does; nil if nothing does.
func (g *group) keep(err error) (trouble *HostError) {
	_ = errors.As(err, &trouble)
	if err != nil && trouble == nil {
		return nil // which does not say that the host answers
	}
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	g.host.keep(&g.kept, trouble)
	return trouble
}

// discoverPause is the time between two looks at an owner of the host.
func (h *hosted) discoverPause() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.leading {
		return standbyPause
	}
	return max(discoverPause, SweepsPerDiscovery*h.pause)
}

// rediscover looks at what repositories an owner has, and reports it. It is not
// called twice at once for a group.
func (w *Watcher) rediscover(ctx context.Context, g *group) error {
	since, err := w.recallGroup(ctx, g)
	if err != nil {
		return err
	}
	clashes, err := w.discover(ctx, g)
	if ctx.Err() == nil {
		w.reportGroup(ctx, g, since, errors.Join(clashes, err))
	}
	if err == nil {
		g.discovered.Store(true)
	}
	return err
}

// discover makes the group's apps what the owner's repositories are. The first
// result says which repositories cannot be apps.
func (w *Watcher) discover(ctx context.Context, g *group) (clashes, err error) {
	began := time.Now()
	owned, err := g.Host.Owned(ctx, g.Owner)
	if err != nil {
		return nil, fmt.Errorf("list the repositories of %s: %w", g.Owner, err)
	}
	// In the order of their names, so that the same one wins each time and everywhere.
	slices.SortFunc(owned, func(a, b Owned) int { return strings.Compare(a.Name, b.Name) })
	known, err := w.recollect(ctx, g)
	if err != nil {
		return nil, err
	}
	w.enrolling.Lock()
	defer w.enrolling.Unlock()
	var problems []error
	wanted := map[string]bool{}
	added := 0
	for _, repository := range owned {
		name, fresh, err := w.enroll(g, repository, known, wanted)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		wanted[name] = true
		if fresh {
			added++
		}
	}
	for _, a := range g.host.list() {
		if a.group == g && !wanted[a.Name] && a.since.Before(began) {
			w.remove(a)
			w.Log.Info("the repository is watched no more: it is gone, archived, or has no recipe", zap.String("app", a.Name), zap.String("group", g.Name))
		}
	}
	if added > 0 {
		w.Log.Info("repositories found", zap.String("group", g.Name), zap.Int("new", added), zap.Int("all", len(wanted)))
		g.host.stir()
	}
	return errors.Join(problems...), nil
}

// adopt makes an app of a repository that a hook names, and that no app watches,
// if it is the group's. An owner may have many without a recipe, so each is asked
// for once in a while.
func (w *Watcher) adopt(ctx context.Context, g *group, repo Repo) error {
	w.enrolling.Lock()
	asked, known := g.without[repo]
	w.enrolling.Unlock()
	if known && time.Since(asked) < discoverPause {
		return nil
	}
	if _, err := w.recallGroup(ctx, g); err != nil {
		return err
	}
	owned, has, err := g.Host.HasRecipe(ctx, repo)
	gone := new(GoneError)
	switch {
	case errors.As(err, &gone):
		has = false
	case err != nil:
		return fmt.Errorf("look for a recipe in %s: %w", repo.Name, err)
	}
	var of memory
	if has = has && strings.EqualFold(path.Dir(owned.Name), g.Owner); has {
		if of, err = w.recollectOne(ctx, owned.Repo); err != nil {
			return err
		}
	}
	w.enrolling.Lock()
	defer w.enrolling.Unlock()
	if has {
		name, fresh, err := w.enroll(g, owned, of, nil)
		if err == nil && fresh {
			w.Log.Info("repository found", zap.String("group", g.Name), zap.String("app", name))
			g.host.stir()
			return nil
		}
	}
	// What is wrong with its name is told by the next look at the owner.
	maps.DeleteFunc(g.without, func(_ Repo, asked time.Time) bool { return time.Since(asked) >= discoverPause })
	g.without[repo] = time.Now()
	return nil
}

// enroll makes an app of a repository of the group, unless it is one. It returns
// what the app is called; nothing where it is one of the configuration. Taken are
// the names of others that the owner has. The caller holds enrolling.
func (w *Watcher) enroll(g *group, repository Owned, known memory, taken map[string]bool) (name string, fresh bool, err error) {
	if w.isConfigured(g.Host, repository.Repo) {
		return "", false, nil
	}
	if name, err = known.nameOf(repository.Repo, g); err != nil {
		return "", false, err
	}
	before := w.app(name)
	switch {
	case before == nil:
	case taken[name], before.group == nil, before.group.Name < g.Name: // so that the same one wins everywhere
		return "", false, fmt.Errorf("%s cannot be the app %s, which is %s already; configure it by itself, with another name", repository.Name, name, before.where())
	case before.group == g && before.Repo.ID == repository.ID:
		return name, false, nil
	default:
		w.remove(before)
	}
	a := w.newWatched(g.app(name, repository), g)
	if err := known.inform(a); err != nil {
		return "", false, err
	}
	w.add(a)
	return name, true, nil
}

// appName is what a repository of a group is called as an app.
func appName(repo Repo) string { return strings.ToLower(path.Base(repo.Name)) }

// app is what a repository of the group is watched as. One that was made after
// the group was first seen has no versions from before.
func (g *group) app(name string, repository Owned) App {
	app := App{
		Name: name, Host: g.Host, Repo: repository.Repo,
		Choice: g.Choice, Backfill: g.Backfill, RequireSigned: g.RequireSigned,
	}
	if since := g.since.Load(); since != nil && repository.Created.After(*since) {
		app.Backfill = BackfillAll
	}
	return app
}

// memory is what is on record of apps: of all, or of one alone.
type memory struct {
	records  map[string]repoRecord // by app
	statuses map[string][]byte     // by key; nil if they were not read
	apps     map[string]string     // the group's, by the ID of the repository
}

// recollect reads what is on record of every app.
func (w *Watcher) recollect(ctx context.Context, g *group) (memory, error) {
	values, err := w.Table.All(ctx, repoPrefix)
	if err != nil {
		return memory{}, err
	}
	statuses, err := w.Table.All(ctx, StatusPrefix)
	if err != nil {
		return memory{}, err
	}
	m := memory{records: make(map[string]repoRecord, len(values)), statuses: statuses, apps: map[string]string{}}
	for key, value := range values {
		app, err := events.Unescape(strings.TrimPrefix(key, repoPrefix+"."))
		if err != nil {
			return memory{}, fmt.Errorf("decode record %s: %w", key, err)
		}
		r, err := decodeRepo(app, value)
		if err != nil {
			return memory{}, err
		}
		m.records[app] = r
		if r.Group == g.Name && r.ID != "" {
			m.apps[r.ID] = app
		}
	}
	return m, nil
}

// recollectOne reads what is on record of the app that a repository is called as.
func (w *Watcher) recollectOne(ctx context.Context, repo Repo) (memory, error) {
	app := appName(repo)
	value, _, err := w.Table.Get(ctx, repoKey(app))
	if errors.Is(err, events.ErrNotRecorded) {
		return memory{}, nil
	}
	if err != nil {
		return memory{}, fmt.Errorf("read the record of the repository: %w", err)
	}
	r, err := decodeRepo(app, value)
	return memory{records: map[string]repoRecord{app: r}}, err
}

// nameOf is what a repository is called as an app of the group. One that was
// renamed stays the app that it was, and one that took over a name is none.
func (m memory) nameOf(repo Repo, g *group) (string, error) {
	if name := m.apps[repo.ID]; name != "" {
		return name, nil
	}
	name := appName(repo)
	if err := events.CheckApp(name); err != nil {
		return "", fmt.Errorf("%s cannot be an app: the name %w; configure it by itself, with another name", repo.Name, err)
	}
	if r := m.records[name]; r.Group == g.Name && r.ID != "" && r.ID != repo.ID {
		return "", fmt.Errorf("%s is another repository than the app %s is of: its ID is %s, and was %s; nothing of it is released. If that is meant, configure it by itself, with repo_id: %q",
			repo.Name, name, repo.ID, r.ID, repo.ID)
	}
	return name, nil
}

// inform tells an app what is on record of it.
func (m memory) inform(a *watched) error {
	r := m.records[a.Name]
	a.known.Store(&r)
	if m.statuses == nil {
		return nil
	}
	return a.recallStatus(m.statuses[StatusKey(a.Name)])
}

// isConfigured tells whether a repository is an app of the configuration.
func (w *Watcher) isConfigured(host Host, repo Repo) bool {
	return slices.ContainsFunc(w.watching(host.Name(), repo), func(a *watched) bool { return a.group == nil })
}

// recallGroup reads when the group was first seen, which is now if it never was.
func (w *Watcher) recallGroup(ctx context.Context, g *group) (time.Time, error) {
	if since := g.since.Load(); since != nil {
		return *since, nil
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
		return time.Time{}, fmt.Errorf("record when the group was first seen: %w", err)
	}
	g.since.Store(&first.Since)
	return first.Since, nil
}

// reportGroup writes the group's status if it is another than before.
func (w *Watcher) reportGroup(ctx context.Context, g *group, since time.Time, failure error) {
	if isHosts(failure) {
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
		now := Status{Repo: g.Host.Where(Repo{Name: g.Owner + "/*"}), Tags: g.Choice.String(), BaselineAt: since.Truncate(time.Second), Group: true, Repositories: len(w.appsOf(g))}
		now.fail(*g.status, failure)
		if err = w.writeStatus(ctx, g.Name, *g.status, now); err == nil {
			g.status = &now
		}
	}
	if err != nil && ctx.Err() == nil {
		w.Log.Warn("cannot write the group's status", zap.String("group", g.Name), zap.Error(err))
	}
}
