package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
)

// A repository stays the app's whatever it is called, and whoever takes over its
// name does not become it.
func TestTagwatchRenamed(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"graphql", "rest"} {
		t.Run(list, func(t *testing.T) {
			t.Parallel()
			hub := newHub(t, github.Options{Enterprise: true})
			web, api := hub.Repo("acme/web"), hub.Repo("acme/api")
			web.Commit(sources(nil))
			api.Commit(sources(nil))
			w := newWatching(t, hub, watchSettings{
				github: fields{"list": list}, interval: "1s",
				apps: map[string]fields{"web": {"repo": "acme/web"}, "api": {"repo": "acme/api"}},
			})
			w.startWatched()
			w.hook("tagwatch-1", "acme")
			web.Tag("v1.0.0", web.Commit(sources(nil)))
			w.seen("web", "v1.0.0")

			web.Rename("website")
			web.Tag("v1.1.0", web.Commit(sources(nil)))
			w.seen("web", "v1.1.0")
			web.Transfer("globex") // which has no hook
			web.Tag("v1.2.0", web.Commit(sources(nil)))
			w.seen("web", "v1.2.0")
			w.statusOf("web", "globex/website", func(s appStatus) bool { return strings.HasSuffix(s.Repo, "globex/website") && s.Error == "" })
			web.Tag("v1.3.0", web.Commit(sources(nil)))
			if seen := w.seen("web", "v1.3.0"); !strings.HasSuffix(seen.Repo, "/globex/website") {
				t.Errorf("v1.3.0 was seen in %s, expected globex/website", seen.Repo)
			}

			thief := hub.Reuse("acme/web")
			thief.Tag("v6.6.6", thief.Commit(sources(nil)))
			web.Tag("v1.4.0", web.Commit(sources(nil)))
			w.seen("web", "v1.4.0")
			// With the true one gone, its name leads to the other one.
			web.Delete()
			w.fails("web", "acme/web", "repo_id")
			thief.Tag("v6.6.7", thief.Commit(sources(nil)))
			api.Tag("v1.0.0", api.Commit(sources(nil)))
			w.seenOnce("api", "v1.0.0")
			w.seenOnce("web", "v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0")
			w.none(events.KindTagMoved.All(), events.KindTagDeleted.All(), events.KindTagRefused.All())

			// Unless somebody says that it is the one which is meant, from now on.
			w.replicas["tagwatch-1"].stop()
			w.settings.apps["web"]["repo_id"] = thief.ID()
			w.configure()
			w.start("tagwatch-1")
			w.goesWell("web")
			thief.Tag("v6.6.8", thief.Commit(sources(nil)))
			w.seenOnce("web", "v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0", "v6.6.8")
		})
	}
}

// All repositories of an owner that have a recipe are watched, those made later
// from their first tag on.
func TestTagwatchGroup(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	one, bare, archived, own := hub.Repo("acme/One"), hub.Repo("acme/bare"), hub.Repo("acme/archived"), hub.Repo("acme/web")
	one.Tag("v1.0.0", one.Commit(sources(nil))) // was there before
	bare.Commit(github.Files{"README.md": "no recipe"})
	archived.Commit(sources(nil))
	archived.Archive(true)
	own.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{github: fields{}, interval: "1s", apps: map[string]fields{
		"all":     {"repo": "acme/*"},
		"website": {"repo": "acme/web", "tags": "web/v*"}, // what is configured wins
	}})
	w.startWatched()
	w.watched("one")
	bare.Tag("v1.0.0", bare.Commit(github.Files{"README.md": "still no recipe"}))
	w.hook("tagwatch-1", "acme")

	one.Tag("v1.1.0", one.Commit(sources(nil)))
	own.Tag("web/v1.0.0", own.Commit(sources(nil)))
	hub.Advance(2 * time.Second) // times of repositories are in whole seconds
	late := hub.Repo("acme/late")
	late.Commit(sources(nil))
	late.Tag("v0.1.0", late.Commit(sources(nil)))
	w.seenOnce("late", "v0.1.0")
	w.seenOnce("one", "v1.1.0")
	w.seenOnce("website", "v1.0.0")
	w.none("tag.*.bare.*", "tag.*.archived.*", "tag.*.web.*", events.KindTagRefused.All())
	w.goesWell("all")
}
