package events_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

// at is when things happen in tests.
var at = time.Date(2026, 3, 14, 16, 9, 26, 535_897_932, time.FixedZone("CET", 3600))

func TestIdentify(t *testing.T) {
	t.Parallel()
	cause := &events.Cause{Stream: "BUILDS", Seq: 8}
	utc := time.Date(2026, 3, 14, 15, 9, 26, 535_000_000, time.UTC)

	t.Run("once", func(t *testing.T) {
		t.Parallel()
		f := &events.BuildDone{App: "web", Version: "v1"}
		identify(t, f, cause)
		want := events.Meta{ID: "build.done.web.v1", At: utc, By: "builder", Cause: cause}
		if diff := cmp.Diff(want, f.Meta); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	t.Run("once, without a cause", func(t *testing.T) {
		t.Parallel()
		f := &events.TagSeen{App: "web", Version: "v1"}
		identify(t, f, nil)
		want := events.Meta{ID: "tag.seen.web.v1", At: utc, By: "builder"}
		if diff := cmp.Diff(want, f.Meta); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	t.Run("again and again", func(t *testing.T) {
		t.Parallel()
		f := &events.BuildFailed{App: "web", Version: "v1"}
		identify(t, f, cause)
		if f.ID != "build.failed.web.v1@BUILDS:8" {
			t.Errorf("ID %s", f.ID)
		}
	})
	t.Run("keeps what is there", func(t *testing.T) {
		t.Parallel()
		own := events.Meta{ID: "mine", At: utc.Add(time.Hour), By: "ann", Cause: &events.Cause{Stream: "TAGS", Seq: 1}}
		f := &events.BuildFailed{Meta: own, App: "web", Version: "v1"}
		identify(t, f, cause)
		if diff := cmp.Diff(own, f.Meta); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	t.Run("time becomes UTC", func(t *testing.T) {
		t.Parallel()
		f := &events.BuildFailed{Meta: events.Meta{At: at}, App: "web", Version: "v1"}
		identify(t, f, cause)
		if f.At.Location() != time.UTC || !f.At.Equal(at) {
			t.Errorf("at %s", f.At)
		}
	})
	t.Run("two facts of one cause share nothing", func(t *testing.T) {
		t.Parallel()
		f := &events.BuildFailed{App: "web", Version: "v1"}
		shared := *cause
		identify(t, f, &shared)
		shared.Seq = 99
		if f.Cause.Seq != 8 {
			t.Errorf("cause %s", f.Cause)
		}
	})
	t.Run("nothing to derive an ID from", func(t *testing.T) {
		t.Parallel()
		err := events.Identify(&events.BuildFailed{App: "web", Version: "v1"}, nil, "builder", at)
		if err == nil || err.Error() != "build.failed.web.v1 has neither an ID nor a cause to derive it from" {
			t.Errorf("error %v", err)
		}
	})
}

func identify(t *testing.T, f events.Fact, cause *events.Cause) {
	t.Helper()
	if err := events.Identify(f, cause, "builder", at); err != nil {
		t.Fatal(err)
	}
}

func TestDecodeIgnoresUnknownFields(t *testing.T) {
	t.Parallel()
	for _, s := range samples() {
		body := readGolden(t, s.file())
		newer := strings.Replace(string(body), "{", `{"colour":{"of":["the",{"bike":"shed"}]},`, 1)
		decoded, err := events.Decode(s.subject, []byte(newer))
		if err != nil {
			t.Errorf("%s: %v", s.subject, err)
			continue
		}
		if diff := cmp.Diff(events.Event(s.fact), decoded); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.subject, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	const done = "release.done.prod.web"
	const head = `"id":"x","at":"2026-03-14T15:09:26Z","by":"ann"`
	tests := []struct {
		name, subject, body string
		err                 string // after "malformed message: <subject>: "
	}{
		{"empty", done, "", "the JSON ends too early"},
		{"cut off", done, `{"id":`, "the JSON ends too early"},
		{"garbage", done, "web@v1", "the body is not JSON at byte 1: invalid character 'w' looking for beginning of value"},
		{"null", done, "null", "the body is null, expected an object"},
		{"array", done, " []", "the body is an array, expected an object"},
		{"string", done, `"web@v1"`, "the body is a string, expected an object"},
		{"number", done, "-1", "the body is a number, expected an object"},
		{"boolean", done, "true", "the body is a boolean, expected an object"},
		{"two objects", done, "{} {}", "the body goes on after the JSON object"},
		{"garbage behind", done, "{}!", "the body goes on after the JSON object"},
		{"deep", done, `{"x":` + strings.Repeat("[", 100_000), "the body is not JSON at byte 10005: invalid character '[' exceeded max depth"},

		{"head of wrong type", done, `{"id":5}`, "id is a number, expected a string"},
		{"embedded field of wrong type", done, `{"env":[]}`, "env is an array, expected a string"},
		{"nested field of wrong type", done, `{"cause":{"seq":"8"}}`, "cause.seq is a string, expected a number"},
		{"object of wrong type", done, `{"cause":"TAGS:8"}`, "cause is a string, expected an object"},
		{"negative sequence", done, `{"tag_seq":-1}`, "tag_seq is -1, expected a whole number from 0"},
		{"broken number", done, `{"instances":1.5}`, "instances is 1.5, expected a whole number"},
		{"boolean of wrong type", done, `{"unchanged":"no"}`, "unchanged is a string, expected a boolean"},
		{"time of wrong type", done, `{"at":1767225600}`, "at is not a string, expected a time as in RFC 3339"},
		{"time of wrong form", done, `{"at":"yesterday"}`, `at is "yesterday", expected a time as in RFC 3339`},
		{"duration of wrong type", done, `{"took":5}`, "took is a number, expected a string such as 90s"},
		{"duration of wrong form", done, `{"took":"long"}`, `the body cannot be read: "long" is not a duration, expected a number with a unit such as 500ms, 30s, 10m or 2h`},
		{"object for a string", "tag.seen.web.v1", `{"recipe":{"build":{"toolchain":{}}}}`, "recipe.build.toolchain is an object, expected a string"},
		{"string for an array", "tag.seen.web.v1", `{"recipe":{"build":{"run":"make"}}}`, "recipe.build.run is a string, expected an array"},
		{"boolean for an object", "tag.seen.web.v1", `{"recipe":{"build":{"env":true}}}`, "recipe.build.env is a boolean, expected an object"},

		{"fields missing", "tag.looked.web", "{}", "id is missing; by is missing; at is missing, expected a time as in RFC 3339; app is empty, expected the name of an app"},
		{"cause incomplete", "tag.looked.web", `{` + head + `,"app":"web","cause":{"stream":"TAGS"}}`, "cause is incomplete, expected stream and seq"},
		{"other app in the body", "tag.looked.web", `{` + head + `,"app":"api"}`, ""},
		{"subject escaped otherwise", "tag.looked.=77eb", `{` + head + `,"app":"web"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			event, err := events.Decode(tt.subject, []byte(tt.body))
			if !errors.Is(err, events.ErrMalformed) || event != nil {
				t.Fatalf("got %v and error %v, want ErrMalformed", event, err)
			}
			want := "malformed message: " + tt.subject + ": " + tt.err
			if tt.err == "" {
				_, app, _ := strings.Cut(tt.body, `"app":"`)
				want = "malformed message: the body on " + tt.subject + " says that it belongs on tag.looked." + strings.TrimSuffix(app, `"}`)
			}
			if err.Error() != want {
				t.Errorf("error\n%v, want\n%s", err, want)
			}
		})
	}
}

func TestDecodeUnknownSubject(t *testing.T) {
	t.Parallel()
	event, err := events.Decode("log.builder.web.v1", []byte("{}"))
	if event != nil || !errors.Is(err, events.ErrMalformed) {
		t.Errorf("got %v, %v", event, err)
	}
}

// A malformed request still says whom the refusal concerns.
func TestDecodeMalformedRequest(t *testing.T) {
	t.Parallel()
	event, err := events.Decode("release.prod", []byte("web@"))
	if !errors.Is(err, events.ErrMalformed) || event == nil || event.Subject() != "release.prod" {
		t.Errorf("got %v, %v", event, err)
	}
}

func TestEncodeChecks(t *testing.T) {
	t.Parallel()
	_, err := events.Encode(&events.TagLooked{App: "web"})
	if err == nil || err.Error() != "encode tag.looked: id is missing; by is missing; at is missing, expected a time as in RFC 3339" {
		t.Errorf("error %v", err)
	}
	_, err = events.Encode(&events.TagLooked{Meta: events.Meta{ID: "x", By: "ann", At: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}, App: "web"})
	if err == nil || !strings.HasPrefix(err.Error(), "encode tag.looked: ") {
		t.Errorf("a year of five digits: error %v", err)
	}
}
