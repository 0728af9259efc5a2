package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
)

// Without credentials, public repositories are watched all the same.
func TestTagwatchAnonymous(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	web, own := hub.Repo("acme/web"), hub.Repo("acme/own").Private(true)
	web.Commit(sources(nil))
	own.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{
		github: fields{"token": "", "list": "rest"}, interval: "1s",
		apps: map[string]fields{"web": {"repo": "acme/web"}, "own": {"repo": "acme/own"}},
	})
	w.start("tagwatch-1")
	w.watched("web")
	w.fails("own", "acme/own", "token")
	w.hook("tagwatch-1", "acme")
	web.TagAnnotated("v1.0.0", web.Commit(sources(nil)))
	own.Tag("v1.0.0", own.Commit(sources(nil)))
	w.seenOnce("web", "v1.0.0")
	w.none("tag.*.own.*")
}

// While NATS is away nothing can be stated, and afterwards it is.
func TestTagwatchNATSRestarted(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	web := hub.Repo("acme/web")
	web.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{github: fields{"report": noReports()}, interval: "1s", apps: map[string]fields{"web": {"repo": "acme/web"}}})
	for _, replica := range []string{"tagwatch-1", "tagwatch-2"} {
		w.start(replica)
		w.hook(replica, "acme")
	}
	w.watched("web")
	var tagged []string
	tag := func() {
		name := fmt.Sprintf("v1.%d.0", len(tagged))
		tagged = append(tagged, name)
		web.TagAnnotated(name, web.Commit(sources(nil)))
	}
	for range 2 {
		tag()
		w.server.Stop()
		tag()
		<-time.After(natsAway)
		tag()
		w.server.Start()
		tag()
		w.seenOnce("web", tagged...)
	}
	w.none(events.KindTagMoved.All(), events.KindTagDeleted.All(), events.KindTagRefused.All())
	for _, p := range w.replicas {
		p.stop()
	}
}

// Webhooks are only hints: what none tells of is found all the same, and what
// several tell of is stated once.
func TestTagwatchSweep(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true, Seed: 7})
	web, api := hub.Repo("acme/web"), hub.Repo("acme/api")
	web.Commit(sources(nil))
	api.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{github: fields{"report": noReports()}, interval: "1s", apps: map[string]fields{"web": {"repo": "acme/web"}, "api": {"repo": "acme/api"}}})
	w.startWatched()

	web.Tag("v0.1.0", web.Commit(sources(nil)))
	w.seen("web", "v0.1.0") // there is no hook yet

	one, two := w.hook("tagwatch-1", "acme"), w.hook("tagwatch-1", "acme")
	var pushed []github.Ref
	for n := range 10 {
		pushed = append(pushed, github.Ref{Name: fmt.Sprintf("v1.%d.0", n), Object: web.Commit(sources(nil))})
	}
	before := len(one.Deliveries())
	web.Push(pushed...)
	tagged := []string{"v0.1.0"}
	for _, ref := range pushed {
		tagged = append(tagged, ref.Name)
	}
	w.seenOnce("web", tagged...)
	for _, d := range one.Deliveries()[before:] {
		if d.Event == "create" {
			t.Errorf("GitHub told of a tag in a push of %d", len(pushed))
		}
	}

	for _, hook := range []*github.Hook{one, two} {
		hook.Deliver(github.Policy{Drop: 0.4, Duplicate: 0.5, Reorder: true, Delay: time.Second})
	}
	tagged = nil
	for n := range 20 {
		name := fmt.Sprintf("v2.%d.0", n)
		api.TagAnnotated(name, api.Commit(sources(nil)))
		tagged = append(tagged, name)
	}
	w.seenOnce("api", tagged...)
	w.none(events.KindTagMoved.All(), events.KindTagDeleted.All(), events.KindTagRefused.All())
}
