// Package watch sees that a new version exists: it compares what a repository's
// tags are with what is on record, and states each difference as a fact, once.
//
//	a tag nobody has seen     tag.seen, with its source staged and its recipe read
//	… that cannot be built    tag.refused, with every reason
//	a tag on another commit   tag.moved, and nothing is built
//
// The first look at a repository records a baseline: the tags of that moment,
// which are not released unless the app says so. The baseline is one value and
// one write, so it is there as a whole or not at all, and every tag that comes
// after the listing in it is new.
//
// A fact is published before the tag's own record is written. Killed in between,
// the next look finds the fact and writes the record; nothing is stated twice.
// For the same reason any number of watchers may look at one repository.
package watch

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
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

// Repository is one git repository, whatever serves it. Its methods may be
// called concurrently.
type Repository interface {
	// Where is the repository's address for people, without credentials. Two
	// repositories are the same if it is the same.
	Where() string
	// Tags lists every tag, in any order. A listing is complete or an error.
	Tags(ctx context.Context) ([]Tag, error)
	// Archive makes an archive of the commit that a tag names: a tar compressed
	// with gzip, paths beginning at the root of the repository. The error is an
	// [*UnfitError] if the commit can never be one; anything else may pass.
	Archive(ctx context.Context, tag Tag) (*Archive, error)
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
}

// App is one app to watch.
type App struct {
	Name       string
	Repository Repository
	Choice     Choice
	Backfill   bool // release the tags of the baseline too
}

// Options are what a [Watcher] needs; all of it is required.
type Options struct {
	Apps     []App
	Interval time.Duration // between two looks at a repository
	Parallel int           // how many repositories are looked at at once
	Record   Record
	Table    Table
	Sources  Sources
	Recipes  RecipeReader
	Log      *zap.Logger
}

// Watcher looks at repositories. Its methods may be called concurrently.
type Watcher struct {
	Options
	apps map[string]*watched
}

// watched is an app with what this process knows of it.
type watched struct {
	App
	log *zap.Logger
	// turn is held by the one look at the app that is under way.
	turn chan struct{}
	// settled is the listing whose every tag is on record. Kept in memory only:
	// it saves reading the records while nothing changes.
	settled fingerprint
	status  *Status // as last written; nil if that is not known
}

// New returns a watcher of the given apps.
func New(o Options) *Watcher {
	w := &Watcher{Options: o, apps: map[string]*watched{}}
	for _, app := range o.Apps {
		w.apps[app.Name] = &watched{
			App:  app,
			log:  o.Log.With(zap.String("app", app.Name), zap.String("repo", app.Repository.Where())),
			turn: make(chan struct{}, 1),
		}
	}
	return w
}

// Known lists the apps, separated by commas, for a person to choose from.
func (w *Watcher) Known() string {
	names := make([]string, 0, len(w.apps))
	for name := range w.apps {
		names = append(names, name)
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Watches tells whether an app of that name is watched.
func (w *Watcher) Watches(app string) bool { return w.apps[app] != nil }

// Look compares an app's repository with the record now and states what is new.
// It returns the versions that were seen for the first time. One tag's trouble
// keeps no other from being settled; the error then names them all.
func (w *Watcher) Look(ctx context.Context, app string) ([]string, error) {
	a := w.apps[app]
	if a == nil {
		return nil, events.Permanent(fmt.Errorf("look at %q: no such app, expected one of %s", app, w.Known()))
	}
	found, err := w.look(ctx, a, ask{})
	return found.versions, err
}
