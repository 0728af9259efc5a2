// Package watch sees that a new version exists: it compares what a repository's
// tags are with what is on record, and states each difference as a fact, once.
//
//	a tag nobody has seen     tag.seen, with its source staged and its recipe read
//	… that cannot be built    tag.refused, with every reason
//	a tag on another commit   tag.moved, and nothing is built
//	a tag that is gone        tag.deleted, and the version stays what it is
//
// The first look at a repository records a baseline: the tags of that moment,
// which are not released unless the app says so. The baseline is one value and
// one write, so it is there as a whole or not at all, and every tag that comes
// after the listing in it is new.
//
// Three things make it look: a sweep over every repository of a host at an
// interval, which one replica does; a hook, which says that one tag is worth a
// look; and a request. Hooks and sweeps find the same, and none relies on another.
//
// A fact is published before the tag's own record is written. Killed in between,
// the next look finds the fact and writes the record; nothing is stated twice.
// For the same reason any number of watchers may look at one repository.
package watch

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// Tag is one tag of a repository.
type Tag struct {
	Name string // such as web/v1.2.3, without refs/tags/
	// Object is the object id that the reference names: of the tag object where it is annotated.
	Object string
	// Commit is the object id that it peels to in the end; of a blob or tree where
	// somebody tagged one. Empty in a listing that does not tell, see [Host.Find].
	Commit string
}

// Archive is the source of one commit. Whoever is given it closes it.
type Archive struct {
	Digest string // sha256:… of the compressed bytes
	Size   int64  // in bytes, compressed
	io.ReadSeekCloser
}

// UnfitError says that a commit can never become a version.
type UnfitError struct{ Reason string }

func (e *UnfitError) Error() string { return e.Reason }

// RecipeReader reads the text of a recipe. Name stands for the file in its
// errors, which name every problem.
type RecipeReader func(name string, text []byte) (events.Recipe, error)

// Record is where facts are stated and looked up.
type Record interface {
	Publish(ctx context.Context, fact events.Fact, fences ...events.Fence) (events.Stored, error)
	Last(ctx context.Context, subject string) (events.Recorded, error)
}

// Table holds what is known of each tag. See bus.Table for its errors.
type Table interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Put(ctx context.Context, key string, value []byte) error
	Create(ctx context.Context, key string, value []byte) error
	All(ctx context.Context, prefix string) (map[string][]byte, error)
}

// Sources is where archives are staged for the builders.
type Sources interface {
	PutSource(ctx context.Context, digest string, r io.Reader) error
	HasSource(ctx context.Context, digest string) (bool, error)
}

// Leases let one replica lead. See bus.Hold for their errors.
type Leases interface {
	Hold(ctx context.Context, key string, work func(ctx context.Context) error) error
}

// Backfill says which tags of the baseline are released.
type Backfill string

// The ways to treat a baseline. Empty is as [BackfillNone].
const (
	BackfillNone   Backfill = "none"
	BackfillLatest Backfill = "latest" // the newest version alone
	BackfillAll    Backfill = "all"
)

// App is one app to watch.
type App struct {
	Name string
	Host Host
	// Repo is the repository as it is configured. With an ID it is that one and no
	// other; without, it is the one that had the name at first sight.
	Repo          Repo
	Choice        Choice
	Backfill      Backfill
	RequireSigned bool // refuse tags whose signature the host, a [Verifier], does not vouch for
}

// Options are what a [Watcher] needs; all of it is required but apps and groups.
type Options struct {
	Apps     []App
	Groups   []Group
	Interval time.Duration // between two sweeps; [Host.Pause] may make it longer
	Parallel int           // how many sources of a host are fetched at once
	Replica  string        // what this process is called where statuses say who leads
	Record   Record
	Table    Table
	Sources  Sources
	Leases   Leases
	Recipes  RecipeReader
	Log      *zap.Logger
}

// Watcher looks at repositories. Its methods may be called concurrently.
type Watcher struct {
	Options
	hosts  map[string]*hosted // by name
	groups []*group
	clock  clock
	// zips has a *gzip.Writer for each baseline that is being made: one takes a
	// megabyte, and a first sweep makes ten thousand baselines.
	zips sync.Pool

	// enrolling is held while a group's apps are chosen, so that none is chosen twice.
	enrolling sync.Mutex

	mu    sync.RWMutex // guards what follows
	apps  map[string]*watched
	index index
}

// watched is an app with what this process knows of it. There may be ten
// thousand, so it holds little, and nothing runs for it while nothing changes.
type watched struct {
	App
	group *group    // that it was found with; nil if it is configured
	since time.Time // when this process began to watch it
	host  *hosted
	// turn is held by the one look at the app that is under way.
	turn chan struct{}
	// known is what is on record of its repository, as far as this process knows:
	// nil if it has not read it yet.
	known atomic.Pointer[repoRecord]
	// status is as last written; nil if that is not known.
	status atomic.Pointer[Status]
	// looked is when the last look at every tag that succeeded began.
	looked atomic.Pointer[time.Time]

	// Guarded by turn:

	// missing are tags on record that the last complete listing lacked, and since when.
	missing map[string]time.Time
	// reused says that the repository's name is another's now; empty if it is not.
	reused string
	// gone is why the repository could not be read when it was first missing, and
	// goneByName how it was asked for then; nil if the last look found it.
	gone       error
	goneByName bool
	// note is the [Status.Note] of the last listing with tags; nil if there was none.
	note *string

	plan   plan        // guarded by the host's mutex
	byName atomic.Bool // ask by name next, for the host knows the ID no more
}

// New returns a watcher of the given apps and groups. Hosts of the same name are
// one host.
func New(o Options) *Watcher {
	w := &Watcher{
		Options: o,
		hosts:   map[string]*hosted{},
		zips:    sync.Pool{New: func() any { return gzip.NewWriter(nil) }},
		apps:    map[string]*watched{},
		index:   newIndex(),
	}
	for _, app := range o.Apps {
		w.add(w.newWatched(app, nil))
	}
	for _, g := range o.Groups {
		w.groups = append(w.groups, &group{Group: g, host: w.hostOf(g.Host), without: map[Repo]time.Time{}})
	}
	return w
}

func (w *Watcher) newWatched(app App, from *group) *watched {
	return &watched{App: app, group: from, since: time.Now(), host: w.hostOf(app.Host), turn: make(chan struct{}, 1)}
}

// add begins to watch an app.
func (w *Watcher) add(a *watched) {
	w.mu.Lock()
	w.apps[a.Name] = a
	w.index.file(a, a.Repo)
	if known := a.known.Load(); known != nil && known.ID != "" {
		w.index.file(a, known.repo())
	}
	w.mu.Unlock()
	a.host.add(a)
}

// remove ends watching an app. A look at it that is under way goes on.
func (w *Watcher) remove(a *watched) {
	w.mu.Lock()
	if w.apps[a.Name] == a {
		delete(w.apps, a.Name)
	}
	w.index.drop(a)
	w.mu.Unlock()
	a.host.remove(a)
}

// app returns a watched app; nil if there is none of that name.
func (w *Watcher) app(name string) *watched {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.apps[name]
}

// Known lists the apps, separated by commas, for a person to choose from.
func (w *Watcher) Known() string {
	w.mu.RLock()
	names := make([]string, 0, len(w.apps))
	for name := range w.apps {
		names = append(names, name)
	}
	w.mu.RUnlock()
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	if most := 100; len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Watches tells whether an app of that name is watched.
func (w *Watcher) Watches(app string) bool { return w.app(app) != nil }

// Look compares an app's repository with the record now and states what is new.
// It returns the versions that were seen for the first time. One tag's trouble
// keeps no other from being settled; the error then names them all.
func (w *Watcher) Look(ctx context.Context, app string) ([]string, error) {
	a := w.app(app)
	if a == nil {
		return nil, events.Permanent(fmt.Errorf("look at %q: no such app, expected one of %s", app, w.Known()))
	}
	found, err := w.look(ctx, a, ask{})
	return found.versions, err
}

// logger is the log of an app. It is made when it is needed: most never do.
func (w *Watcher) logger(a *watched) *zap.Logger {
	return w.Log.With(zap.String("app", a.Name), zap.String("repo", a.where()))
}
