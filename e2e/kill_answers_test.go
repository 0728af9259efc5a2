package e2e_test

import (
	"fmt"
	"testing"

	"github.com/tagship/tagship/events"
)

// TestUpKilledAnswering kills the whole process while it answers requests and
// while it says that something failed. Each is answered once.
func TestUpKilledAnswering(t *testing.T) {
	t.Parallel()
	type step struct {
		point string
		do    func(i *installation)
		fact  string // the answer's subject, on which there is one more after each step
	}
	asks := func(subject, body string) func(*installation) {
		return func(i *installation) { i.publish(subject, body) }
	}
	broken := func(version string) func(*installation) {
		return func(i *installation) {
			i.repos["web"].write("broken", "")
			i.repos["web"].tag(version)
		}
	}
	unhealthy := func(version string) func(*installation) {
		return func(i *installation) {
			i.repos["web"].write("mode", "unhealthy")
			i.repos["web"].tag(version)
		}
	}
	cases := map[string]struct {
		steps []step
		check func(i *installation)
	}{
		"tagwatch": {
			steps: []step{
				{"publish.before:tag.looked", asks("tag.web", ""), "tag.looked.web"},
				{"publish.after:tag.looked", asks("tag.web", ""), "tag.looked.web"},
				{"ack.before:tagwatch", asks("tag.web", ""), "tag.looked.web"},
				{"publish.after:tag.refused", asks("tag.web", "web@v9"), "tag.refused.web.v9"},
			},
		},
		"builder": {
			steps: []step{
				{"publish.before:build.failed", broken("v2.0.0"), "build.failed.web.v2=2E0=2E0"},
				{"publish.after:build.failed", asks("build.web", "web@v2.0.0"), "build.failed.web.v2=2E0=2E0"},
				{"ack.before:builder", asks("build.web", "web@v2.0.0"), "build.failed.web.v2=2E0=2E0"},
				{"publish.after:build.refused", asks("build.web", "web@v9"), "build.refused.web.v9"},
			},
		},
		"releaser": {
			steps: []step{
				{"publish.before:release.wanted", asks("release.prod", "web@v1.0.0"), "release.done.prod.web"},
				{"ack.before:releaser-requests", asks("release.prod", "web@v1.0.0"), "release.done.prod.web"},
				{"publish.after:release.refused", asks("release.prod", "web@v9"), "release.refused.prod.web"},
				{"publish.before:release.failed", unhealthy("v2.0.0"), "release.failed.dev.web"},
				{"publish.after:release.failed", asks("release.dev", "web@v2.0.0"), "release.failed.dev.web"},
			},
			check: func(i *installation) {
				for _, f := range i.record.Facts("release.failed.dev.web") {
					if failed := f.Fact.(*events.ReleaseFailed); failed.Running != "v1.0.0" {
						i.t.Errorf("after the failed release %s runs %q, expected v1.0.0: %s", failed.ReleaseID, failed.Running, failed.Reason)
					}
				}
				i.runs("dev", "web", "v1.0.0")
				i.runs("prod", "web", "v1.0.0")
				i.onlyRuns(2, i.built("web", "v1.0.0").Image.Digest)
			},
		},
		"cdnpush": {
			steps: []step{
				{"publish.after:cdn.started", asks("cdn.stable", "web@v1.0.0"), "cdn.done.stable.web"},
				{"publish.before:cdn.done", asks("cdn.stable", "web@v1.0.0"), "cdn.done.stable.web"},
				{"ack.before:cdnpush", asks("cdn.stable", "web@v1.0.0"), "cdn.done.stable.web"},
				{"publish.after:cdn.refused", asks("cdn.stable", "web@v9"), "cdn.refused.stable.web"},
			},
			check: func(i *installation) { i.downloads("stable", "web", "v1.0.0") },
		},
	}
	for service, c := range cases {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			i := newInstallation(t, map[string]recipe{"web": {image: true, packages: true, health: "within: 2s, soak: 200ms"}})
			i.startWatched()
			i.repos["web"].tag("v1.0.0")
			i.delivered("web", "v1.0.0")
			answers := map[string]int{}
			for _, s := range c.steps {
				i.up.stop()
				i.start("TAGSHIP_CRASH=" + s.point)
				s.do(i)
				i.up.crashed()
				i.start()
				answers[s.fact]++
				i.record.WaitFor(s.fact, fmt.Sprintf("%d", answers[s.fact]), func(facts []events.Recorded) bool { return len(facts) >= answers[s.fact] })
				i.settled()
				if n := len(i.record.Facts(s.fact)); n != answers[s.fact] {
					t.Errorf("killed at %s, %s is stated %d times in all, expected %d", s.point, s.fact, n, answers[s.fact])
				}
			}
			if c.check != nil {
				c.check(i)
			}
		})
	}
}
