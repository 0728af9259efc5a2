package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/eventstest"
)

// someDigest is that of an image that nobody built.
const someDigest = "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

// state states facts as other services do.
func (w *watching) state(facts ...events.Fact) {
	w.t.Helper()
	for _, f := range facts {
		if !f.Kind().Once() {
			f.Head().ID = fmt.Sprintf("%s@%d", f.Subject(), time.Now().UnixNano())
		}
		if _, err := w.bus.Publish(w.t.Context(), f); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *watching) build(app, version string) (started, done events.Fact) {
	commit := w.seen(app, version).Commit
	return &events.BuildStarted{App: app, Version: version, Commit: commit, Executor: "host"},
		&events.BuildDone{App: app, Version: version, Commit: commit, TagSeq: 1, Image: &events.Image{Repository: "r/" + app, Digest: someDigest}}
}

func releaseOf(env, app, version string) events.Release {
	return events.Release{Env: env, App: app, Version: version, Digest: someDigest}
}

// shows waits until the newest status of a version is as wanted.
func (w *watching) shows(r *github.Repo, context, state, description string) {
	w.t.Helper()
	eventstest.Eventually(w.t, func() error {
		var last github.Status
		for _, s := range r.Statuses() {
			if s.Context == context {
				last = s
			}
		}
		if last.State != state || !strings.Contains(last.Description, description) {
			return fmt.Errorf("%s shows %s %q, expected %s %q", context, last.State, last.Description, state, description)
		}
		return nil
	})
}

// deploys waits until the newest deployment of a tag to an environment is in a state.
func (w *watching) deploys(r *github.Repo, env, tag, state string) {
	w.t.Helper()
	eventstest.Eventually(w.t, func() error {
		for _, d := range slices.Backward(r.Deployments()) {
			if d.Environment != env || d.Ref != tag {
				continue
			}
			if n := len(d.Statuses); n == 0 || d.Statuses[n-1].State != state {
				return fmt.Errorf("%s to %s is %+v, expected %s", tag, env, d.Statuses, state)
			}
			return nil
		}
		return fmt.Errorf("there is no deployment of %s to %s", tag, env)
	})
}

// statesOf are the states of a context in the order of time.
func statesOf(r *github.Repo, context string) (states []string) {
	for _, s := range r.Statuses() {
		if s.Context == context {
			states = append(states, s.State+" "+s.Description)
		}
	}
	return states
}

// A commit shows what becomes of its version, and the repository where it runs.
func TestTagwatchReports(t *testing.T) {
	t.Parallel()
	const shown = 2 * time.Second // from tag.seen to the first status
	hub := newHub(t, github.Options{})
	web := hub.Repo("acme/web")
	web.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{
		github: fields{"report": fields{"link": "https://logs.example.org/{app}/{version}?step={step}"}},
		apps:   map[string]fields{"web": {"repo": "acme/web"}},
	})
	w.startWatched()
	w.hook("tagwatch-1", "acme")
	context := func(version string) string { return "tagship: web@" + version }

	commit := web.Commit(sources(nil))
	web.TagAnnotated("v1.0.0", commit)
	w.seen("web", "v1.0.0")
	took := within(t, shown, "the first status", func() bool { return len(web.Statuses()) > 0 })
	t.Logf("the first status was shown %s after tag.seen", took.Round(time.Millisecond))
	if s := web.Statuses()[0]; s.Commit != commit.ID || s.State != "pending" || s.TargetURL != "https://logs.example.org/web/v1.0.0?step=tag" {
		t.Errorf("the first status is %+v, expected pending at %s", s, commit.ID)
	}
	started, done := w.build("web", "v1.0.0")
	w.state(started)
	w.shows(web, context("v1.0.0"), "pending", "building")
	w.state(done)
	w.shows(web, context("v1.0.0"), "success", "built")
	w.state(&events.ReleaseStarted{Release: releaseOf("dev", "web", "v1.0.0"), ReleaseID: "r1"})
	w.deploys(web, "dev", "v1.0.0", "in_progress")
	w.state(&events.ReleaseDone{Release: releaseOf("dev", "web", "v1.0.0"), ReleaseID: "r1", Instances: 1, TagSeq: 1})
	w.deploys(web, "dev", "v1.0.0", "success")
	w.shows(web, context("v1.0.0"), "success", "released to dev")
	w.state(&events.ReleaseStarted{Release: releaseOf("prod", "web", "v1.0.0"), ReleaseID: "r2"})
	w.deploys(web, "prod", "v1.0.0", "in_progress")
	w.state(&events.ReleaseFailed{Release: releaseOf("prod", "web", "v1.0.0"), ReleaseID: "r2", Reason: "it crashed"})
	w.deploys(web, "prod", "v1.0.0", "failure")
	w.shows(web, context("v1.0.0"), "failure", "it crashed")
	want := []string{
		"pending seen, waits to be built", "pending building", "success built", "success released to dev",
		"failure release to prod failed: it crashed; nothing runs in prod",
	}
	if got := statesOf(web, context("v1.0.0")); !slices.Equal(got, want) {
		t.Errorf("the commit showed %q, expected %q", got, want)
	}

	// A tag that cannot be a version says why.
	web.Tag("v1.0.1", web.Commit(sources(github.Files{".tagship.yaml": "oops: 1\n"})))
	w.shows(web, context("v1.0.1"), "failure", "refused: ")

	// While GitHub takes no reports, nothing waits for them.
	down := hub.Misbehave(github.Fault{Route: "POST /repos/{owner}/{repo}/statuses/{sha}", Status: http.StatusServiceUnavailable})
	web.Tag("v1.1.0", web.Commit(sources(nil)))
	within(t, soon, "tag v1.1.0", func() bool { return len(w.record.Facts(events.KindTagSeen.Subject("web", "v1.1.0"))) > 0 })
	started, done = w.build("web", "v1.1.0")
	w.state(started, done)
	eventstest.Eventually(t, func() error {
		if down.Seen() < 2 {
			return fmt.Errorf("%d reports failed", down.Seen())
		}
		return nil
	})
	down.Stop()
	w.shows(web, context("v1.1.0"), "success", "built")

	// Killed between a report and its acknowledgement, it does not report twice.
	w.replicas["tagwatch-1"].stop()
	p := w.start("tagwatch-1", "TAGSHIP_CRASH=ack.before:tagwatch-report")
	web.Tag("v1.2.0", web.Commit(sources(nil)))
	p.crashed()
	w.start("tagwatch-1")
	w.seen("web", "v1.2.0")
	w.shows(web, context("v1.2.0"), "pending", "seen")
	w.settled()
	if got := statesOf(web, context("v1.2.0")); len(got) != 1 {
		t.Errorf("the commit of v1.2.0 showed %q, expected one status", got)
	}
	if deployments := web.Deployments(); len(deployments) != 2 {
		t.Errorf("there are %d deployments, expected 2: %+v", len(deployments), deployments)
	}

	// Without permission that is said once, and breaks nothing.
	w.token.Permit(map[string]string{"metadata": "read", "contents": "read"})
	for _, version := range []string{"v1.3.0", "v1.4.0"} {
		web.Tag(version, web.Commit(sources(nil)))
		w.seen("web", version)
		w.settled()
	}
	if said := strings.Count(w.replicas["tagwatch-1"].output.String(), "not permitted to report"); said != 1 {
		t.Errorf("that reports are not permitted was said %d times, expected once", said)
	}
	w.seenOnce("web", "v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0")
}
