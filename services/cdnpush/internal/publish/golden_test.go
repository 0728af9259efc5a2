package publish_test

import (
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files anew")

// Scripts of others read the pointer: its form is a promise.
func TestPointerForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent("v1.2.3", 7)
	w.done(w.Requested(t.Context(), w.request("beta", "agent", "v1.2.3")))
	times := regexp.MustCompile(`"(at|asked)": "20[^"]+Z"`)
	got := times.ReplaceAllString(w.file("beta/agent/latest.json"), `"$1": "2026-01-02T03:04:05Z"`)
	const golden = "testdata/latest.json"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("latest.json (-want +got):\n%s", diff)
	}
}
