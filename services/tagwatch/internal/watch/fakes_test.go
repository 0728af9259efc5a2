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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// store is the record, the table and the sources in memory, with the rules that
// the real ones keep.
type store struct {
	mu      sync.Mutex
	facts   []events.Fact
	table   map[string][]byte
	sources map[string]bool
	leases  map[string]bool

	writes int
	reads  int
}

var errKilled = errors.New("killed")

func newStore() *store {
	return &store{table: map[string][]byte{}, sources: map[string]bool{}, leases: map[string]bool{}}
}

func (s *store) write(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	return do()
}

// counted is how often it was written to and read.
func (s *store) counted() (writes, reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes, s.reads
}

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
	s.reads++
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
	s.reads++
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

func (s *store) HasSource(_ context.Context, digest string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sources[digest], nil
}

func (s *store) Hold(ctx context.Context, key string, work func(ctx context.Context) error) error {
	s.mu.Lock()
	taken := s.leases[key]
	s.leases[key] = true
	s.mu.Unlock()
	if taken {
		return fmt.Errorf("take lease %s: %w", key, events.ErrHeld)
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.leases, key)
	}()
	return work(ctx)
}

// mortal is a store as one process has it, which is killed at one of its writes.
type mortal struct {
	*store

	mu     sync.Mutex
	writes int
	// crashAt is the write at which the process is killed, 0 for never; after
	// tells whether the write itself has taken effect by then.
	crashAt int
	after   bool
}

// process is a setup for a process that the store is killed with.
func (m *mortal) process(_ *App, o *Options) { o.Record, o.Table, o.Sources = m, m, m }

// write does one write. Once killed, a process writes no more.
func (m *mortal) write(do func() error) error {
	m.mu.Lock()
	m.writes++
	n := m.writes
	m.mu.Unlock()
	switch {
	case m.crashAt == 0 || n < m.crashAt:
		return do()
	case n == m.crashAt && m.after:
		return errors.Join(do(), errKilled)
	}
	return errKilled
}

func (m *mortal) Publish(ctx context.Context, f events.Fact, fences ...events.Fence) (stored events.Stored, err error) {
	err = m.write(func() (err error) {
		stored, err = m.store.Publish(ctx, f, fences...)
		return err
	})
	return stored, err
}

func (m *mortal) Put(ctx context.Context, key string, value []byte) error {
	return m.write(func() error { return m.store.Put(ctx, key, value) })
}

func (m *mortal) Create(ctx context.Context, key string, value []byte) error {
	return m.write(func() error { return m.store.Create(ctx, key, value) })
}

func (m *mortal) PutSource(ctx context.Context, digest string, r io.Reader) error {
	return m.write(func() error { return m.store.PutSource(ctx, digest, r) })
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

// last returns the last fact on a subject.
func (s *store) last(t *testing.T, subject string) events.Fact {
	t.Helper()
	r, err := s.Last(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	return r.Fact
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
	a := &watched{App: App{Name: app}}
	if err := (&Watcher{Options: Options{Table: s}}).readStatus(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return *a.status.Load()
}

// repository is a repository in memory.
type repository struct {
	name, id string
	was      string // its name before, which leads to it still

	mu       sync.Mutex
	commits  map[string]string            // by tag
	objects  map[string]string            // by tag, where it is annotated
	peels    map[string]string            // commits by tag object
	files    map[string]map[string]string // by commit; a good recipe where there are none
	down     error                        // what asking fails with
	failing  map[string]error             // what archiving a tag fails with
	hidden   map[string]bool              // tags that cannot be seen yet
	endless  map[string]bool              // tags that lead to no commit
	listings int
	finds    int
	archives int
	onList   func(ctx context.Context) error
	onFetch  func(ctx context.Context, tag string)
}

const goodRecipe = "build: {run: make}\n"

func newRepository(tags ...string) *repository {
	r := &repository{name: "web", commits: map[string]string{}, objects: map[string]string{}, peels: map[string]string{}, files: map[string]map[string]string{}, failing: map[string]error{}, hidden: map[string]bool{}, endless: map[string]bool{}}
	r.push(tags...)
	return r
}

func (r *repository) where() string { return "https://" + forgeName + "/" + r.name }

func commitOf(text string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(text))) }

// push puts tags on commits of their own.
func (r *repository) push(tags ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tag := range tags {
		r.commits[tag] = commitOf(tag)
	}
}

// annotate puts a tag object between a tag and its commit.
func (r *repository) annotate(tag, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects[tag] = commitOf(text)
	r.peels[r.objects[tag]] = r.commits[tag]
}

// move puts a tag on another commit.
func (r *repository) move(tag, to string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commits[tag] = commitOf(to)
	return r.commits[tag]
}

// drop deletes tags.
func (r *repository) drop(tags ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tag := range tags {
		delete(r.commits, tag)
	}
}

// looks is how often the tags were listed.
func (r *repository) looks() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listings
}

func (r *repository) tag(name string) Tag {
	tag := Tag{Name: name, Object: r.commits[name], Commit: r.commits[name]}
	if object := r.objects[name]; object != "" {
		tag.Object = object
	}
	return tag
}

func (r *repository) list(ctx context.Context, f *forge, mark string) (Listing, error) {
	if r.onList != nil {
		if err := r.onList(ctx); err != nil {
			return Listing{}, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listings++
	if r.down != nil {
		return Listing{}, r.down
	}
	listing := Listing{Repo: Repo{Name: r.name, ID: r.id}}
	for name := range r.commits { // in the random order of a map
		tag := r.tag(name)
		if f.unpeeled && tag.Object != tag.Commit {
			tag.Commit = ""
		}
		if !r.hidden[name] {
			listing.Tags = append(listing.Tags, tag)
		}
	}
	if f.marks {
		listing.Mark = markOf(listing.Tags)
		if listing.Mark == mark {
			listing.Unchanged, listing.Tags = true, nil
		}
	}
	return listing, nil
}

// mustList lists the tags as a host does.
func (r *repository) mustList(t *testing.T) Listing {
	t.Helper()
	listing, err := r.list(t.Context(), &forge{}, "")
	if err != nil {
		t.Fatal(err)
	}
	return listing
}

func markOf(tags []Tag) string {
	sorted := slices.SortedFunc(slices.Values(tags), func(a, b Tag) int { return strings.Compare(a.Name, b.Name) })
	return commitOf(fmt.Sprint(sorted))
}

// forgeName is the host of every repository in the tests.
const forgeName = "git.example.org"

// forge is a host in memory. Repositories are found by their IDs, and else by name.
type forge struct {
	marks    bool          // listings have marks
	unpeeled bool          // listings do not tell the commits of annotated tags
	pace     time.Duration // the shortest time between two sweeps

	mu       sync.Mutex
	repos    []*repository
	owned    []Owned
	unsigned map[string]error // what verifying a tag fails with
	calls    [][]Ask          // of List

	directory   error // what Owned fails with
	directories int   // how often Owned was called
	lookups     int   // how often HasRecipe was called
}

var (
	_ Host      = (*forge)(nil)
	_ Verifier  = (*forge)(nil)
	_ Directory = (*forge)(nil)
)

func (f *forge) Name() string { return forgeName }

func (f *forge) Where(repo Repo) string { return "https://" + forgeName + "/" + repo.Name }

func (f *forge) Pause(interval time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(interval, f.pace)
}

// set changes the host while others use it.
func (f *forge) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// listed is how often Owned was called.
func (f *forge) listed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.directories
}

func (f *forge) repository(repo Repo) (*repository, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.repos {
		if repo.ID != "" && r.id == repo.ID || repo.ID == "" && (r.name == repo.Name || r.was == repo.Name) {
			return r, nil
		}
	}
	return nil, &GoneError{Reason: fmt.Sprintf("%v is not there", repo)}
}

func (f *forge) List(ctx context.Context, asks []Ask, found func(i int, listing Listing, err error)) {
	f.mu.Lock()
	f.calls = append(f.calls, asks)
	f.mu.Unlock()
	type result struct {
		i       int
		listing Listing
		err     error
	}
	results := make(chan result)
	for i, ask := range asks {
		go func() {
			r, err := f.repository(ask.Repo)
			if err != nil {
				results <- result{i: i, err: err}
				return
			}
			listing, err := r.list(ctx, f, ask.Mark)
			results <- result{i, listing, err}
		}()
	}
	for range asks {
		r := <-results
		found(r.i, r.listing, r.err)
	}
}

// called are the calls of List so far.
func (f *forge) called() [][]Ask {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func (f *forge) Find(_ context.Context, repo Repo, tag string) (Tag, error) {
	r, err := f.repository(repo)
	if err != nil {
		return Tag{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finds++
	if r.down != nil {
		return Tag{}, r.down
	}
	if r.commits[tag] == "" || r.hidden[tag] {
		return Tag{}, fmt.Errorf("%w: %s", ErrNoTag, tag)
	}
	if r.endless[tag] {
		return Tag{}, fmt.Errorf("peel it: %w", &UnfitError{Reason: "leads through too many tags"})
	}
	return r.tag(tag), nil
}

func (f *forge) Peel(_ context.Context, repo Repo, object string) (string, error) {
	r, err := f.repository(repo)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peels[object] == "" {
		return "", fmt.Errorf("%w: %s", ErrNoTag, object)
	}
	return r.peels[object], nil
}

func (f *forge) Archive(ctx context.Context, repo Repo, tag Tag) (*Archive, error) {
	r, err := f.repository(repo)
	if err != nil {
		return nil, err
	}
	if r.onFetch != nil {
		r.onFetch(ctx, tag.Name)
	}
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

func (f *forge) Verify(_ context.Context, _ Repo, tag Tag) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unsigned[tag.Name]
}

func (f *forge) Owned(context.Context, string) ([]Owned, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.directories++
	return slices.Clone(f.owned), f.directory
}

func (f *forge) HasRecipe(_ context.Context, repo Repo) (Owned, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookups++
	for _, o := range f.owned {
		if o.ID == repo.ID {
			return o, true, f.directory
		}
	}
	return Owned{}, false, f.directory
}

type closer struct{ *bytes.Reader }

func (closer) Close() error { return nil }

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func tarOf(files map[string]string) []byte {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := files[name]
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

func backfill(a *App, _ *Options) { a.Backfill = BackfillAll }

func choose(t *testing.T, pattern, versions string) setup {
	t.Helper()
	choice, err := NewChoice(ChoiceOptions{Tags: pattern, Versions: versions})
	if err != nil {
		t.Fatal(err)
	}
	return func(a *App, _ *Options) { a.Choice = choice }
}

// newWatcher starts a process that watches one app, called web.
func newWatcher(t *testing.T, s *store, r *repository, setups ...setup) *Watcher {
	t.Helper()
	app := App{Name: "web", Host: &forge{repos: []*repository{r}}, Repo: Repo{Name: r.name}}
	o := Options{Interval: 30 * time.Second, Parallel: 4, Replica: "one", Record: s, Table: s, Sources: s, Leases: s, Recipes: readRecipe, Log: zaptest.NewLogger(t, zaptest.Level(zap.PanicLevel))}
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
