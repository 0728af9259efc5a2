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

// silent is how long nothing at all is asked after a limit, for the most part of
// the time that GitHub asked for.
const silent = 1500 * time.Millisecond

// While GitHub wants no requests there is none, and what happens meanwhile is
// found afterwards.
func TestTagwatchLimits(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	web := hub.Repo("acme/web")
	web.Commit(sources(nil))
	// The budgets are so large that sweeps need no pauses, and last so short that
	// waiting for the next does not take long.
	hub.Budget("core", 1_000_000, 4*time.Second)
	hub.Budget("graphql", 1_000_000, 4*time.Second)
	w := newWatching(t, hub, watchSettings{
		github: fields{"report": noReports()}, interval: "1h",
		apps: map[string]fields{"web": {"repo": "acme/web"}},
	})
	p := w.startWatched()
	w.hook("tagwatch-1", "acme").Deliver(github.Policy{Lose: []string{"create"}}) // else two requests are on their way at once
	var tagged []string
	tag := func() string {
		name := fmt.Sprintf("v1.%d.0", len(tagged))
		tagged = append(tagged, name)
		web.Tag(name, web.Commit(sources(nil)))
		return name
	}
	w.seen("web", tag())

	const retry = 2 * time.Second
	for name, fault := range map[string]github.Fault{
		"primary, 403":   {Primary: &github.LimitForm{Status: http.StatusForbidden, RetryAfter: retry}},
		"primary, 429":   {Primary: &github.LimitForm{Status: http.StatusTooManyRequests, RetryAfter: retry}},
		"secondary, 403": {Secondary: &github.LimitForm{Status: http.StatusForbidden, RetryAfter: retry}},
		"secondary, 429": {Secondary: &github.LimitForm{Status: http.StatusTooManyRequests, RetryAfter: retry}},
	} {
		hub.Budget("core", 1_000_000, 4*time.Second)
		fault.Times = 1
		f := hub.Misbehave(fault)
		version := tag()
		met(t, name, f)
		w.quiet(name, silent)
		w.seen("web", version)
	}
	// GraphQL says so beside data, with success.
	hub.Budget("graphql", 1_000_000, 4*time.Second)
	f := hub.Misbehave(github.Fault{Route: github.RouteGraphQL, Primary: &github.LimitForm{}, Times: 1})
	w.publish("tag.web", "")
	met(t, "primary, by GraphQL", f)
	w.quiet("primary, by GraphQL", silent)
	w.record.Wait(events.KindTagLooked.Subject("web"))
	// Without a word on how long, it waits for a minute.
	f = hub.Misbehave(github.Fault{Secondary: &github.LimitForm{BodyOnly: true}, Times: 1})
	tag()
	met(t, "secondary, by its words alone", f)
	w.quiet("secondary, by its words alone", silent)
	w.seenOnceSoFar("web", tagged[:len(tagged)-1]...)
	metrics := string(w.get("http://" + w.listen["tagwatch-1"] + "/metrics"))
	for _, name := range []string{"tagship_tagwatch_budget_remaining", "tagship_tagwatch_budget_reset_seconds", "tagship_tagwatch_sweep_points", "tagship_tagwatch_sweep_seconds"} {
		if !strings.Contains(metrics, "\n"+name+"{") {
			t.Errorf("%s is not among the metrics", name)
		}
	}
	p.stop()
}

// met waits until a fault was met.
func met(t *testing.T, name string, f *github.Fault) {
	t.Helper()
	eventstest.Eventually(t, func() error {
		if f.Seen() == 0 {
			return fmt.Errorf("%s: was not met yet", name)
		}
		return nil
	})
}

// quiet checks that the GitHub is asked nothing for a while.
func (w *watching) quiet(why string, d time.Duration) {
	w.t.Helper()
	before := w.hub.Routes()
	<-time.After(d)
	for route, n := range w.hub.Routes() {
		if n > before[route] {
			w.t.Errorf("%s: while GitHub wanted no requests, %d came to %s", why, n-before[route], route)
		}
	}
}

// seenOnceSoFar checks that versions were seen once each, and no others, while
// there is more to come.
func (w *watching) seenOnceSoFar(app string, versions ...string) {
	w.t.Helper()
	for _, version := range versions {
		w.record.Once(events.KindTagSeen.Subject(app, version))
	}
	if all := w.record.Facts("tag.seen." + events.Escape(app) + ".*"); len(all) != len(versions) {
		w.t.Errorf("%d versions of %s were seen, expected %d", len(all), app, len(versions))
	}
}

// A listing that fails, or is not complete, says nothing about tags, and does not
// keep other repositories waiting.
func TestTagwatchBrokenListings(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	apps := map[string]fields{}
	repos := map[string]*github.Repo{}
	tagged := map[string][]string{}
	for _, app := range []string{"web", "api", "cli"} {
		repos[app] = hub.Repo("acme/" + app)
		repos[app].Commit(sources(nil))
		apps[app] = fields{"repo": "acme/" + app}
	}
	w := newWatching(t, hub, watchSettings{github: fields{}, interval: "1s", apps: apps})
	w.startWatched()
	push := func(app string) {
		name := fmt.Sprintf("v1.%d.0", len(tagged[app]))
		tagged[app] = append(tagged[app], name)
		repos[app].Tag(name, repos[app].Commit(sources(nil)))
	}
	for app := range repos {
		push(app)
	}
	for app := range repos {
		w.seen(app, "v1.0.0")
	}

	// One repository is left out of every answer: the others go on.
	partial := hub.Misbehave(github.Fault{Partial: true, Repo: "acme/api"})
	for app := range repos {
		push(app)
	}
	w.fails("api", "acme/api")
	w.seen("web", "v1.1.0")
	w.seen("cli", "v1.1.0")
	w.none(events.KindTagSeen.Subject("api", "v1.1.0"))
	partial.Stop()
	w.seen("api", "v1.1.0")
	w.goesWell("api")

	for name, fault := range map[string]github.Fault{
		"502":       {Status: http.StatusBadGateway},
		"504":       {Status: http.StatusGatewayTimeout},
		"HTML":      {Status: http.StatusOK},
		"truncated": {Truncate: true},
		"cut":       {Cut: true},
		"reset":     {Reset: true},
	} {
		fault.Route, fault.Times = github.RouteGraphQL, 3
		f := hub.Misbehave(fault)
		for app := range repos {
			push(app)
		}
		for app := range repos {
			w.seen(app, tagged[app][len(tagged[app])-1])
		}
		if f.Seen() == 0 {
			t.Errorf("%s was not met", name)
		}
		f.Stop()
	}
	for app, versions := range tagged {
		w.goesWell(app)
		w.seenOnce(app, versions...)
	}
	w.none(events.KindTagMoved.All(), events.KindTagDeleted.All(), events.KindTagRefused.All())
}

// What is left of the budget stands in the host's status.
func TestTagwatchBudget(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	web := hub.Repo("acme/web")
	web.Commit(sources(nil))
	hub.Budget("graphql", 5000, time.Hour)
	w := newWatching(t, hub, watchSettings{github: fields{}, interval: "1s", apps: map[string]fields{"web": {"repo": "acme/web"}}})
	w.startWatched()
	await := func(wanted string, ok func(b hostBudget) bool) hostStatus {
		t.Helper()
		return w.hostStatus(wanted, func(s hostStatus) bool {
			return slices.ContainsFunc(s.Budgets, func(b hostBudget) bool {
				return b.Credential == "token" && b.Resource == "graphql" && ok(b)
			})
		})
	}
	status := await("what is left of 5,000 points", func(b hostBudget) bool {
		return b.Limit == 5000 && b.Remaining > 4900 && b.Remaining < 5000 && b.Reset.After(time.Now())
	})
	if status.Leader == "" || status.Sweep.Repositories != 1 || status.Next.IsZero() {
		t.Errorf("the status of the host is %+v", status)
	}
	hub.Misbehave(github.Fault{Route: github.RouteGraphQL, Secondary: &github.LimitForm{}})
	await("that it is blocked for a minute", func(b hostBudget) bool {
		left := time.Until(b.Blocked)
		return b.Reason != "" && left > 30*time.Second && left < 61*time.Second
	})
}
