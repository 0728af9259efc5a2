package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/eventstest"
)

// misbehave makes GitHub fail now and then in what is asked of it next.
func misbehave(hub *github.Sim, random *rand.Rand) {
	for _, fault := range []github.Fault{
		{Status: http.StatusBadGateway, Times: 3},
		{Status: http.StatusOK, Times: 2}, // a web page
		{Status: http.StatusNotFound, Times: 2},
		{Reset: true, Times: 3},
		{Truncate: true, Times: 3},
		{Route: github.RouteArchive, Cut: true, Times: 4},
		{Route: github.RouteArchive, Status: http.StatusNotFound, Times: 2},
		{Secondary: &github.LimitForm{RetryAfter: time.Second}, Times: 2},
	} {
		fault.Skip = random.IntN(20)
		hub.Misbehave(fault)
	}
	hub.Lag(time.Duration(random.IntN(500)) * time.Millisecond)
}

// A tag is seen once by its hook alone, wherever that is interrupted.
func TestTagwatchKilledAtHooks(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	web := hub.Repo("acme/web")
	web.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{github: fields{"report": noReports()}, apps: map[string]fields{"web": {"repo": "acme/web"}}})
	p := w.startWatched()
	w.hook("tagwatch-1", "acme").Deliver(github.Policy{Lose: []string{"create"}})
	var tagged []string
	for _, point := range []string{"publish.before:tag.seen", "publish.after:tag.seen", "ack.before:tagwatch"} {
		p.stop()
		p = w.start("tagwatch-1", "TAGSHIP_CRASH="+point)
		name := fmt.Sprintf("v1.%d.0", len(tagged))
		tagged = append(tagged, name)
		web.TagAnnotated(name, web.Commit(sources(nil)))
		p.crashed()
		t.Logf("killed at %s", point)
		// The sweep with which it starts would find the tag too.
		fault := hub.Misbehave(github.Fault{Route: github.RouteGraphQL, Status: http.StatusBadGateway})
		p = w.start("tagwatch-1")
		w.seen("web", name)
		w.settled()
		fault.Stop()
	}
	w.seenOnce("web", tagged...)
}

// Every tag is seen once, while two replicas race for hooks and sweeps, and are
// killed at random moments, and GitHub is not at its best.
func TestTagwatchKilled(t *testing.T) {
	t.Parallel()
	const (
		repositories, tags = 5, 44
		kills              = 6
		most               = 1500 * time.Millisecond // between two kills
		bound              = 60 * time.Second        // from the first push to the last fact
	)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	hub := newHub(t, github.Options{Enterprise: true, Seed: seed})
	apps := map[string]fields{}
	var repos []*github.Repo
	for n := range repositories {
		name := fmt.Sprintf("app-%d", n)
		repo := hub.Repo("acme/" + name).InMemory()
		repo.Commit(sources(nil))
		repos = append(repos, repo)
		apps[name] = fields{"repo": "acme/" + name}
	}
	w := newWatching(t, hub, watchSettings{github: fields{"report": noReports()}, interval: "1s", apps: apps})
	replicas := []string{"tagwatch-1", "tagwatch-2"}
	for _, replica := range replicas {
		w.start(replica)
		// Half of the calls find nobody there, which GitHub does not try again.
		w.hook(replica, "acme").Deliver(github.Policy{Drop: 0.3, Duplicate: 0.3, Reorder: true, Delay: 500 * time.Millisecond})
	}
	for app := range apps {
		w.watched(app)
	}

	began := time.Now()
	expected := map[string]string{} // commits by subject
	push := func(n int, names ...string) {
		var refs []github.Ref
		for _, name := range names {
			commit := repos[n].Commit(sources(github.Files{"version": name}))
			refs = append(refs, github.Ref{Name: name, Object: commit})
			expected[events.KindTagSeen.Subject(fmt.Sprintf("app-%d", n), name)] = commit.ID
		}
		repos[n].Push(refs...)
	}
	pushed := make([]int, repositories)
	// round pushes to every repository, now a tag, now many at once that no hook tells of.
	round := func(share int) {
		for n := range repos {
			for goal := share * tags / (kills + 1); pushed[n] < goal; {
				var names []string
				for range min(1+random.IntN(6), goal-pushed[n]) {
					names = append(names, fmt.Sprintf("v1.%d.0", pushed[n]))
					pushed[n]++
				}
				push(n, names...)
			}
		}
	}
	for kill := range kills {
		round(kill + 1)
		moment := time.Duration(random.Int64N(int64(most)))
		misbehave(hub, random)
		<-time.After(moment)
		victim := replicas[random.IntN(len(replicas))]
		w.replicas[victim].kill()
		t.Logf("killed %s %s after a push", victim, moment.Round(time.Millisecond))
		w.launch(victim)
	}
	round(kills + 1)

	if len(expected) < 200 {
		t.Fatalf("only %d tags were pushed", len(expected))
	}
	w.record.WaitFor(events.KindTagSeen.All(), fmt.Sprintf("%d tags", len(expected)), func(facts []events.Recorded) bool {
		return len(facts) >= len(expected)
	})
	took := time.Since(began)
	t.Logf("%d tags of %d repositories were seen within %s, with %d kills", len(expected), repositories, took.Round(time.Millisecond), kills)
	if took > bound {
		t.Errorf("it took %s, expected at most %s", took, bound)
	}
	w.settled()
	for _, f := range w.record.Facts(events.KindTagSeen.All()) {
		subject := f.Fact.Subject()
		commit, wanted := expected[subject]
		if !wanted {
			t.Errorf("%s is stated twice, or of no tag", subject)
		}
		if got := f.Fact.(*events.TagSeen).Commit; got != commit {
			t.Errorf("%s is of commit %s, expected %s", subject, got, commit)
		}
		delete(expected, subject)
	}
	if len(expected) > 0 {
		t.Errorf("%d tags were not seen: %v", len(expected), expected)
	}
	w.none(events.KindTagMoved.All(), events.KindTagDeleted.All(), events.KindTagRefused.All())
	for _, p := range w.replicas {
		eventstest.Eventually(t, func() error {
			if !p.running() {
				return fmt.Errorf("a replica ended by itself")
			}
			return nil
		})
		p.stop()
	}
}
