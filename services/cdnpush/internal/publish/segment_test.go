package publish

import (
	"io/fs"
	"net/url"
	"strings"
	"testing"

	"github.com/tagship/tagship/events"
)

// unsegment is the inverse of segment, which shows that no two names share a path.
func unsegment(t *testing.T, s string) string {
	t.Helper()
	name, err := url.PathUnescape(strings.ReplaceAll(strings.ReplaceAll(s, "%", "%25"), "=", "%"))
	if err != nil {
		t.Fatalf("segment %q: %v", s, err)
	}
	return name
}

func FuzzSegment(f *testing.F) {
	for _, name := range []string{"agent", "team/tool", "v1.2.3", "v1.0.0+b~rc1", "..", ".", ".tagship", "latest", "latest.json", "a=2Fb", "a%2Fb", `a\b`, "é", "a:b"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" {
			t.Skip("no app or version has an empty name")
		}
		s := segment(name)
		if got := unsegment(t, s); got != name {
			t.Errorf("segment(%q) is %q, which means %q", name, s, got)
		}
		if !fs.ValidPath(s) || strings.ContainsAny(s, "/\\:%?# ") || strings.HasPrefix(s, ".") || s == latestText || s == latestJSON {
			t.Errorf("segment(%q) is %q, which is not safe in a path", name, s)
		}
	})
}

// Whatever is called a package's file, a key made of it stays where it belongs.
func FuzzFiles(f *testing.F) {
	f.Add("v1", "agent_1.0.0_amd64.deb")
	f.Add("../..", "../../x")
	f.Add("latest", "SHA256SUMS")
	f.Fuzz(func(t *testing.T, version, name string) {
		pub := publication{channel: "beta", build: &events.BuildDone{App: "agent", Version: version, Packages: []events.Package{{Name: name}}}}
		if version == "" {
			t.Skip("no version has an empty name")
		}
		files, err := pub.files()
		if err != nil {
			return
		}
		for _, file := range files {
			if parts := strings.Split(file.Key, "/"); len(parts) != 4 || !fs.ValidPath(file.Key) || strings.HasPrefix(parts[3], ".") {
				t.Errorf("version %q, package %q is stored as %q", version, name, file.Key)
			}
		}
		if lines := strings.Count(*files[1].content, "\n"); lines != 1 {
			t.Errorf("package %q makes %d lines in %s", name, lines, SumsFile)
		}
	})
}
