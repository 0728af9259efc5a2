package watch

import (
	"compress/gzip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChoice(t *testing.T) {
	t.Parallel()
	long := "v" + strings.Repeat("x", 199)
	for _, test := range []struct {
		choice    ChoiceOptions
		tag, want string // want is "" for none
	}{
		{ChoiceOptions{Tags: "v*"}, "v1.2.3", "v1.2.3"},
		{ChoiceOptions{Tags: "v*"}, "1.2.3", ""},
		{ChoiceOptions{Tags: "v*"}, "V1.2.3", ""},
		{ChoiceOptions{Tags: "v*"}, "v1/2", ""},
		{ChoiceOptions{Tags: "v*"}, "web/v1", ""},
		{ChoiceOptions{Tags: "v*"}, "v1.2.3.4", "v1.2.3.4"},
		{ChoiceOptions{Tags: "v*"}, long, long},
		{ChoiceOptions{Tags: "web/v*"}, "web/v1.2.3", "v1.2.3"},
		{ChoiceOptions{Tags: "web/v*"}, "v1.2.3", ""},
		{ChoiceOptions{Tags: "web/v*"}, "web/v1/x", ""},
		{ChoiceOptions{Tags: "a/b/*"}, "a/b/c", "c"},
		{ChoiceOptions{Tags: "*/v*"}, "web/v1", "web/v1"},
		{ChoiceOptions{Tags: "a*/v*"}, "ab/v1", "ab/v1"},
		{ChoiceOptions{Tags: "v[0-9]*"}, "v1", "v1"},
		{ChoiceOptions{Tags: "v[0-9]*"}, "vx", ""},
		{ChoiceOptions{Tags: `web/\*`}, "web/*", "*"},
		{ChoiceOptions{Tags: "v1.0.0"}, "v1.0.0", "v1.0.0"},
		{ChoiceOptions{Tags: "pkg@*"}, "pkg@1.2.3", "1.2.3"},
		{ChoiceOptions{Tags: "pkg@*"}, "pkg@", ""},
		{ChoiceOptions{Tags: "@acme/pkg@*"}, "@acme/pkg@1.2.3", "1.2.3"},
		{ChoiceOptions{Tags: "@acme/*"}, "@acme/pkg@1.2.3", "pkg@1.2.3"},
		{ChoiceOptions{Tags: "*@*"}, "pkg@1.2.3", "pkg@1.2.3"},

		// What git allows in a name.
		{ChoiceOptions{Tags: "*"}, "v1#2", "v1#2"},
		{ChoiceOptions{Tags: "*"}, "v1%20", "v1%20"},
		{ChoiceOptions{Tags: "*"}, "v1>2", "v1>2"},
		{ChoiceOptions{Tags: "*"}, "a;b", "a;b"},
		{ChoiceOptions{Tags: "*"}, "$(id)", "$(id)"},
		{ChoiceOptions{Tags: "*"}, "`x`", "`x`"},
		{ChoiceOptions{Tags: "*"}, `"q"`, `"q"`},
		{ChoiceOptions{Tags: "*"}, "v1_\u00fc\u4e16", "v1_\u00fc\u4e16"},
		{ChoiceOptions{Tags: "v*"}, "v\xff", "v\xff"},
		{ChoiceOptions{Tags: "*"}, "-x", "-x"},
		{ChoiceOptions{Tags: "*"}, "@", "@"},
		{ChoiceOptions{Tags: "*"}, "HEAD", "HEAD"},
		{ChoiceOptions{Tags: "*"}, "heads/main", ""},
		{ChoiceOptions{Tags: "v*"}, "refs/tags/v9", ""},
		{ChoiceOptions{Tags: "refs/tags/v*"}, "refs/tags/v9", "v9"},

		// Regular expressions match the whole tag.
		{ChoiceOptions{Tags: `/^web-(?P<version>v.+)$/`}, "web-v1.2.3", "v1.2.3"},
		{ChoiceOptions{Tags: `/web-(?<version>.+)/`}, "web-1.2.3", "1.2.3"},
		{ChoiceOptions{Tags: `/web-(?P<version>v.+)/`}, "x-web-v1", ""},
		{ChoiceOptions{Tags: `/v1|v2/`}, "v1.1", ""},
		{ChoiceOptions{Tags: `/v1|v2/`}, "v2", "v2"},
		{ChoiceOptions{Tags: `/v\d+/`}, "v12", "v12"},
		{ChoiceOptions{Tags: `/^web/v\d+$/`}, "web/v12", "v12"},
		{ChoiceOptions{Tags: `/web/v\d+/`}, "web/v12", "v12"},
		{ChoiceOptions{Tags: `/^@acme\/pkg@.+$/`}, "@acme/pkg@1.2.3", "1.2.3"},
		{ChoiceOptions{Tags: `/(web|api)/v.+/`}, "api/v1", "api/v1"},
		{ChoiceOptions{Tags: `/(web|api)/(?P<version>v.+)/`}, "api/v1", "v1"},
		{ChoiceOptions{Tags: `/web/(?P<version>api/v.+)/`}, "web/api/v1", "api/v1"},
		{ChoiceOptions{Tags: `/v1(?P<version>x)?/`}, "v1", ""},
		{ChoiceOptions{Tags: `/v.+/`}, "v\xff", "v\xff"},

		// With a constraint only semantic versions count.
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0"}, "v1.2.3", "v1.2.3"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0"}, "1.2.3", "1.2.3"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0"}, "v1", "v1"},
		{ChoiceOptions{Tags: "v*", Versions: "^1"}, "v1.2", "v1.2"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0"}, "v01.2.3", "v01.2.3"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0"}, "2024.01.02", "2024.01.02"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0"}, "v1.2.3+b7", "v1.2.3+b7"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0"}, "0.9.0", ""},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0"}, "nightly", ""},
		{ChoiceOptions{Tags: "*", Versions: ">=0"}, "v1.2.3.4", ""},
		{ChoiceOptions{Tags: "*", Versions: ">=0"}, "release-1.2.3", ""},
		{ChoiceOptions{Tags: "*", Versions: ">=0"}, "V1.2.3", ""},
		{ChoiceOptions{Tags: "*", Versions: ">=0"}, "v1.2.3_1", ""},
		{ChoiceOptions{Tags: "*", Versions: ">=0"}, long, ""},
		{ChoiceOptions{Tags: "web/v*", Versions: "<2"}, "web/v1.9.9", "v1.9.9"},
		{ChoiceOptions{Tags: "pkg@*", Versions: "^1"}, "pkg@1.2.3", "1.2.3"},
		{ChoiceOptions{Tags: "@acme/pkg@*", Versions: "^1"}, "@acme/pkg@2.0.0", ""},
		{ChoiceOptions{Tags: `/web-(?P<version>.+)/`, Versions: "^1"}, "web-1.2.3", "1.2.3"},

		// Pre-releases.
		{ChoiceOptions{Tags: "*"}, "v2.0.0-rc.1", "v2.0.0-rc.1"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0"}, "v2.0.0-rc.1", ""},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0-0"}, "v2.0.0-rc.1", "v2.0.0-rc.1"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.2.3-rc.1 <2"}, "2.0.0-rc.1", "2.0.0-rc.1"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0", Prereleases: PrereleasesAuto}, "v2.0.0-rc.1", ""},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0", Prereleases: PrereleasesAlways}, "v2.0.0-rc.1", "v2.0.0-rc.1"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0", Prereleases: PrereleasesAlways}, "v1.0.0-rc.1", ""},
		{ChoiceOptions{Tags: "*", Versions: "^1", Prereleases: PrereleasesAlways}, "v1.5.0-rc.1", "v1.5.0-rc.1"},
		{ChoiceOptions{Tags: "*", Prereleases: PrereleasesAlways}, "v1.0.0-rc.1", "v1.0.0-rc.1"},
		{ChoiceOptions{Tags: "*", Prereleases: PrereleasesNever}, "v2.0.0-rc.1", ""},
		{ChoiceOptions{Tags: "*", Prereleases: PrereleasesNever}, "v2.0.0+b1", "v2.0.0+b1"},
		{ChoiceOptions{Tags: "*", Prereleases: PrereleasesNever}, "nightly", "nightly"},
		{ChoiceOptions{Tags: "*", Versions: ">=1.0.0-0", Prereleases: PrereleasesNever}, "v2.0.0-rc.1", ""},
	} {
		c, err := NewChoice(test.choice)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := c.Version(test.tag)
		if ok != (test.want != "") || ok && got != test.want {
			t.Errorf("%s takes %s as %q, %t; expected %q", c, test.tag, got, ok, test.want)
		}
	}
}

func TestWrongChoice(t *testing.T) {
	t.Parallel()
	for want, wrong := range map[string][]ChoiceOptions{
		`expected one such as v* or web/v*`:             {{}, {Tags: "v["}, {Tags: `v\`}},
		`expected one such as /^web-(?P<version>v.+)$/`: {{Tags: "/"}, {Tags: "//"}, {Tags: "/v"}, {Tags: "/v)|(w/"}, {Tags: "/(?P<version>v)(?P<version>w)/"}, {Tags: `/v(?=x)/`}, {Tags: `/\xff(/`}},
		`expected at most 500`:                          {{Tags: "/" + strings.Repeat("x", 500) + "/"}},
		`expected one such as >=1.2 or ^2`:              {{Tags: "v*", Versions: "newest"}, {Tags: "v*", Versions: ">>1"}},
		`expected auto, always or never`:                {{Tags: "v*", Prereleases: "yes"}},
	} {
		for _, o := range wrong {
			if _, err := NewChoice(o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: got %v, expected an error with %s", o, err, want)
			}
		}
	}
}

// TestChoiceIdentity pins what baselines are found by: another identity makes
// old tags of new ones or the other way round.
func TestChoiceIdentity(t *testing.T) {
	t.Parallel()
	seen := map[string]ChoiceOptions{}
	for _, test := range []struct {
		choice ChoiceOptions
		want   string
	}{
		{ChoiceOptions{Tags: "v*"}, "v*\n"},
		{ChoiceOptions{Tags: "web/v*", Versions: ">=1"}, "web/v*\n>=1"},
		{ChoiceOptions{Tags: "pkg@*"}, "pkg@*\n"},
		{ChoiceOptions{Tags: "pkg@*", Versions: ">=1"}, "pkg@*\n>=1\n@"},
		{ChoiceOptions{Tags: "v*", Prereleases: PrereleasesAlways}, "v*\n\nalways"},
		{ChoiceOptions{Tags: "v*", Prereleases: PrereleasesNever}, "v*\n\nnever"},
		{ChoiceOptions{Tags: "/v.+/"}, "/v.+/\n"},
	} {
		c, err := NewChoice(test.choice)
		if err != nil {
			t.Fatal(err)
		}
		got := c.identity()
		if other, taken := seen[got]; taken || got != test.want {
			t.Errorf("%+v is %q, expected %q; shared with %+v", test.choice, got, test.want, other)
		}
		seen[got] = test.choice
	}
	auto, err := NewChoice(ChoiceOptions{Tags: "v*", Prereleases: PrereleasesAuto})
	if err != nil || auto.identity() != "v*\n" {
		t.Errorf("spelling out the default gives %q, %v", auto.identity(), err)
	}
}

func TestTagOfVersion(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"v*": "tag v1", "web/v*": "tag web/v1", "@acme/web@*": "tag @acme/web@v1", "/^web/v.+$/": "tag web/v1",
		"/web-(?P<version>.+)/": "tag that is version v1 by /web-(?P<version>.+)/",
	} {
		c, err := NewChoice(ChoiceOptions{Tags: pattern})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.tagOf("v1"); got != want {
			t.Errorf("%s: version v1 is the %q, expected %q", pattern, got, want)
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
	c, err := NewChoice(ChoiceOptions{Tags: "*"})
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
	f.Add("v*", ">=1", "auto", "v1.2.3")
	f.Add("web/v*", "", "always", "web/v1")
	f.Add(`a\/[b`, "^1", "never", "a/b")
	f.Add(`/^web-(?P<version>v.+)$/`, "", "never", "web-v1")
	f.Add(`/^@acme/web@.*/`, "", "", "@acme/web@1")
	f.Fuzz(func(t *testing.T, pattern, versions, prereleases, tag string) {
		c, err := NewChoice(ChoiceOptions{Tags: pattern, Versions: versions, Prereleases: prereleases})
		if err != nil {
			return
		}
		version, ok := c.Version(tag)
		if !ok {
			return
		}
		if version == "" || !strings.Contains(tag, version) {
			t.Errorf("%q takes %q as %q", c, tag, version)
		}
		if text, is := strings.CutPrefix(pattern, "/"); is && !regexp.MustCompile(strings.TrimSuffix(text, "/")).MatchString(tag) {
			t.Errorf("%q takes %q, which it does not match", c, tag)
		}
	})
}

func FuzzOrder(f *testing.F) {
	f.Add("v1.9.0 v1.10.0 v1.5x")
	f.Fuzz(func(t *testing.T, names string) {
		c, err := NewChoice(ChoiceOptions{Tags: "*"})
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
	good, err := baseline{}.encode(gzip.NewWriter(nil), []candidate{{Tag: Tag{Name: "v1", Commit: strings.Repeat("a", 40)}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, value []byte) {
		if b, err := decodeBaseline(value); err == nil && b.tags == nil {
			t.Error("decoded to nothing")
		}
	})
}
