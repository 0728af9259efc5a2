package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/eventstest"
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

	s, raw := i.status()
	if len(s.Problems)+len(s.InFlight)+len(s.DeadLetters) > 0 {
		t.Errorf("tagship status tells of trouble where there is none:\n%s", raw)
	}
	for _, name := range services() {
		if !slices.ContainsFunc(s.Services, func(has struct {
			Name      string
			Processes int
		}) bool {
			return has.Name == name && has.Processes == 1
		}) {
			t.Errorf("tagship status does not tell that one %s answers:\n%s", name, raw)
		}
	}
	i.up.stop()
	i.nothingRuns()
}

// TestUpRollsBack releases a version that is never healthy, and asks for it again
// in every way that has an exit code.
func TestUpRollsBack(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": {image: true, health: "within: 3s, soak: 200ms"}})
	i.startWatched()
	i.repos["web"].tag("v1.0.0")
	i.delivered("web", "v1.0.0")
	i.repos["web"].write("mode", "unhealthy")
	i.repos["web"].tag("v2.0.0")
	failed := i.record.Wait("release.failed.dev.web").(*events.ReleaseFailed)
	if failed.Version != "v2.0.0" || failed.Running != "v1.0.0" || !strings.Contains(failed.Reason, "healthy within 3s") {
		t.Errorf("release.failed says %+v, expected that v2.0.0 was not healthy within 3s and v1.0.0 runs", failed)
	}
	i.settled()
	i.runs("dev", "web", "v1.0.0")
	i.onlyRuns(1, i.built("web", "v1.0.0").Image.Digest)
	s, raw := i.status()
	if len(s.Problems) != 1 || s.Problems[0].Kind != "release.failed" || s.Problems[0].Place != "dev" || s.Problems[0].Running != "v1.0.0" {
		t.Errorf("tagship status does not tell of the failed release:\n%s", raw)
	}

	ask := func(expected int, says string, args ...string) {
		t.Helper()
		code, stdout, stderr := tagship(t, i.dir, append([]string{"release", "--data", i.data}, args...)...)
		if code != expected || !strings.Contains(stdout+stderr, says) {
			t.Errorf("tagship release %s exited with %d and said\n%s%s\nexpected %d and %q", strings.Join(args, " "), code, stdout, stderr, expected, says)
		}
	}
	ask(0, "runs in prod", "prod", "web@v1.0.0", "--wait")
	ask(0, "asked for the release", "prod", "web@v1.0.0")
	ask(1, "healthy within 3s", "prod", "web@v2.0.0", "--wait")
	ask(5, "not ended within 1s", "prod", "web@v2.0.0", "--wait", "--timeout", "1s")
	ask(4, "no version v9", "prod", "web@v9", "--wait")
	ask(4, "no environment", "nowhere", "web@v1.0.0", "--wait")
	ask(2, "web", "prod", "web", "--wait")
	ask(3, "NATS", "prod", "web@v1.0.0", "--wait", "--nats", fmt.Sprintf("nats://127.0.0.1:%d", freePort(t)))

	// A better version mends it.
	i.repos["web"].write("mode", "healthy")
	i.repos["web"].tag("v3.0.0")
	i.runs("dev", "web", "v3.0.0")
	i.settled()
}

// TestUpAsksTwice asks for what is there: nothing is touched, and the answer says so.
func TestUpAsksTwice(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": both()})
	i.startWatched()
	i.repos["web"].tag("v1.0.0")
	i.delivered("web", "v1.0.0")
	releaser := filepath.Join(i.data, "releaser")
	before, err := processesIn(releaser)
	if err != nil {
		t.Fatal(err)
	}
	for more := range 2 {
		i.publish("release.dev", "web@v1.0.0")
		i.publish("cdn.beta", "web@v1.0.0")
		i.publish("build.web", "web@v1.0.0")
		i.publish("tag.web", "web@v1.0.0")
		i.record.WaitFor("release.done.dev.web", "one more that changed nothing", func(facts []events.Recorded) bool {
			return len(facts) == more+2 && facts[more+1].Fact.(*events.ReleaseDone).Unchanged
		})
		i.record.WaitFor("cdn.done.beta.web", "one more that changed nothing", func(facts []events.Recorded) bool {
			return len(facts) == more+2 && facts[more+1].Fact.(*events.CDNDone).Unchanged
		})
		i.record.WaitFor("build.refused.web.*", "one more", func(facts []events.Recorded) bool { return len(facts) == more+1 })
		i.record.WaitFor("tag.looked.web", "one more that found nothing new", func(facts []events.Recorded) bool {
			return len(facts) == more+1 && len(facts[more].Fact.(*events.TagLooked).New) == 0
		})
	}
	i.settled()
	i.record.Once(events.KindTagSeen.Subject("web", "v1.0.0"))
	i.record.Once(events.KindBuildDone.Subject("web", "v1.0.0"))
	i.record.Once("release.started.dev.web")
	i.record.Once("cdn.started.beta.web")
	after, err := processesIn(releaser)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(before, after) {
		t.Errorf("before, %q ran; after requests for what was there, %q", before, after)
	}
}

// TestUpMissingRepository watches a repository that is not there: it shows, and
// the others go on.
func TestUpMissingRepository(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": {image: true}})
	config, err := os.ReadFile(i.config)
	if err != nil {
		t.Fatal(err)
	}
	i.configure(strings.Replace(string(config), "  apps:\n", "  apps:\n    ghost: {repo: "+filepath.Join(i.dir, "ghost")+"}\n", 1))
	i.startWatched()
	i.repos["web"].tag("v1.0.0")
	i.delivered("web", "v1.0.0")
	eventstest.Eventually(t, func() error {
		s, raw := i.status()
		for _, p := range s.Problems {
			if p.Kind == "repository" && p.App == "ghost" && p.Reason != "" {
				return nil
			}
		}
		return fmt.Errorf("tagship status does not tell of the missing repository:\n%s", raw)
	})
}

// TestUpRestarts ends and starts again, on ports that were left to choose.
func TestUpRestarts(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": {image: true}})
	i.listen = "127.0.0.1:0"
	i.configure(fmt.Sprintf(`nats: {url: "nats://127.0.0.1:0", ack_wait: 3s}
tagwatch: {interval: 1s, apps: {web: {repo: %q}}}
builder: {executor: host}
releaser: {environments: {dev: {target: {process: {}}, promote: {from: build}}}}
cdnpush: {channels: {beta: {promote: {from: build}}}}
`, i.repos["web"].dir))
	i.repos["web"].tag("v0.9.0") // before anybody watched
	i.startWatched()
	first := i.run
	i.repos["web"].tag("v1.0.0")
	i.delivered("web", "v1.0.0")
	address := i.released("dev", "web", "v1.0.0").Address
	eventstest.Eventually(t, func() error {
		var run runFile
		body, err := os.ReadFile(filepath.Join(i.data, "run.json"))
		if err == nil {
			err = json.Unmarshal(body, &run)
		}
		if err == nil && run.Apps["dev"]["web"] != address {
			err = fmt.Errorf("web answers at %s, but run.json says\n%s", address, body)
		}
		return err
	})

	i.up.stop()
	i.nothingRuns()
	if _, err := os.Stat(filepath.Join(i.data, "run.json")); !os.IsNotExist(err) {
		t.Errorf("run.json is there after the end (%v), expected that it is gone", err)
	}
	i.start()
	if i.run.Registry != first.Registry || i.run.CDN != first.CDN {
		t.Errorf("it answered at %+v, after a restart at %+v", first, i.run)
	}
	if i.run.Apps["dev"]["web"] != address {
		t.Errorf("web answered at %s, after a restart run.json says %s", address, i.run.Apps["dev"]["web"])
	}
	i.answers(address, "web v1.0.0")

	i.up.stop()
	i.repos["web"].tag("v1.1.0") // while nobody watched
	i.start()
	i.delivered("web", "v1.0.0", "v1.1.0")
	if facts := i.record.Facts(events.KindTagSeen.Subject("web", "v0.9.0")); len(facts) > 0 {
		t.Errorf("v0.9.0 was there at the first look, but is taken for new")
	}
	i.onlyRuns(1, i.built("web", "v1.1.0").Image.Digest)
}

// TestUpInterrupted ends it by Ctrl-C while a version compiles; the next start finishes that.
func TestUpInterrupted(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": both()})
	i.startWatched()
	g := i.repos["web"].gate()
	i.repos["web"].tag("v1.0.0")
	g.reached()
	begun := time.Now()
	i.up.signal(syscall.SIGINT)
	if code := i.up.exited(15 * time.Second); code != 0 {
		t.Errorf("tagship up exited with %d after Ctrl-C, expected 0:\n%s", code, i.up.output.tail())
	}
	t.Logf("ended %s after Ctrl-C, with a grace of 5s", time.Since(begun).Round(time.Millisecond))
	i.nothingRuns()
	g.open()
	i.start()
	i.delivered("web", "v1.0.0")
}
