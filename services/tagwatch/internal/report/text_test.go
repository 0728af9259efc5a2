package report

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTexts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\u4e16\u754c ", 100)
	version := strings.Repeat("\u4e16", 85)
	for name, test := range map[string]struct {
		known record
		want  string // prefix, then suffix after ...
	}{
		"a long reason of a build": {record{Build: build{State: Failure, Reason: long}}, "build failed: \u4e16\u754c ..."},
		"a long reason of a release": {record{Places: map[string]*place{"dev": {Outcome: Failure, Reason: long, Running: "v1"}}},
			"release to dev failed: \u4e16\u754c ...; dev runs v1"},
		"a long version runs": {record{Places: map[string]*place{"dev": {Outcome: Failure, Reason: long, Running: version}}},
			"release to dev failed: \u4e16\u754c ...; dev runs \u4e16\u4e16"},
		"many environments": {record{Places: map[string]*place{
			strings.Repeat("a", 64): {Ended: 3, Outcome: Success}, strings.Repeat("b", 64): {Ended: 1, Outcome: Success}, strings.Repeat("c", 64): {Ended: 2, Outcome: Success},
		}}, "released to bbb...b, ccc..."},
	} {
		v := &version1
		got := v.status(&test.known).Description
		if n := utf8.RuneCountInString(got); n > maxText || n < maxText-3 || !utf8.ValidString(got) {
			t.Errorf("%s: %q has %d characters, expected about %d", name, got, n, maxText)
		}
		for _, part := range strings.Split(test.want, "...") {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %q does not have %q", name, got, part)
			}
		}
	}
}

var version1 = version{app: "web", name: "v1", tag: "v1"}

func TestContext(t *testing.T) {
	t.Parallel()
	contexts := map[string]bool{}
	for _, v := range []version{
		{app: "web", name: "v1"}, {app: "web", name: "v2"}, {app: "api", name: "v1"},
		{app: strings.Repeat("a", 128), name: strings.Repeat("1", 254) + "2"},
		{app: strings.Repeat("a", 128), name: strings.Repeat("1", 254) + "3"},
		{app: "web", name: strings.Repeat("\u4e16", 85)},
	} {
		c := v.context()
		if n := utf8.RuneCountInString(c); n > maxContext || contexts[c] || !utf8.ValidString(c) {
			t.Errorf("%q has %d characters, or is another's too", c, n)
		}
		contexts[c] = true
	}
	if !contexts["tagship: web@v1"] {
		t.Errorf("got %v, expected tagship: web@v1 among them", contexts)
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	const page = "https://logs.example.com/{app}/{version}?step={step}&env={env}"
	v := &version{app: "team/web", name: "v1+b#2&x=%", host: Host{Link: page}}
	for _, test := range []struct{ step, env, want string }{
		{stepBuild, "", "https://logs.example.com/team%2Fweb/v1%2Bb%232%26x%3D%25?step=build&env="},
		{stepRelease, "dev", "https://logs.example.com/team%2Fweb/v1%2Bb%232%26x%3D%25?step=release&env=dev"},
	} {
		if got := v.link(test.step, test.env); got != test.want {
			t.Errorf("got %s, expected %s", got, test.want)
		}
	}
	v.host.Link = ""
	if got := v.link(stepBuild, ""); got != "" {
		t.Errorf("without a template: got %s", got)
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][2]string{
		"https://github.com/acme/web":          {"github.com", "acme/web"},
		"https://GitHub.com/acme/web.git/":     {"github.com", "acme/web"},
		"https://ghe.acme.com:8443/acme/web":   {"ghe.acme.com:8443", "acme/web"},
		"ssh://git@github.com:22/acme/web.git": {"github.com", "acme/web"},
		"git@github.com:acme/web.git":          {"github.com", "acme/web"},
		"github.com/acme/web":                  {"github.com", "acme/web"},
		"file:///srv/git/web.git":              {"", ""},
		"/srv/git/web.git":                     {"", ""},
		"/srv/git:2/web.git":                   {"", ""},
		"https://%zz/acme/web":                 {"", ""},
		"":                                     {"", ""},
	} {
		if host, path := locate(address); host != want[0] || path != want[1] {
			t.Errorf("%s is %q at %q, expected %q", address, path, host, want)
		}
	}
}
