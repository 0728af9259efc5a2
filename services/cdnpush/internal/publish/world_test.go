package publish_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/cdnpush/internal/folder"
	"github.com/tagship/tagship/services/cdnpush/internal/publish"
	"go.uber.org/zap"
)

// world is a publisher with a real folder, and everything it needs around it.
type world struct {
	*publish.Publisher
	t      *testing.T
	record *memory
	dir    string
	folder *folder.Folder
	blobs  blobs
	seq    uint64 // of the last message
}

// blobs are packages by digest.
type blobs map[string][]byte

func (b blobs) Open(_ context.Context, _ events.Image, p events.Package) (io.ReadCloser, error) {
	content, ok := b[p.Digest]
	if !ok {
		return nil, fmt.Errorf("no blob %s", p.Digest)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, record: newMemory(), dir: t.TempDir(), blobs: blobs{}}
	opened, err := folder.Open(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	w.folder = opened
	w.Publisher = w.publisher(opened.Store("https://dl.example.org"))
	return w
}

// publisher makes another publisher on the same record and packages.
func (w *world) publisher(store publish.Store) *publish.Publisher {
	return &publish.Publisher{
		Record: w.record, Leases: w.record, Packages: w.blobs, Log: zap.NewNop(),
		Channels: map[string]publish.Channel{
			"beta":   {Store: store, Promote: &publish.Promote{From: publish.FromBuild, Apps: []string{"agent", "team/tool"}}},
			"stable": {Store: store, Promote: &publish.Promote{From: "beta", Soak: time.Hour}},
			"lts":    {Store: store},
		},
	}
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// built records a build whose packages contain the given text.
func (w *world) built(app, version string, tagSeq uint64, packages map[string]string) *events.BuildDone {
	w.t.Helper()
	build := &events.BuildDone{App: app, Version: version, Commit: strings.Repeat("a", 40), TagSeq: tagSeq}
	for name, text := range packages {
		digest := digestOf([]byte(text))
		w.blobs[digest] = []byte(text)
		build.Packages = append(build.Packages, events.Package{Name: name, Digest: digest, Size: int64(len(text))})
	}
	held := &events.Image{Repository: "registry.example.org/" + app, Digest: digestOf([]byte(app + version))}
	if len(packages) > 0 {
		build.PackageSet = held
	} else {
		build.Image = held
	}
	w.state(build)
	return build
}

func (w *world) state(f events.Fact) {
	w.t.Helper()
	if _, err := w.record.Publish(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
}

// agent records a build of app agent with two packages.
func (w *world) agent(version string, tagSeq uint64) *events.BuildDone {
	w.t.Helper()
	return w.built("agent", version, tagSeq, map[string]string{
		"agent-linux-amd64.tar.gz": "an archive of " + version, "agent_" + version + "_amd64.deb": "a package of " + version,
	})
}

func delivery[M events.Event](w *world, m M) events.Delivery[M] {
	w.seq++
	return events.Delivery[M]{Message: m, Origin: events.Cause{Stream: "TEST", Seq: w.seq + 1000}, Time: time.Now(), Attempt: 1}
}

func (w *world) request(channel, app, version string) events.Delivery[*events.Request] {
	return delivery(w, events.NewRequest(events.CDNRequested, channel, app, version, "ann"))
}

// one is the only fact of a handler that must have succeeded.
func (w *world) one(facts []events.Fact, err error) events.Fact {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("handle: %v", err)
	}
	if len(facts) != 1 {
		w.t.Fatalf("%d facts, want 1", len(facts))
	}
	if err := events.Identify(facts[0], &events.Cause{Stream: "TEST", Seq: w.seq + 1000}, "cdnpush", time.Now()); err != nil {
		w.t.Fatal(err)
	}
	if _, err := events.Encode(facts[0]); err != nil {
		w.t.Fatal(err)
	}
	return facts[0]
}

func (w *world) done(facts []events.Fact, err error) *events.CDNDone {
	w.t.Helper()
	fact := w.one(facts, err)
	done, ok := fact.(*events.CDNDone)
	if !ok {
		w.t.Fatalf("fact is %T %+v, want cdn.done", fact, fact)
	}
	return done
}

func (w *world) refused(facts []events.Fact, err error, wants ...string) {
	w.t.Helper()
	fact := w.one(facts, err)
	refused, ok := fact.(*events.CDNRefused)
	if !ok {
		w.t.Fatalf("fact is %T %+v, want cdn.refused", fact, fact)
	}
	for _, want := range wants {
		if !strings.Contains(refused.Reason, want) {
			w.t.Errorf("reason is %q, want %q in it", refused.Reason, want)
		}
	}
}

func (w *world) file(name string) string {
	w.t.Helper()
	content, err := os.ReadFile(filepath.Join(w.dir, filepath.FromSlash(name)))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(content)
}

// tree is every file under the folder but its own and the times in pointers.
func (w *world) tree() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(w.dir), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".tagship/lock" || d.IsDir():
			return nil
		}
		all[name] = w.file(name)
		if strings.HasSuffix(name, "latest.json") {
			p := w.pointer(name)
			p.At, p.Asked = time.Time{}, time.Time{}
			body, err := json.Marshal(p)
			all[name] = string(body)
			return err
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) pointer(name string) publish.Pointer {
	w.t.Helper()
	var p publish.Pointer
	if err := json.Unmarshal([]byte(w.file(name)), &p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) wantLatest(channel, app, version string) {
	w.t.Helper()
	if got := w.file(channel + "/" + app + "/latest"); got != version+"\n" {
		w.t.Errorf("latest of %s on %s is %q, want %s", app, channel, got, version)
	}
	if got := w.pointer(channel + "/" + app + "/latest.json").Version; got != version {
		w.t.Errorf("latest.json of %s on %s names %q, want %s", app, channel, got, version)
	}
}
