package events_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

// The grammar as DESIGN states it, one line per kind.
func TestKinds(t *testing.T) {
	t.Parallel()
	var got []string
	for _, k := range events.Kinds() {
		line := []string{k.Stream(), k.All()}
		if k.Request() {
			line = append(line, "request")
		}
		if k.Once() {
			line = append(line, "once")
		}
		got = append(got, strings.Join(line, " "))
	}
	want := []string{
		"TAGS tag.* request",
		"TAGS tag.seen.*.* once",
		"TAGS tag.moved.*.*",
		"TAGS tag.deleted.*.*",
		"TAGS tag.refused.*.*",
		"TAGS tag.looked.*",
		"HOOKS hook.*",
		"BUILDS build.* request",
		"BUILDS build.started.*.*",
		"BUILDS build.done.*.* once",
		"BUILDS build.failed.*.*",
		"BUILDS build.refused.*.*",
		"RELEASES release.* request",
		"RELEASES release.wanted.*.*",
		"RELEASES release.started.*.*",
		"RELEASES release.done.*.*",
		"RELEASES release.failed.*.*",
		"RELEASES release.refused.*.*",
		"CDN cdn.* request",
		"CDN cdn.started.*.*",
		"CDN cdn.done.*.*",
		"CDN cdn.failed.*.*",
		"CDN cdn.refused.*.*",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUnknownKind(t *testing.T) {
	t.Parallel()
	for _, k := range []events.Kind{"", "tags", "tag.lost", "build.done.web"} {
		if k.Stream() != "" || k.Once() || k.Request() {
			t.Errorf("%q: stream %q, once %v, request %v", k, k.Stream(), k.Once(), k.Request())
		}
		if k.All() != string(k) {
			t.Errorf("%q: filter %q", k, k.All())
		}
	}
}

func TestParseSubject(t *testing.T) {
	t.Parallel()
	tests := []struct {
		subject string
		kind    events.Kind
		names   []string
		err     string
	}{
		{subject: "tag.web", kind: events.TagRequested, names: []string{"web"}},
		{subject: "tag.seen", kind: events.TagRequested, names: []string{"seen"}},
		{subject: "tag.seen.team=2Fweb.v1=2E2", kind: events.KindTagSeen, names: []string{"team/web", "v1.2"}},
		{subject: "tag.looked.web", kind: events.KindTagLooked, names: []string{"web"}},
		{subject: "release.prod", kind: events.ReleaseRequested, names: []string{"prod"}},
		{subject: "release.refused.pr=20od._", kind: events.KindReleaseRefused, names: []string{"pr od", "_"}},
		{subject: "tag.deleted.web.v1", kind: events.KindTagDeleted, names: []string{"web", "v1"}},
		{subject: "hook.github=2Ecom=2F42=40v1", kind: events.HookReceived, names: []string{"github.com/42@v1"}},
		{subject: "cdn.done.beta.agent", kind: events.KindCDNDone, names: []string{"beta", "agent"}},

		{subject: "", err: `subject "" is of no kind that Tagship knows`},
		{subject: "tag", err: `subject "tag" is of no kind that Tagship knows`},
		{subject: "tag.", err: `subject "tag.": the app is empty`},
		{subject: ".tag", err: `subject ".tag" is of no kind that Tagship knows`},
		{subject: "tag.seen.web", err: `subject "tag.seen.web" is of no kind that Tagship knows`},
		{subject: "tag.seen.web.v1.2", err: `subject "tag.seen.web.v1.2" is of no kind that Tagship knows`},
		{subject: "tag.seen.web.", err: `subject "tag.seen.web.": the version is empty`},
		{subject: "build.done..v1", err: `subject "build.done..v1": the app is empty`},
		{subject: "build.done.web.v1=2e2", err: `subject "build.done.web.v1=2e2": token "v1=2e2": "=2e" at byte 2 is not an escaped byte`},
		{subject: "log.builder.web.v1", err: `subject "log.builder.web.v1" is of no kind that Tagship knows`},
		{subject: "tag.looked.web.v1", err: `subject "tag.looked.web.v1" is of no kind that Tagship knows`},
		{subject: "hook.", err: `subject "hook.": the name is empty`},
		{subject: "hook.tag.web", err: `subject "hook.tag.web" is of no kind that Tagship knows`},
		{subject: "TAG.web", err: `subject "TAG.web" is of no kind that Tagship knows`},
	}
	for _, tt := range tests {
		kind, names, err := events.ParseSubject(tt.subject)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%q: error %v, want %s", tt.subject, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.subject, err)
			continue
		}
		if kind != tt.kind || !slices.Equal(names, tt.names) {
			t.Errorf("%q: %s %q, want %s %q", tt.subject, kind, names, tt.kind, tt.names)
		}
		if back := kind.Subject(names...); back != tt.subject {
			t.Errorf("%q comes back as %q", tt.subject, back)
		}
	}
}

func TestKindLookUpsDoNotAllocate(t *testing.T) {
	allocs := testing.AllocsPerRun(100, func() {
		_ = events.KindCDNRefused.Stream()
		_ = events.KindCDNRefused.Once()
		_ = events.KindCDNRefused.Request()
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
