package events_test

import (
	"strings"
	"testing"

	"github.com/tagship/tagship/events"
)

type nameTest struct{ name, err string }

func testNames(t *testing.T, check func(string) error, tests []nameTest) {
	t.Helper()
	for _, tt := range tests {
		err := check(tt.name)
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("%q: %v", tt.name, err)
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%q: error %v, want %s", tt.name, err, tt.err)
		}
	}
}

func TestCheckApp(t *testing.T) {
	t.Parallel()
	wrong := func(quoted string) string {
		return quoted + " is not an app's name, expected lower-case letters and digits, separated by one of . _ - /"
	}
	testNames(t, events.CheckApp, []nameTest{
		{name: "web"}, {name: "7"}, {name: "team/web"}, {name: "a.b_c-d/e"}, {name: strings.Repeat("a", events.MaxApp)},
		{"", "is empty, expected the name of an app"},
		{strings.Repeat("a", events.MaxApp+1), "is 129 bytes long, expected at most 128"},
		{events.Unknown, wrong(`"_"`)},
		{"Web", wrong(`"Web"`)},
		{"web ", wrong(`"web "`)},
		{"web\n", wrong(`"web\n"`)},
		{"-web", wrong(`"-web"`)},
		{"web/", wrong(`"web/"`)},
		{"a//b", wrong(`"a//b"`)},
		{"../b", wrong(`"../b"`)},
		{"wéb", wrong(`"wéb"`)},
	})
}

func TestCheckVersion(t *testing.T) {
	t.Parallel()
	testNames(t, events.CheckVersion, []nameTest{
		{name: "v1.2.3"}, {name: "1.0.0+build.7"}, {name: "nightly/2026-03-14"}, {name: "été"}, {name: "a@b"},
		{name: strings.Repeat("é", 127) + "x"},
		{"", "is empty, expected a version such as v1.2.3"},
		{strings.Repeat("é", 128), "is 256 bytes long, expected at most 255"},
		{"v1\xff", "is not valid UTF-8"},
		{"v 1", `"v 1" contains white space or a control character`},
		{"v1\x00", `"v1\x00" contains white space or a control character`},
		{"v1\u0085", `"v1\u0085" contains white space or a control character`},
		{"v\u00a01", `"v\u00a01" contains white space or a control character`},
	})
}

func TestCheckPlace(t *testing.T) {
	t.Parallel()
	wrong := func(quoted string) string {
		return quoted + " is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit"
	}
	testNames(t, events.CheckPlace, []nameTest{
		{name: "dev"}, {name: "Prod.eu-1_a"}, {name: strings.Repeat("p", events.MaxPlace)},
		{"", "is empty, expected a name such as dev or stable"},
		{strings.Repeat("p", events.MaxPlace+1), "is 65 bytes long, expected at most 64"},
		{events.Unknown, wrong(`"_"`)},
		{".hidden", wrong(`".hidden"`)},
		{"a/b", wrong(`"a/b"`)},
		{"a b", wrong(`"a b"`)},
		{"*", wrong(`"*"`)},
	})
}

func TestCheckDigest(t *testing.T) {
	t.Parallel()
	testNames(t, events.CheckDigest, []nameTest{
		{name: digestOf("a")},
		{"", "is missing, expected sha256: and 64 hexadecimal digits"},
		{"sha256:abc", `"sha256:abc" is not a digest, expected sha256: and 64 hexadecimal digits`},
		{digestOf("A"), `"` + digestOf("A") + `" is not a digest, expected sha256: and 64 hexadecimal digits`},
		{digestOf("a") + "\n", `"` + digestOf("a") + `\n" is not a digest, expected sha256: and 64 hexadecimal digits`},
	})
}

// A subject must fit into a line of the NATS protocol, however long its names are.
func TestLongestSubjectFitsProtocolLine(t *testing.T) {
	t.Parallel()
	app, version := strings.Repeat("a/", events.MaxApp/2-1)+"ab", strings.Repeat(".", events.MaxVersion)
	if err := events.CheckApp(app); err != nil {
		t.Fatal(err)
	}
	if subject := events.KindTagRefused.Subject(app, version); len(subject) > 2048 {
		t.Errorf("%d bytes", len(subject))
	}
	if subject := events.KindReleaseRefused.Subject(strings.Repeat(" ", events.MaxVersion), app); len(subject) > 2048 {
		t.Errorf("%d bytes", len(subject))
	}
}
