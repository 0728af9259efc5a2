package watch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// store is the record, the table and the sources in memory, with the rules that
// the real ones keep. Its writes can be made to fail, as a crash would.
type store struct {
	mu      sync.Mutex
	facts   []events.Fact
	table   map[string][]byte
	sources map[string]bool

	writes int
	// crashAt is the write at which the process is killed, 0 for never; after
	// tells whether the write itself has taken effect by then.
	crashAt int
	after   bool
}

var errKilled = errors.New("killed")

func newStore() *store { return &store{table: map[string][]byte{}, sources: map[string]bool{}} }

// write does one write. Once killed, a process writes no more.
func (s *store) write(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	switch {
	case s.crashAt == 0 || s.writes < s.crashAt:
		return do()
	case s.writes == s.crashAt && s.after:
		return errors.Join(do(), errKilled)
	}
	return errKilled
}

func (s *store) restart() { s.crashAt = 0 }

type causeKey struct{}

func (s *store) Publish(ctx context.Context, f events.Fact, _ ...events.Fence) (stored events.Stored, err error) {
	cause, _ := ctx.Value(causeKey{}).(*events.Cause)
	if err := events.Identify(f, cause, "tagwatch", time.Now()); err != nil {
		return events.Stored{}, events.Permanent(err)
	}
	if _, err := events.Encode(f); err != nil {
		return events.Stored{}, events.Permanent(err)
	}
	err = s.write(func() error {
		for i, old := range s.facts {
			if old.Subject() == f.Subject() && old.Head().ID == f.Head().ID {
				stored = events.Stored{Cause: events.Cause{Stream: "TAGS", Seq: uint64(i + 1)}, Already: true}
				return nil
			}
		}
		s.facts = append(s.facts, f)
		stored = events.Stored{Cause: events.Cause{Stream: "TAGS", Seq: uint64(len(s.facts))}}
		return nil
	})
	return stored, err
}

func (s *store) Last(_ context.Context, subject string) (events.Recorded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.facts) - 1; i >= 0; i-- {
		if s.facts[i].Subject() == subject {
			return events.Recorded{Fact: s.facts[i], Seq: uint64(i + 1)}, nil
		}
	}
	return events.Recorded{}, fmt.Errorf("look up %s: %w", subject, events.ErrNotRecorded)
}

func (s *store) Get(_ context.Context, key string) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value, ok := s.table[key]; ok {
		return value, 1, nil
	}
	return nil, 0, fmt.Errorf("get %s: %w", key, events.ErrNotRecorded)
}

func (s *store) Put(_ context.Context, key string, value []byte) error {
	return s.write(func() error { s.table[key] = value; return nil })
}

func (s *store) Create(_ context.Context, key string, value []byte) error {
	return s.write(func() error {
		if _, taken := s.table[key]; taken {
			return fmt.Errorf("create %s: %w", key, events.ErrConflict)
		}
		s.table[key] = value
		return nil
	})
}

func (s *store) All(_ context.Context, prefix string) (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := maps.Clone(s.table)
	maps.DeleteFunc(values, func(key string, _ []byte) bool { return !strings.HasPrefix(key, prefix+".") })
	return values, nil
}

func (s *store) PutSource(_ context.Context, digest string, r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if got := digestOf(content); got != digest {
		return fmt.Errorf("the content has digest %s, not %s", got, digest)
	}
	return s.write(func() error { s.sources[digest] = true; return nil })
}

// said lists the subjects of the facts of some kinds, in order.
func (s *store) said(kinds ...events.Kind) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := []string{}
	for _, f := range s.facts {
		for _, k := range kinds {
			if f.Kind() == k {
				said = append(said, f.Subject())
			}
		}
	}
	return said
}

// seen lists the versions that were seen, in order.
func (s *store) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := []string{}
	for _, f := range s.facts {
		if f, ok := f.(*events.TagSeen); ok {
			versions = append(versions, f.Version)
		}
	}
	return versions
}

func (s *store) status(t *testing.T, app string) Status {
	t.Helper()
	status, err := (&Watcher{Options: Options{Table: s}}).readStatus(t.Context(), &watched{App: App{Name: app}})
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// repository is a repository in memory.
type repository struct {
	where string

	mu       sync.Mutex
	commits  map[string]string            // by tag
	files    map[string]map[string]string // by commit; goodFiles where there are none
	down     error                        // what listing fails with
	failing  map[string]error             // what archiving a tag fails with
	listings int
	archives int
	onList   func(ctx context.Context) error
}

const goodRecipe = "build: {run: make}\n"

func newRepository(tags ...string) *repository {
	r := &repository{where: "https://git.example.org/web", commits: map[string]string{}, files: map[string]map[string]string{}, failing: map[string]error{}}
	r.push(tags...)
	return r
}

func commitOf(text string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(text))) }

// push puts tags on commits of their own.
func (r *repository) push(tags ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tag := range tags {
		r.commits[tag] = commitOf(tag)
	}
}

// move puts a tag on another commit.
func (r *repository) move(tag, to string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commits[tag] = commitOf(to)
	return r.commits[tag]
}

// looks is how often the tags were listed.
func (r *repository) looks() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listings
}

func (r *repository) Where() string { return r.where }

func (r *repository) Tags(ctx context.Context) ([]Tag, error) {
	if r.onList != nil {
		if err := r.onList(ctx); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listings++
	if r.down != nil {
		return nil, r.down
	}
	var tags []Tag // in the random order of a map
	for name, commit := range r.commits {
		tags = append(tags, Tag{Name: name, Commit: commit})
	}
	return tags, nil
}

func (r *repository) Archive(_ context.Context, tag Tag) (*Archive, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.archives++
	if err := r.failing[tag.Name]; err != nil {
		return nil, err
	}
	files := r.files[tag.Commit]
	if files == nil {
		files = map[string]string{events.RecipeFile: goodRecipe, "commit": tag.Commit}
	}
	content := tarOf(files)
	return &Archive{Digest: digestOf(content), Size: int64(len(content)), ReadSeekCloser: closer{bytes.NewReader(content)}}, nil
}

type closer struct{ *bytes.Reader }

func (closer) Close() error { return nil }

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func tarOf(files map[string]string) []byte {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for name, text := range files {
		header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}
		if to, link := strings.CutPrefix(text, "-> "); link {
			header = &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
			text = ""
		}
		if err := archive.WriteHeader(header); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(archive, text); err != nil {
			panic(err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// longRecipe is a short file that stands for a long recipe, as aliases make it.
const longRecipe = "long"

// readRecipe knows one good recipe, and one that is too long.
func readRecipe(name string, text []byte) (events.Recipe, error) {
	if string(text) == longRecipe {
		return events.Recipe{
			Build:    events.Build{Run: events.Commands{strings.Repeat("x", 600<<10)}},
			Packages: []events.RecipePackage{{File: "out/web.tar.gz"}},
		}, nil
	}
	if string(text) != goodRecipe {
		return events.Recipe{}, fmt.Errorf("%s:1:1: %s", name, text)
	}
	return events.Recipe{
		Build:    events.Build{Run: events.Commands{"make"}},
		Packages: []events.RecipePackage{{File: "out/web.tar.gz"}},
	}, nil
}

type setup func(*App, *Options)

func backfill(a *App, _ *Options) { a.Backfill = true }

func choose(t *testing.T, pattern, versions string) setup {
	t.Helper()
	choice, err := NewChoice(ChoiceOptions{Tags: pattern, Versions: versions})
	if err != nil {
		t.Fatal(err)
	}
	return func(a *App, _ *Options) { a.Choice = choice }
}

// newWatcher starts a process that watches one app, called web.
func newWatcher(t *testing.T, s *store, r Repository, setups ...setup) *Watcher {
	t.Helper()
	app := App{Name: "web", Repository: r}
	o := Options{Interval: 30 * time.Second, Parallel: 4, Record: s, Table: s, Sources: s, Recipes: readRecipe, Log: zaptest.NewLogger(t, zaptest.Level(zap.PanicLevel))}
	choose(t, "v*", "")(&app, &o)
	for _, change := range setups {
		change(&app, &o)
	}
	o.Apps = append(o.Apps, app)
	return New(o)
}

func mustLook(t *testing.T, w *Watcher) []string {
	t.Helper()
	found, err := w.Look(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	return found
}
