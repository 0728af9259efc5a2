package watch

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

// request hands a request to a watcher as the runtime does, and returns the
// facts in their wire form's terms: subject, then versions or reason.
func request(t *testing.T, w *Watcher, seq uint64, app, version string) []events.Fact {
	t.Helper()
	origin := events.Cause{Stream: "TAGS", Seq: seq}
	facts, err := w.Requested(context.WithValue(t.Context(), causeKey{}, &origin), events.Delivery[*events.Request]{
		Message: events.NewRequest(events.TagRequested, "", app, version, "ann"), Origin: origin,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range facts {
		if err := events.Identify(f, &origin, "tagwatch", f.Head().At); err != nil {
			t.Fatal(err)
		}
	}
	return facts
}

func looked(t *testing.T, facts []events.Fact) []string {
	t.Helper()
	for _, f := range facts {
		if f, ok := f.(*events.TagLooked); ok {
			return f.New
		}
	}
	t.Fatalf("no tag.looked among %v", facts)
	return nil
}

func refused(t *testing.T, facts []events.Fact, reason string) *events.TagRefused {
	t.Helper()
	for _, f := range facts {
		if f, ok := f.(*events.TagRefused); ok {
			if !strings.Contains(f.Reason, reason) {
				t.Errorf("refused: %s; expected %s", f.Reason, reason)
			}
			return f
		}
	}
	t.Fatalf("no tag.refused among %v, expected one because %s", facts, reason)
	return nil
}

func TestRequested(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1")
	w := newWatcher(t, s, r)
	if got := looked(t, request(t, w, 1, "web", "")); got == nil || len(got) != 0 {
		t.Errorf("looked and found %v, expected an empty list", got)
	}
	r.push("v2", "v3")
	for range 2 { // it may be delivered twice, also to another process
		facts := request(t, newWatcher(t, s, r), 2, "web", "")
		if diff := cmp.Diff([]string{"v2", "v3"}, looked(t, facts)); diff != "" {
			t.Errorf("looked and found (-want +got):\n%s", diff)
		}
	}
	if got := looked(t, request(t, w, 3, "web", "")); len(got) != 0 {
		t.Errorf("looked again and found %v", got)
	}
	fact, err := s.Last(t.Context(), "tag.seen.web.v3")
	if err != nil {
		t.Fatal(err)
	}
	if cause := fact.Fact.Head().Cause; cause == nil || cause.Seq != 2 {
		t.Errorf("v3 was seen because of %v, expected the request", cause)
	}
}

func TestRequestedVersion(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRepository("v1", "v2", "v3", "web/v4", "nightly")
	w := newWatcher(t, s, r)
	mustLook(t, w)

	if diff := cmp.Diff([]string{"v1"}, looked(t, request(t, w, 1, "web", "v1"))); diff != "" {
		t.Errorf("asked for a version from before, found (-want +got):\n%s", diff)
	}
	if facts := request(t, w, 2, "web", "v1"); len(facts) != 1 || len(looked(t, facts)) != 0 {
		t.Errorf("asked again, answered %v", facts)
	}
	refused(t, request(t, w, 3, "web", "v9"), "https://git.example.org/web has no tag v9; push the tag first")
	refused(t, request(t, w, 4, "web", "nightly"), "has the tag nightly, but it is no version of web, whose tags are v*")

	r.move("v2", "evil")
	answer := refused(t, request(t, w, 5, "web", "v2"), "has moved from "+commitOf("v2"))
	if answer.ID != "tag.refused.web.v2@TAGS:5" {
		t.Errorf("the answer's id is %s", answer.ID)
	}
	for seq := range uint64(2) {
		r.files[commitOf("v3")] = map[string]string{}
		refused(t, request(t, w, 6+seq, "web", "v3"), "there is no .tagship.yaml")
	}
	delete(r.files, commitOf("v3"))
	if diff := cmp.Diff([]string{"v3"}, looked(t, request(t, w, 8, "web", "v3"))); diff != "" {
		t.Errorf("asked once more, found (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"v1", "v3"}, s.seen()); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

func TestRequestedUnknownApp(t *testing.T) {
	t.Parallel()
	w := newWatcher(t, newStore(), newRepository(), func(a *App, o *Options) {
		o.Apps = append(o.Apps, App{Name: "agent", Host: a.Host})
	})
	facts := request(t, w, 1, "wbe", "v1")
	answer := refused(t, facts, `no app "wbe" is watched, expected one of agent, web`)
	if len(facts) != 1 || answer.App != "wbe" || answer.Version != events.Unknown {
		t.Errorf("answered %v", facts)
	}
	if got := New(Options{}).Known(); got != "none" {
		t.Errorf("without apps it knows %q", got)
	}
}

func TestRequestedWhileTheRepositoryIsDown(t *testing.T) {
	t.Parallel()
	r := newRepository()
	r.down = errors.New("no route to host")
	w := newWatcher(t, newStore(), r)
	d := events.Delivery[*events.Request]{Message: events.NewRequest(events.TagRequested, "", "web", "", "ann"), Origin: events.Cause{Stream: "TAGS", Seq: 1}}
	facts, err := w.Requested(t.Context(), d)
	if err == nil || facts != nil || events.IsPermanent(err) || !strings.Contains(err.Error(), "no route to host") {
		t.Errorf("answered %v, %v; expected an error to be tried again", facts, err)
	}
	given := GaveUp(d.Message, err)
	if len(given) != 1 || given[0].Subject() != "tag.refused.web._" {
		t.Errorf("gave up with %v", given)
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ subject, body, want string }{
		"not JSON":      {"tag.web", "{", "tag.refused.web._"},
		"another app":   {"tag.web", `{"app":"api","version":"v1"}`, "tag.refused.web.v1"},
		"unknown field": {"tag.web", `{"version":"v1","force":true}`, "tag.refused.web.v1"},
		"bad subject":   {"tag.We=62", "", "tag.refused._._"},
	} {
		_, err := events.ParseRequest(test.subject, []byte(test.body))
		if err == nil {
			t.Fatalf("%s: %q on %s is well-formed", name, test.body, test.subject)
		}
		fact := Malformed(test.subject, []byte(test.body), err)
		if err := events.Identify(fact, &events.Cause{Stream: "TAGS", Seq: 1}, "tagwatch", fact.Head().At); err != nil {
			t.Fatal(err)
		}
		if _, ok := fact.(*events.TagRefused); !ok || fact.Subject() != test.want {
			t.Errorf("%s: answered on %s, expected %s", name, fact.Subject(), test.want)
		}
	}
}
