package events_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tagship/tagship/events"
)

func FuzzEscape(f *testing.F) {
	for _, text := range []string{"", "web", "v1.2.3", "team/web", "=", "=41", "été", "\xff\x00", "a b.*>"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token := events.Escape(text)
		if strings.ContainsAny(token, ".*> \t\r\n\x00/\\") || len(token) > 3*len(text) {
			t.Errorf("Escape(%q) = %q is not a token", text, token)
		}
		if back, err := events.Unescape(token); err != nil || back != text {
			t.Errorf("Unescape(%q) = %q, %v, want %q", token, back, err, text)
		}
	})
}

func FuzzUnescape(f *testing.F) {
	for _, token := range []string{"", "web", "v1=2E2=2E3", "=", "=4", "=41", "=2e", "=C3=A9", "a.b", "=FF=00"} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		text, err := events.Unescape(token)
		if err != nil {
			return
		}
		if back := events.Escape(text); back != token {
			t.Errorf("Unescape accepts %q, but Escape(%q) = %q", token, text, back)
		}
	})
}

func FuzzParseSubject(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.subject)
	}
	for _, h := range hookSamples() {
		f.Add(h.subject)
	}
	for _, subject := range []string{"", ".", "tag", "tag.", "tag.web", "tag..", "release.prod", "tag.seen.web.v1=2e0", "log.builder.web.v1"} {
		f.Add(subject)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		kind, names, err := events.ParseSubject(subject)
		if err != nil {
			return
		}
		if kind.Stream() == "" || strings.Count(kind.All(), "*") != len(names) {
			t.Errorf("%q is of kind %q with names %q", subject, kind, names)
		}
		if back := kind.Subject(names...); back != subject {
			t.Errorf("%q comes back as %q", subject, back)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	for _, r := range requestSamples() {
		for _, form := range []string{".json", ".txt"} {
			f.Add(r.Subject(), readGolden(f, string(r.Kind())+form))
		}
	}
	for _, body := range []string{"", "{}", "web", "@", "web@v1", `{"app":"web","app":"api"}`, `{"app":{}}`, "{]", "\xff", `{"":null}`} {
		f.Add("release.prod", []byte(body))
		f.Add("tag.web", []byte(body))
		f.Add("build.=FF", []byte(body))
		f.Add("cdn.a/b", []byte(body))
	}
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		r, err := events.ParseRequest(subject, body)
		if r == nil {
			t.Fatal("nothing at all was understood")
		}
		if err != nil {
			if !errors.Is(err, events.ErrMalformed) {
				t.Errorf("error %v does not wrap ErrMalformed", err)
			}
			if r.Kind() != "" {
				checkRefusable(t, r, err)
			}
			return
		}
		if r.Subject() != subject {
			t.Errorf("request on %q belongs on %q", subject, r.Subject())
		}
		again, err := events.EncodeRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := events.ParseRequest(subject, again)
		if err != nil {
			t.Fatal(err)
		}
		if *back != *r {
			t.Errorf("%+v comes back as %+v", askedBy(r), askedBy(back))
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.subject, readGolden(f, s.file()))
	}
	for _, r := range requestSamples() {
		f.Add(r.Subject(), readGolden(f, string(r.Kind())+".json"))
	}
	for _, h := range hookSamples() {
		f.Add(h.subject, readGolden(f, h.file))
	}
	f.Add("hook.github=2Ecom=2F42=40=FF", []byte("{\"host\":\"github.com\",\"repo_id\":\"42\",\"tag\":\"\xff\"}"))
	f.Add("tag.looked.web", []byte(`{"id":"x","at":"2026-03-14T15:09:26+01:00","by":"ann","app":"web","new":[],"x":{}}`))
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		event, err := events.Decode(subject, body)
		if err != nil {
			if !errors.Is(err, events.ErrMalformed) {
				t.Errorf("error %v does not wrap ErrMalformed", err)
			}
			return
		}
		if event.Subject() != subject {
			t.Errorf("%q was decoded to what belongs on %q", subject, event.Subject())
		}
		var again []byte
		switch m := event.(type) {
		case events.Fact:
			again, err = events.Encode(m)
		case *events.Hook:
			again, err = events.EncodeHook(m)
		default:
			return // FuzzParseRequest says more of requests
		}
		if err != nil {
			t.Fatal(err)
		}
		back, err := events.Decode(subject, again)
		if err != nil {
			t.Fatal(err)
		}
		// An empty list that was written out is left out when it is written again.
		if diff := cmp.Diff(event, back, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("decoded, encoded and decoded again (-first +second):\n%s", diff)
		}
	})
}
