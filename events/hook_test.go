package events_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

// hookSample is a hook, the subject it belongs on, and its golden file.
type hookSample struct {
	file, subject string
	hook          *events.Hook
}

// hookSamples has a hook of every sort. Together they set every field.
func hookSamples() []hookSample {
	const delivery = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
	return []hookSample{
		{"hook.json", "hook.github=2Ecom=2F42=40team=2Fweb=2Fv1=2E2=2E3", &events.Hook{
			Host: "github.com", RepoID: "42", Repo: "acme/mono", Tag: "team/web/v1.2.3", Deleted: true, By: "ann", Delivery: delivery,
		}},
		{"hook.repo.json", "hook.git=2Fgit=2Eexample=2Facme=2Fweb=40", &events.Hook{Host: "git", Repo: "git.example/acme/web"}},
		{"hook.app.json", "hook.team=2Fweb", &events.Hook{App: "team/web", By: "ann", Delivery: delivery}},
	}
}

func TestHooksOnTheWire(t *testing.T) {
	t.Parallel()
	for _, s := range hookSamples() {
		t.Run(s.file, func(t *testing.T) {
			t.Parallel()
			if got := s.hook.Subject(); got != s.subject {
				t.Errorf("subject is %s, want %s", got, s.subject)
			}
			body, err := events.EncodeHook(s.hook)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, s.file, body)
			newer := strings.Replace(string(readGolden(t, s.file)), "{", `{"colour":["the bike shed"],`, 1)
			decoded, err := events.Decode(s.subject, []byte(newer))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(events.Event(s.hook), decoded); diff != "" {
				t.Errorf("decoded from the file (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever tag git has, a hook about it fits a message and a subject, and comes
// back as it was.
func TestHookAboutAnyTag(t *testing.T) {
	t.Parallel()
	subjects := map[string]string{}
	for _, tag := range []string{
		"", "v1", "HEAD", "-x", "@", `"q"`, `a\b`, "$(id)", "a;b", "v1>2", "v1%20", "refs/tags/v9",
		"v1-\u00fc\u4e16\u754c\U0001f680", "line\u2028separator",
		strings.Repeat("x", 200), strings.Repeat("\u00fc", 400), strings.Repeat(`"`, 65_516), strings.Repeat(`"`, 65_515),
	} {
		h := &events.Hook{Host: "github.com", RepoID: "42", Tag: tag}
		body, err := events.EncodeHook(h)
		if err != nil {
			t.Errorf("%.40q: %v", tag, err)
			continue
		}
		if len(body) > 256<<10 || len(h.Subject()) > 2048 {
			t.Errorf("%.40q: %d bytes on a subject of %d", tag, len(body), len(h.Subject()))
		}
		decoded, err := events.Decode(h.Subject(), body)
		if diff := cmp.Diff(events.Event(h), decoded); diff != "" || err != nil {
			t.Errorf("%.40q: %v (-want +got):\n%s", tag, err, diff)
		}
		if other, taken := subjects[h.Subject()]; taken {
			t.Errorf("%.40q and %.40q share the subject %s", tag, other, h.Subject())
		}
		subjects[h.Subject()] = tag
	}
}

func TestValidateHook(t *testing.T) {
	t.Parallel()
	about := func(change func(*events.Hook)) *events.Hook {
		h := &events.Hook{Host: "github.com", RepoID: "42", Repo: "acme/web", Tag: "v1"}
		change(h)
		return h
	}
	for name, tt := range map[string]struct {
		hook *events.Hook
		want string
	}{
		"nothing said":                 {&events.Hook{}, "host is missing; repo is missing, and so is repo_id"},
		"a name that JSON cannot hold": {about(func(h *events.Hook) { h.Tag = "v\xff" }), "tag is not valid UTF-8"},
		"control character":            {about(func(h *events.Hook) { h.Tag, h.By = "v\n", "a\x00" }), `tag "v\n" contains a control character; by "a\x00" contains a control character`},
		"address for a host":           {about(func(h *events.Hook) { h.Host = "https://github.com" }), `host "https://github.com" is an address, expected a name such as github.com`},
		"deleted what":                 {about(func(h *events.Hook) { h.Tag, h.Deleted = "", true }), "deleted needs a tag"},
		"no app":                       {&events.Hook{App: "Web"}, `app "Web" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /`},
		"an app and a tag":             {&events.Hook{App: "web", Tag: "v1"}, "app and a repository exclude each other"},
		"long": {about(func(h *events.Hook) {
			long := strings.Repeat("x", 65_517)
			h.Host, h.RepoID, h.Repo, h.Tag, h.By, h.Delivery = long, long, long, long, long, long
		}), "host is 65517 bytes long, expected at most 255; repo is 65517 bytes long, expected at most 2048; repo_id is 65517 bytes long, expected at most 255; " +
			"tag is 65517 bytes long, expected at most 65516; by is 65517 bytes long, expected at most 255; delivery is 65517 bytes long, expected at most 255"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := events.EncodeHook(tt.hook)
			if err == nil || err.Error() != "encode hook: "+tt.want {
				t.Errorf("error\n%v, want\n%s", err, tt.want)
			}
		})
	}
}

func TestDecodeRefusesHook(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ subject, body, want string }{
		"garbage":        {"hook.web", "web@v1", "hook.web: the body is not JSON at byte 1: invalid character 'w' looking for beginning of value"},
		"wrong type":     {"hook.web", `{"app":7}`, "hook.web: app is a number, expected a string"},
		"empty":          {"hook.web", `{}`, "hook.web: host is missing; repo is missing, and so is repo_id"},
		"other app":      {"hook.web", `{"app":"api"}`, "the body on hook.web says that it belongs on hook.api"},
		"other escaping": {"hook.=77eb", `{"app":"web"}`, "the body on hook.=77eb says that it belongs on hook.web"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			event, err := events.Decode(tt.subject, []byte(tt.body))
			if event != nil || !errors.Is(err, events.ErrMalformed) || err.Error() != "malformed message: "+tt.want {
				t.Errorf("got %v and error\n%v, want\n%s", event, err, tt.want)
			}
		})
	}
}
