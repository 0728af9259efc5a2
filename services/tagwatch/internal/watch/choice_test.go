package watch

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChoice(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, versions, tag, want string // want is "" for none
	}{
		{"v*", "", "v1.2.3", "v1.2.3"},
		{"v*", "", "1.2.3", ""},
		{"v*", "", "v1/2", ""},
		{"v*", "", "web/v1", ""},
		{"*", "", "v1#2", "v1#2"},
		{"*", "", "$(id)", "$(id)"},
		{"web/v*", "", "web/v1.2.3", "v1.2.3"},
		{"web/v*", "", "v1.2.3", ""},
		{"web/v*", "", "web/v1/x", ""},
		{"a/b/*", "", "a/b/c", "c"},
		{"*/v*", "", "web/v1", "web/v1"},
		{"a*/v*", "", "ab/v1", "ab/v1"},
		{"v[0-9]*", "", "v1", "v1"},
		{"v[0-9]*", "", "vx", ""},
		{`web/\*`, "", "web/*", "*"},
		{"v1.0.0", "", "v1.0.0", "v1.0.0"},
		{"*", ">=1.0.0", "v1.2.3", "v1.2.3"},
		{"*", ">=1.0.0", "0.9.0", ""},
		{"*", ">=1.0.0", "nightly", ""},
		{"*", ">=1.0.0", "v2.0.0-rc.1", ""},
		{"*", ">=1.0.0-0", "v2.0.0-rc.1", "v2.0.0-rc.1"},
		{"v*", "^1", "v1.2", "v1.2"},
		{"web/v*", "<2", "web/v1.9.9", "v1.9.9"},
	} {
		c, err := NewChoice(test.pattern, test.versions)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := c.Version(test.tag)
		if ok != (test.want != "") || ok && got != test.want {
			t.Errorf("%s takes %s as %q, %t; expected %q", c, test.tag, got, ok, test.want)
		}
	}
	for _, bad := range [][2]string{{"", ""}, {"v[", ""}, {"v*", "newest"}, {"v*", ">>1"}} {
		if _, err := NewChoice(bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), "expected one such as") {
			t.Errorf("%q: got %v, expected an error with an example", bad, err)
		}
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	want := []string{"alpha", "v1.5x", "v1.2.0-rc.2", "v1.2.0-rc.10", "v1.2", "v1.2.0", "v1.10.0", "v2.0.0+b1", "v2.0.0+b2"}
	var tags []Tag
	for _, name := range want {
		tags = append(tags, Tag{Name: name})
	}
	c, err := NewChoice("*", "")
	if err != nil {
		t.Fatal(err)
	}
	for range len(tags) {
		tags = append(tags[1:], tags[0])
		var got []string
		for _, picked := range c.candidates(tags) {
			got = append(got, picked.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("order (-want +got):\n%s", diff)
		}
	}
}

func FuzzChoice(f *testing.F) {
	f.Add("v*", ">=1", "v1.2.3")
	f.Add("web/v*", "", "web/v1")
	f.Add(`a\/[b`, "^1", "a/b")
	f.Fuzz(func(t *testing.T, pattern, versions, tag string) {
		c, err := NewChoice(pattern, versions)
		if err != nil {
			return
		}
		version, ok := c.Version(tag)
		if !ok {
			return
		}
		if !strings.HasSuffix(tag, version) {
			t.Errorf("%q takes %q as %q", c, tag, version)
		}
	})
}

func FuzzOrder(f *testing.F) {
	f.Add("v1.9.0 v1.10.0 v1.5x")
	f.Fuzz(func(t *testing.T, names string) {
		c, err := NewChoice("*", "")
		if err != nil {
			t.Fatal(err)
		}
		var tags []Tag
		for name := range strings.FieldsSeq(names) {
			tags = append(tags, Tag{Name: name})
		}
		forward := c.candidates(tags)
		slices.Reverse(tags)
		backward := c.candidates(tags)
		for i := range forward {
			if forward[i].Name != backward[i].Name {
				t.Fatalf("the order of %q depends on the order of the listing", names)
			}
		}
	})
}

func FuzzBaseline(f *testing.F) {
	f.Add([]byte("x"))
	good, err := baseline{}.encode([]candidate{{Tag: Tag{Name: "v1", Commit: strings.Repeat("a", 40)}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, value []byte) {
		if b, err := decodeBaseline(value); err == nil && b.commits == nil {
			t.Error("decoded to nothing")
		}
	})
}
