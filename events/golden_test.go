package events_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tagship/tagship/events"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file under testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, append(bytes.Clone(got), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(readGolden(t, name)), string(got)); diff != "" {
		t.Errorf("%s differs, run with -update if that is meant (-file +got):\n%s", path, diff)
	}
}

func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(body, []byte("\n"))
}

func TestFactsOnTheWire(t *testing.T) {
	t.Parallel()
	for _, s := range samples() {
		t.Run(s.file(), func(t *testing.T) {
			t.Parallel()
			if got := s.fact.Subject(); got != s.subject {
				t.Errorf("subject is %s, want %s", got, s.subject)
			}
			body, err := events.Encode(s.fact)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, s.file(), body)
			decoded, err := events.Decode(s.subject, readGolden(t, s.file()))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(events.Event(s.fact), decoded); diff != "" {
				t.Errorf("decoded from the file (-want +got):\n%s", diff)
			}
		})
	}
}

// requestSamples has one request of every kind, each in its JSON form and, under
// the same name with .txt, as shorthand.
func requestSamples() []*events.Request {
	return []*events.Request{
		events.NewRequest(events.TagRequested, "", "team/web", "v1.2.3", "ann"),
		events.NewRequest(events.BuildRequested, "", "team/web", "v1.2.3", "ann"),
		events.NewRequest(events.ReleaseRequested, "prod.eu", "team/web", "v1.2.3", "ann"),
		events.NewRequest(events.CDNRequested, "beta", "agent", "1.2.3", "ann"),
	}
}

func TestRequestsOnTheWire(t *testing.T) {
	t.Parallel()
	subjects := map[events.Kind]string{
		events.TagRequested:     "tag.team=2Fweb",
		events.BuildRequested:   "build.team=2Fweb",
		events.ReleaseRequested: "release.prod=2Eeu",
		events.CDNRequested:     "cdn.beta",
	}
	same := cmpopts.EquateComparable(events.Request{})
	for _, r := range requestSamples() {
		t.Run(string(r.Kind()), func(t *testing.T) {
			t.Parallel()
			if want := subjects[r.Kind()]; r.Subject() != want {
				t.Errorf("subject is %s, want %s", r.Subject(), want)
			}
			body, err := events.EncodeRequest(r)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, string(r.Kind())+".json", body)
			golden(t, string(r.Kind())+".txt", []byte(r.App+"@"+r.Version))

			fromJSON, err := events.Decode(r.Subject(), readGolden(t, string(r.Kind())+".json"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(events.Event(r), fromJSON, same); diff != "" {
				t.Errorf("from JSON (-want +got):\n%s", diff)
			}
			nameless := *r
			nameless.By = ""
			fromText, err := events.Decode(r.Subject(), readGolden(t, string(r.Kind())+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(events.Event(&nameless), fromText, same); diff != "" {
				t.Errorf("from shorthand (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryKindHasGoldenFile(t *testing.T) {
	t.Parallel()
	sampled, known := map[events.Kind]bool{}, map[string]bool{}
	for _, s := range samples() {
		sampled[s.fact.Kind()], known[s.file()] = true, true
	}
	for _, r := range requestSamples() {
		sampled[r.Kind()], known[string(r.Kind())+".json"], known[string(r.Kind())+".txt"] = true, true, true
	}
	for _, h := range hookSamples() {
		sampled[events.HookReceived], known[h.file] = true, true
	}
	for _, k := range events.Kinds() {
		if !sampled[k] {
			t.Errorf("%s has no sample", k)
		}
	}
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[filepath.Base(f)] {
			t.Errorf("%s is of no sample", f)
		}
	}
}
