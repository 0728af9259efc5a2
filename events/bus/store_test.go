package bus_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

func TestTable(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("tagwatch")
	table, ctx := b.Table(bus.TableWatch), t.Context()
	_, _, err := table.Get(ctx, "web")
	mustBe(t, err, events.ErrNotRecorded)
	if err := table.Create(ctx, "web", []byte("1")); err != nil {
		t.Fatal(err)
	}
	mustBe(t, table.Create(ctx, "web", []byte("2")), events.ErrConflict)
	value, revision, err := table.Get(ctx, "web")
	if err != nil || string(value) != "1" {
		t.Fatalf("saw %q, %v", value, err)
	}
	if err := table.Update(ctx, "web", []byte("3"), revision); err != nil {
		t.Fatal(err)
	}
	mustBe(t, table.Update(ctx, "web", []byte("4"), revision), events.ErrConflict)
	for _, key := range []string{"tags.web", "tags.team=2Fapi", "heads.web"} {
		if err := table.Put(ctx, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	some, err := table.All(ctx, "tags")
	if diff := cmp.Diff(map[string][]byte{"tags.web": []byte("tags.web"), "tags.team=2Fapi": []byte("tags.team=2Fapi")}, some); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := table.Delete(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if err := table.Delete(ctx, "never there"); err == nil {
		t.Error("a key that none can be was accepted")
	}
	all, err := table.All(ctx, "")
	if err != nil || len(all) != 3 {
		t.Errorf("wanted 3 values, saw %q, %v", all, err)
	}
	if err := table.Create(ctx, "web", []byte("5")); err != nil {
		t.Errorf("create after delete: %v", err)
	}
	_, _, err = b.Table("nothing").Get(ctx, "web")
	if !events.IsPermanent(err) || !strings.Contains(err.Error(), "run 'tagship setup'") {
		t.Errorf("no such table: wanted to be told what to do, saw %v", err)
	}
}

// TestTableRace lets many count up one value.
func TestTableRace(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("tagwatch")
	table := b.Table(bus.TableWatch)
	if err := table.Put(t.Context(), "n", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			eventstest.Eventually(t, func() error {
				value, revision, err := table.Get(t.Context(), "n")
				if err != nil {
					return err
				}
				return table.Update(t.Context(), "n", append(value, 'x'), revision)
			})
		})
	}
	all.Wait()
	if value, _, err := table.Get(t.Context(), "n"); err != nil || string(value) != "xxxxx" {
		t.Errorf("wanted xxxxx, saw %q, %v", value, err)
	}
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestSources(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("tagwatch", func(o *bus.Options) { o.Log = discard() })
	ctx := t.Context()
	big := make([]byte, 64<<20)
	for i := range big {
		big[i] = byte(rand.Uint32())
	}
	for name, data := range map[string][]byte{"empty": nil, "small": []byte("package main"), "64 MiB": big} {
		digest := digestOf(data)
		_, err := b.GetSource(ctx, digest)
		mustBe(t, err, fs.ErrNotExist)
		mustHave(t, b, digest, false)
		if err := b.PutSource(ctx, digest, bytes.NewReader(data)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		mustHave(t, b, digest, true)
		// Written once: what is there is not read again.
		if err := b.PutSource(ctx, digest, iotestErr{}); err != nil {
			t.Errorf("%s: put again: %v", name, err)
		}
		r, err := b.GetSource(ctx, digest)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes came back, %v", name, len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
	other := digestOf([]byte("other"))
	if err := b.PutSource(ctx, other, strings.NewReader("this")); err == nil || !strings.Contains(err.Error(), digestOf([]byte("this"))) {
		t.Errorf("other content: wanted an error that names its digest, saw %v", err)
	}
	if err := b.PutSource(ctx, other, iotestErr{}); !errors.Is(err, errRead) {
		t.Errorf("a reader that fails: wanted its error, saw %v", err)
	}
	_, err := b.GetSource(ctx, other)
	mustBe(t, err, fs.ErrNotExist)
}

func mustHave(t *testing.T, b *bus.Bus, digest string, want bool) {
	t.Helper()
	if has, err := b.HasSource(t.Context(), digest); has != want || err != nil {
		t.Errorf("source is there: %t, %v, want %t", has, err, want)
	}
}

// TestSourceEnds wants a source that is about to end to be handed out no more,
// and to be put again once it has ended.
func TestSourceEnds(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("tagwatch", func(o *bus.Options) { o.Topology.SourcesAge = 4 * time.Minute })
	data := []byte("package main")
	put := func() {
		if err := b.PutSource(t.Context(), digestOf(data), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	put()
	mustHave(t, b, digestOf(data), true)
	_, err := b.GetSource(t.Context(), digestOf(data))
	mustBe(t, err, fs.ErrNotExist)
	if events.IsPermanent(err) {
		t.Error("an absent source is a permanent error, though it can be put again")
	}
	s.Bus("tagwatch", func(o *bus.Options) { o.Topology.SourcesAge = time.Second })
	eventstest.Eventually(t, func() error {
		if has, err := b.HasSource(t.Context(), digestOf(data)); has || err != nil {
			return fmt.Errorf("source is there: %t, %w", has, err)
		}
		return nil
	})
	s.Bus("tagwatch")
	put()
	archive, err := b.GetSource(t.Context(), digestOf(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Error(err)
	}
}

var errRead = errors.New("the disk is gone")

type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, errRead }

// readOutput reads what is stored of a version's output.
func readOutput(ctx context.Context, b *bus.Bus) (string, error) {
	var out strings.Builder
	for chunk, err := range b.Output(ctx, "team/web", "v1.0", false) {
		if err != nil {
			return out.String(), err
		}
		out.Write(chunk.Data)
	}
	return out.String(), nil
}

func TestLog(t *testing.T) {
	t.Parallel()
	b := eventstest.NewServer(t).Bus("builder")
	ctx, stop := context.WithCancel(t.Context())
	followed := make(chan bus.Chunk)
	var follower sync.WaitGroup
	follower.Go(func() {
		for chunk, err := range b.Output(ctx, "team/web", "v1.0", true) {
			if err != nil {
				t.Error(err)
				return
			}
			select {
			case followed <- chunk:
			case <-ctx.Done():
			}
		}
	})
	w := b.Log("team/web", "v1.0")
	fmt.Fprint(w, "compiling\n")
	if chunk := within(t, followed, "output appears while it is written"); string(chunk.Data) != "compiling\n" || chunk.Service != "builder" || chunk.Time.IsZero() {
		t.Errorf("saw %+v", chunk)
	}
	stop()
	follower.Wait()
	want := "compiling\n"
	for i := range 20_000 {
		line := fmt.Sprintf("line %d\n", i)
		fmt.Fprint(w, line)
		want += line
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := readOutput(t.Context(), b); err != nil || got != want {
		t.Errorf("wanted %d bytes in order, saw %d, %v", len(want), len(got), err)
	}
}

// TestLogWhileAway writes while NATS is away, more than is kept.
func TestLogWhileAway(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("builder", func(o *bus.Options) { o.Log = discard() })
	w := b.Log("team/web", "v1.0")
	s.Stop()
	block := strings.Repeat("x", 1<<20-1) + "\n"
	for range 6 {
		fmt.Fprint(w, block)
	}
	fmt.Fprint(w, "the end\n")
	s.Start()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := readOutput(t.Context(), b)
	if err != nil || !strings.HasSuffix(got, "x\nthe end\n") || !strings.Contains(got, "bytes of output dropped") || len(got) > 5<<20 {
		t.Errorf("wanted at most 5 MiB, what was dropped, and the end; saw %d bytes ending %q, %v", len(got), got[max(0, len(got)-20):], err)
	}
}
