package e2e_test

import (
	"strings"
	"testing"
)

// crashPoints are all points between an effect, its fact and the acknowledgement
// of the message that led to it, for every service; see events/bus/crash.go.
func crashPoints() map[string][]string {
	return map[string][]string{
		"tagwatch": {
			"publish.before:tag.seen", // the source is staged
			"publish.after:tag.seen",  // and not on record yet
		},
		"builder": {
			"publish.before:build.started",
			"publish.after:build.started",
			"publish.before:build.done", // everything is pushed
			"publish.after:build.done",
			"ack.before:builder",
			"ack.after:builder",
		},
		"releaser": {
			"publish.before:release.wanted",
			"publish.after:release.wanted",
			"publish.before:release.started",
			"publish.after:release.started",
			"publish.before:release.done", // the traffic has moved
			"publish.after:release.done",
			"ack.before:releaser-dev",
			"ack.before:releaser-dev-promote",
		},
		"cdnpush": {
			"publish.before:cdn.started",
			"publish.after:cdn.started",
			"publish.before:cdn.done", // the pointer names the version
			"publish.after:cdn.done",
			"ack.before:cdnpush-beta",
		},
	}
}

// TestUpKilled kills the whole process at every point, while a second version
// replaces the first.
func TestUpKilled(t *testing.T) {
	t.Parallel()
	for service, points := range crashPoints() {
		for _, point := range points {
			t.Run(service+"/"+strings.ReplaceAll(point, ":", "="), func(t *testing.T) {
				t.Parallel()
				i := newInstallation(t, map[string]recipe{"web": both()})
				i.startWatched("TAGSHIP_CRASH=" + point + ":2")
				i.repos["web"].tag("v1.0.0")
				i.delivered("web", "v1.0.0")
				i.repos["web"].tag("v2.0.0")
				i.up.crashed()
				i.start()
				i.delivered("web", "v1.0.0", "v2.0.0")
				i.onlyRuns(1, i.built("web", "v2.0.0").Image.Digest)
				i.up.stop()
				i.nothingRuns()
			})
		}
	}
}
