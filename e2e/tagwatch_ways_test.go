package e2e_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
)

// told is what a fact says, whatever the way it was found out.
type told struct {
	Subject, Tag, Commit, Old string
	Files                     int // in the source
}

// GraphQL, REST and git lead to the same facts about the same repositories.
func TestTagwatchWays(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	apps := map[string]fields{
		"web":   {"repo": "acme/web"},
		"many":  {"repo": "acme/many"},
		"empty": {"repo": "acme/empty"},
		"mono":  {"repo": "acme/mono", "tags": "api/v*", "backfill": "latest"},
	}
	web, many, mono := hub.Repo("acme/web"), hub.Repo("acme/many"), hub.Repo("acme/mono")
	hub.Repo("acme/empty")
	first := web.Commit(sources(nil))
	web.Tag("v0.1.0", first)
	web.TagAnnotated("v0.2.0", first)
	old := many.Commit(sources(nil))
	for from := range 3 {
		var refs []github.Ref
		for n := range 50 {
			refs = append(refs, github.Ref{Name: fmt.Sprintf("v0.%d.0", from*50+n), Object: old})
		}
		many.Push(refs...)
	}
	base := mono.Commit(sources(nil))
	mono.Tag("api/v1.0.0", base)
	mono.TagAnnotated("api/v1.10.0", base)
	mono.Tag("api/v1.9.0", base)
	mono.Tag("web/v2.0.0", base)

	ways := map[string]fields{"graphql": {}, "rest": {"list": "rest"}, "git": nil}
	systems := map[string]*watching{}
	for way, section := range ways {
		w := newWatching(t, hub, watchSettings{github: section, interval: "1s", apps: apps})
		w.startWatched()
		systems[way] = w
	}

	web.Tag("v1.0.0", web.Commit(sources(github.Files{"a/b/c.txt": "deep"})))
	web.TagAnnotated("v1.1.0", web.Commit(sources(nil)))
	web.TagNested("v1.2.0", web.Commit(sources(nil)))
	web.TagBlob("v1.3.0", "nothing to build")
	web.Tag("v1.4.0", web.Commit(github.Files{"README.md": "no recipe"}))
	web.MoveTag("v0.1.0", web.Commit(sources(nil)))
	web.TagAnnotated("v1.5.0", first)
	web.MoveTag("v0.2.0", web.Annotate("v0.2.0", first)) // the same commit, annotated anew
	many.Push(
		github.Ref{Name: "v1.0.0", Object: old}, // on an old commit, so it is not the newest by date
		github.Ref{Name: "v1.1.0", Object: many.Commit(sources(nil))},
	)
	mono.Tag("api/v1.11.0", mono.Commit(sources(nil)))
	hub.Repo("acme/empty").Tag("v1.0.0", hub.Repo("acme/empty").Commit(sources(nil)))

	const all = 12
	facts := map[string][]told{}
	for way, w := range systems {
		w.record.WaitFor("tag.*.*.*", fmt.Sprintf("%d facts by %s", all, way), func(facts []events.Recorded) bool { return len(facts) >= all })
	}
	many.DeleteTag("v0.7.0")
	for way, w := range systems {
		w.record.Wait(events.KindTagDeleted.Subject("many", "v0.7.0"))
		w.settled()
		for _, f := range w.record.Facts("tag.*.*.*") {
			facts[way] = append(facts[way], w.told(f.Fact))
		}
		slices.SortFunc(facts[way], func(a, b told) int { return cmp.Compare(a.Subject, b.Subject) })
	}
	if len(facts["graphql"]) != all+1 {
		t.Errorf("graphql: %d facts, expected %d: %+v", len(facts["graphql"]), all+1, facts["graphql"])
	}
	for way := range ways {
		if diff := gocmp.Diff(facts["graphql"], facts[way]); diff != "" {
			t.Errorf("%s says something else than GraphQL (-graphql +%s):\n%s", way, way, diff)
		}
	}
}

func (w *watching) told(fact events.Fact) told {
	w.t.Helper()
	is := told{Subject: fact.Subject()}
	switch f := fact.(type) {
	case *events.TagSeen:
		is.Tag, is.Commit, is.Files = f.Tag, f.Commit, len(w.staged(f.Source))
	case *events.TagMoved:
		is.Tag, is.Commit, is.Old = f.Tag, f.New, f.Old
	case *events.TagRefused:
		is.Tag, is.Commit = f.Tag, f.Commit
	case *events.TagDeleted:
		is.Tag, is.Commit = f.Tag, f.Commit
	default:
		w.t.Errorf("%s was stated", fact.Subject())
	}
	return is
}
