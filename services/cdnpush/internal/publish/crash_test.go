package publish_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/cdnpush/internal/publish"
)

// failing is a store that fails at its nth call, before or after it took effect.
type failing struct {
	publish.Store
	at    int
	after bool
	calls int
}

var errKilled = errors.New("killed")

func (f *failing) around(call func() error) error {
	f.calls++
	if f.calls > f.at || f.calls == f.at && !f.after {
		return errKilled
	}
	err := call()
	if f.calls == f.at {
		return errKilled
	}
	return err
}

func (f *failing) Stat(ctx context.Context, key string) (o publish.Object, err error) {
	err = f.around(func() (err error) { o, err = f.Store.Stat(ctx, key); return err })
	return o, err
}

func (f *failing) Create(ctx context.Context, o publish.Object, r io.Reader) error {
	return f.around(func() error { return f.Store.Create(ctx, o, r) })
}

func (f *failing) Read(ctx context.Context, key string) (b []byte, rev publish.Revision, err error) {
	err = f.around(func() (err error) { b, rev, err = f.Store.Read(ctx, key); return err })
	return b, rev, err
}

func (f *failing) Replace(ctx context.Context, key string, content []byte, old publish.Revision) error {
	return f.around(func() error { return f.Store.Replace(ctx, key, content, old) })
}

// Killed before or after any call to the store, and handled again, a publication
// ends as if nothing had happened; and meanwhile no pointer promises too much.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	reference := newWorld(t)
	prepare := func(w *world) {
		w.agent("v1", 1)
		w.agent("v2", 2)
		w.done(w.Requested(t.Context(), w.request("beta", "agent", "v1")))
	}
	prepare(reference)
	counting := &failing{Store: reference.folder.Store("https://dl.example.org"), at: 1 << 30}
	reference.done(reference.publisher(counting).Requested(t.Context(), reference.request("beta", "agent", "v2")))
	want := reference.tree()
	if counting.calls < 10 {
		t.Fatalf("only %d calls: the test kills nothing", counting.calls)
	}
	for at := 1; at <= counting.calls; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d, after it %t", at, after), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				prepare(w)
				d := w.request("beta", "agent", "v2")
				killed := &failing{Store: w.folder.Store("https://dl.example.org"), at: at, after: after}
				if _, err := w.publisher(killed).Requested(t.Context(), d); !errors.Is(err, errKilled) {
					t.Fatalf("killed: %v", err)
				}
				pointer := w.pointer("beta/agent/latest.json")
				for _, file := range pointer.Files {
					name := strings.TrimPrefix(file.URL, "https://dl.example.org/")
					if got := digestOf([]byte(w.file(name))); got != file.Digest {
						t.Errorf("the pointer promises %s of %s, there is %s", file.Digest, name, got)
					}
				}
				d.Attempt = 2
				w.done(w.Requested(t.Context(), d))
				if diff := cmp.Diff(want, w.tree()); diff != "" {
					t.Errorf("not as if nothing had happened (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// Two that both believe to hold the lease, as after a long pause, harm nothing.
func TestConcurrentWithoutLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const versions = 8
	for i := range versions {
		w.agent(fmt.Sprintf("v%d", i), uint64(i+1))
	}
	var group sync.WaitGroup
	for range 2 {
		for i := range versions {
			p := w.publisher(w.folder.Store("https://dl.example.org"))
			p.Leases = newMemory()
			d := delivery(w, mustBuild(t, w, fmt.Sprintf("v%d", i)))
			group.Go(func() {
				if facts, err := p.PromotedBuild("beta")(t.Context(), d); err != nil || len(facts) != 1 || facts[0].Kind() != events.KindCDNDone {
					t.Errorf("%v, %v", facts, err)
				}
			})
		}
	}
	group.Wait()
	w.wantLatest("beta", "agent", fmt.Sprintf("v%d", versions-1))
}

func mustBuild(t *testing.T, w *world, version string) *events.BuildDone {
	t.Helper()
	last, err := w.record.Last(t.Context(), events.KindBuildDone.Subject("agent", version))
	if err != nil {
		t.Fatal(err)
	}
	build, ok := last.Fact.(*events.BuildDone)
	if !ok {
		t.Fatalf("recorded is %T", last.Fact)
	}
	return build
}

// Another writer put other bytes there between the look and the write.
func TestOtherBytesMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent("v1", 1)
	store := w.folder.Store("https://dl.example.org")
	sneaky := &sneaking{Store: store, key: "beta/agent/v1/agent_v1_amd64.deb"}
	fact := w.one(w.publisher(sneaky).Requested(t.Context(), w.request("beta", "agent", "v1")))
	failed, ok := fact.(*events.CDNFailed)
	if !ok || !strings.Contains(failed.Reason, sneaky.key) || !strings.Contains(failed.Reason, digestOf([]byte("sneaked in"))) {
		t.Errorf("fact is %T %+v", fact, fact)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "beta/agent/latest")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a pointer: %v", err)
	}
}

type sneaking struct {
	publish.Store
	key string
}

func (s *sneaking) Create(ctx context.Context, o publish.Object, r io.Reader) error {
	if o.Key == s.key {
		if err := s.Store.Create(ctx, publish.Object{Key: o.Key}, strings.NewReader("sneaked in")); err != nil {
			return err
		}
	}
	return s.Store.Create(ctx, o, r)
}
