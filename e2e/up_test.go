package e2e_test

import (
	"testing"
)

// TestUpShips is Tagship's main job: a tag is pushed, and with nobody touching
// anything it runs in dev and can be downloaded; a message brings it to prod.
func TestUpShips(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": {image: true}, "agent": {packages: true}})
	i.startWatched()
	i.repos["web"].tag("v1.0.0")
	i.repos["agent"].tag("v0.1.0")
	i.delivered("web", "v1.0.0")
	i.delivered("agent", "v0.1.0")

	i.repos["web"].tag("v1.1.0")
	i.delivered("web", "v1.0.0", "v1.1.0")

	i.publish("release.prod", "web@v1.0.0")
	i.runs("prod", "web", "v1.0.0")
	i.runs("dev", "web", "v1.1.0")
	i.publish("cdn.stable", `{"app": "agent", "version": "v0.1.0", "by": "ann"}`)
	i.downloads("stable", "agent", "v0.1.0")
	i.settled()
	i.up.stop()
	i.nothingRuns()
}
