package e2e_test

import (
	"fmt"
	"testing"

	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
)

// A tag that moves or goes is told of with who did it, and no version changes.
func TestTagwatchMoved(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"graphql", "rest"} {
		t.Run(list, func(t *testing.T) {
			t.Parallel()
			testMoved(t, list)
		})
	}
}

func testMoved(t *testing.T, list string) {
	hub := newHub(t, github.Options{Enterprise: true})
	web := hub.Repo("acme/web")
	web.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{github: fields{"list": list}, apps: map[string]fields{"web": {"repo": "acme/web"}}})
	w.startWatched()
	hook := w.hook("tagwatch-1", "acme")
	var tagged []string
	commits := map[string]*github.Object{}
	for n := range 12 {
		name := fmt.Sprintf("v1.%d.0", n)
		commits[name] = web.Commit(sources(nil))
		web.TagAnnotated(name, commits[name])
		tagged = append(tagged, name)
	}
	w.seenOnce("web", tagged...)

	// One moves: who did it is told by the hook.
	other := web.Commit(sources(nil))
	web.MoveTag("v1.0.0", other)
	moved := w.moved("v1.0.0")
	if moved.Old != commits["v1.0.0"].ID || moved.New != other.ID || moved.Pusher != "mona" || moved.Suspicion != "" {
		t.Errorf("v1.0.0 moved from %s to %s, by whom is not what was stated: %+v", commits["v1.0.0"].ID, other.ID, moved)
	}

	// One is deleted.
	web.DeleteTag("v1.1.0")
	deleted := w.record.Wait(events.KindTagDeleted.Subject("web", "v1.1.0")).(*events.TagDeleted)
	if deleted.Commit != commits["v1.1.0"].ID || deleted.Pusher != "mona" {
		t.Errorf("v1.1.0 was deleted as %+v, expected commit %s by mona", deleted, commits["v1.1.0"].ID)
	}

	// Eight move to one commit, as an attacker moves them.
	stray := web.Stray(sources(github.Files{"evil.sh": "curl evil"}))
	var attack []github.Ref
	for _, name := range tagged[2:10] {
		attack = append(attack, github.Ref{Name: name, Object: stray})
	}
	web.Push(attack...)
	suspicions := 0
	for _, ref := range attack {
		if w.moved(ref.Name).Suspicion != "" {
			suspicions++
		}
	}
	if suspicions < len(attack)-2 {
		t.Errorf("%d of %d moves to one commit are suspicious, expected all from the third on", suspicions, len(attack))
	}
	web.Tag("v6.6.6", stray)
	refused := w.record.Wait(events.KindTagRefused.Subject("web", "v6.6.6")).(*events.TagRefused)
	if refused.Commit != stray.ID {
		t.Errorf("v6.6.6 was refused as %+v, expected commit %s", refused, stray.ID)
	}

	// What happens without hooks, and is over before a look, is found by its result.
	hook.Deliver(github.Policy{Drop: 1})
	web.DeleteTag("v1.10.0", "v1.11.0")
	again := web.Commit(sources(nil))
	web.Tag("v1.10.0", again)
	web.Tag("v1.11.0", commits["v1.11.0"]) // as it was, but lightweight
	w.look("web")
	if m := w.moved("v1.10.0"); m.New != again.ID || m.Old != commits["v1.10.0"].ID {
		t.Errorf("v1.10.0 was deleted and made again on %s, and that was stated as %+v", again.ID, m)
	}
	w.look("web")
	web.DeleteTag("v1.11.0")
	w.look("web")
	w.none(events.KindTagDeleted.Subject("web", "v1.11.0"))
	w.look("web")
	w.record.Wait(events.KindTagDeleted.Subject("web", "v1.11.0"))

	w.look("web")
	w.seenOnce("web", tagged...)
	for filter, n := range map[string]int{events.KindTagMoved.All(): 10, events.KindTagDeleted.All(): 2, events.KindTagRefused.All(): 1} {
		if facts := w.record.Facts(filter); len(facts) != n {
			t.Errorf("%d facts are on %s, expected %d", len(facts), filter, n)
		}
	}
}

func (w *watching) moved(version string) *events.TagMoved {
	w.t.Helper()
	return w.record.Wait(events.KindTagMoved.Subject("web", version)).(*events.TagMoved)
}

// Where signatures are required, only tags that GitHub vouches for become
// versions; what GitHub cannot tell now is asked again.
func TestTagwatchSigned(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	web := hub.Repo("acme/web")
	web.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{github: fields{}, interval: "1s", apps: map[string]fields{"web": {"repo": "acme/web", "require_signed": true}}})
	w.startWatched()
	w.hook("tagwatch-1", "acme")
	sign := func(name string, reasons ...string) {
		tag := web.Annotate(name, web.Commit(sources(nil)))
		web.Sign(tag, reasons...)
		web.Tag(name, tag)
	}
	sign("v1.0.0", "valid")
	sign("v1.1.0", "gpgverify_unavailable", "gpgverify_error", "gpgverify_unavailable", "valid")
	web.Tag("v2.0.0", web.Commit(sources(nil)))
	sign("v2.1.0", "unsigned")
	sign("v2.2.0", "unknown_key")
	sign("v2.3.0", "gpgverify_unavailable", "invalid")
	valid := web.Annotate("v1.0.1", web.Commit(sources(nil)))
	web.Sign(valid, "valid")
	web.Tag("v2.4.0", valid) // signed under another name
	for _, version := range []string{"v2.0.0", "v2.1.0", "v2.2.0", "v2.3.0", "v2.4.0"} {
		refused := w.record.Wait(events.KindTagRefused.Subject("web", version)).(*events.TagRefused)
		t.Logf("%s: %s", version, refused.Reason)
	}
	w.seenOnce("web", "v1.0.0", "v1.1.0")
}

// A source that is gone from the store is staged again, the same to the byte.
func TestTagwatchRestaged(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	web := hub.Repo("acme/web")
	web.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{github: fields{}, apps: map[string]fields{"web": {"repo": "acme/web"}}})
	w.startWatched()
	w.hook("tagwatch-1", "acme")
	web.TagAnnotated("v1.0.0", web.Commit(sources(github.Files{"main.go": "package main"})))
	seen := w.seen("web", "v1.0.0")
	files := w.staged(seen.Source)

	store, err := w.server.JetStream().ObjectStore(t.Context(), "sources")
	if err == nil {
		err = store.Delete(t.Context(), seen.Source.Digest)
	}
	if err != nil {
		t.Fatal(err)
	}
	// The tag is gone meanwhile; what was seen of it is the commit.
	web.DeleteTag("v1.0.0")
	w.record.Wait(events.KindTagDeleted.Subject("web", "v1.0.0"))
	w.publish("tag.web", "web@v1.0.0")
	w.record.Wait(events.KindTagLooked.Subject("web"))
	if again := w.staged(seen.Source); len(again) != len(files) {
		t.Errorf("the source is staged again with %d files, expected %d", len(again), len(files))
	}
	w.seenOnce("web", "v1.0.0")
	w.none(events.KindTagRefused.All())
}
