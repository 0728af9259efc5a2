package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/cmd/tagship/internal/cli"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

// busy fills a world with a bit of everything.
func busy(t *testing.T) *world {
	w := newWorld(t)
	repository := func(app, status string) {
		t.Helper()
		if err := w.bus.Table(bus.TableWatch).Put(t.Context(), "app."+events.Escape(app), []byte(status)); err != nil {
			t.Fatal(err)
		}
	}
	repository("web", `{"repo":"git.example.org/web","tags":"v*","baseline_at":"2026-03-01T00:00:00Z"}`)
	repository("team/agent", `{"repo":"git.example.org/agent","tags":"*","error":"list the tags: connection refused","error_since":"2026-03-14T14:20:00Z"}`)

	repository("team", `{"repo":"https://github.com/acme/*","tags":"v*","group":true,"repositories":12,"error":"acme/web cannot be the app web","error_since":"2026-03-14T14:30:00Z"}`)
	repository("others", `{"repo":"https://github.com/umbrella/*","tags":"v*","group":true}`)

	host := func(name, status string) {
		t.Helper()
		if err := w.bus.Table(bus.TableWatch).Put(t.Context(), "host."+events.Escape(name), []byte(status)); err != nil {
			t.Fatal(err)
		}
	}
	host("git", `{"host":"git","leader":"a (process 1)","sweep":{"at":"2026-03-14T14:59:50Z","took":"300ms","repositories":1,"changed":0,"requests":0,"points":0},"failing":1,"next":"2026-03-14T15:00:20Z"}`)
	host("github.com", `{"host":"github.com","leader":"a (process 1)","sweep":{"at":"2026-03-14T14:58:00Z","took":"41s","repositories":10000,"changed":3,"requests":250,"points":250},"failing":0,"next":"2026-03-14T15:07:36Z",
		"budgets":[{"credential":"token","resource":"core","limit":5000,"remaining":0,"reset":"2026-03-14T15:31:00Z","blocked":"2026-03-14T15:31:00Z","reason":"the budget is used up","spent":5000,"requests":5100},
		{"credential":"token","resource":"graphql","limit":5000,"remaining":4210,"reset":"2026-03-14T15:31:00Z","spent":790,"requests":790}]}`)

	// web: v1.2.2 everywhere, v1.2.3 failed in prod, v1.2.4 on its way to dev, v1.2.5 not built yet.
	one := w.seen("web", "v1.2.2", 50*time.Hour)
	w.built("web", "v1.2.2", 49*time.Hour, one)
	two := w.seen("web", "v1.2.3", 5*time.Hour)
	w.state(&events.BuildFailed{Meta: head(5*time.Hour, "builder", &events.Cause{Stream: "TAGS", Seq: two}), App: "web", Version: "v1.2.3", Reason: "no space left"})
	w.built("web", "v1.2.3", 4*time.Hour, two)
	w.released(48*time.Hour, "releaser", "build", release("dev", "web", "v1.2.2"))
	w.released(47*time.Hour, "releaser", "dev", release("demo", "web", "v1.2.2"))
	w.released(46*time.Hour, "bob", "", release("prod", "web", "v1.2.2"))
	w.released(3*time.Hour, "releaser", "build", release("dev", "web", "v1.2.3"))
	prod := w.wanted(2*time.Hour, "ann", "", release("prod", "web", "v1.2.3"))
	w.state(&events.ReleaseStarted{Meta: head(2*time.Hour, "releaser", prod), Release: release("prod", "web", "v1.2.3"), ReleaseID: "prod-web", Replaces: "v1.2.2"})
	w.state(&events.ReleaseFailed{
		Meta: head(119*time.Minute, "releaser", prod), Release: release("prod", "web", "v1.2.3"), ReleaseID: "prod-web",
		Reason: "not healthy within 1m0s:\nGET /healthz answers 500", Running: "v1.2.2",
	})
	three := w.seen("web", "v1.2.4", 10*time.Minute)
	w.built("web", "v1.2.4", 8*time.Minute, three)
	dev := w.wanted(14*time.Second, "releaser", "build", release("dev", "web", "v1.2.4"))
	w.state(&events.ReleaseStarted{Meta: head(12*time.Second, "releaser", dev), Release: release("dev", "web", "v1.2.4"), ReleaseID: "dev-web", Replaces: "v1.2.3"})
	// A refused request beside it does not end what is in flight.
	w.state(&events.ReleaseRefused{Meta: head(5*time.Second, "releaser", &events.Cause{Stream: "RELEASES", Seq: 900}), Env: "dev", App: "web", Version: "v9", Reason: "web has no version v9"})
	w.state(&events.ReleaseRefused{Meta: head(30*time.Hour, "releaser", &events.Cause{Stream: "RELEASES", Seq: 901}), Env: "prodd", App: "web", Version: "v1.2.2", Reason: "there is no environment prodd"})
	w.seen("web", "v1.2.5", 90*time.Second)
	w.state(&events.TagMoved{Meta: head(26*time.Hour, "tagwatch", nil), App: "web", Version: "v1.2.2", Tag: "v1.2.2", Repo: "git.example.org/web", Old: commit("a"), New: commit("b")})

	// team/agent: packages only, being built and published.
	four := w.seen("team/agent", "0.9.0", 70*time.Hour)
	w.built("team/agent", "0.9.0", 69*time.Hour, four)
	w.seen("team/agent", "1.0.0", 40*time.Minute)
	w.state(&events.BuildStarted{Meta: head(39*time.Minute, "builder", nil), App: "team/agent", Version: "1.0.0", Commit: commit("c"), Executor: "docker"})
	files := []events.Download{{URL: "https://dl.example.org/agent.tar.gz", Digest: digest("c"), Size: 7}}
	w.state(&events.CDNDone{Meta: head(68*time.Hour, "cdnpush", nil), Channel: "beta", App: "team/agent", Version: "0.9.0", Files: files, Latest: true, TagSeq: four})
	w.state(&events.CDNStarted{Meta: head(45*time.Second, "ann", nil), Channel: "stable", App: "team/agent", Version: "0.9.0"})
	w.state(&events.TagRefused{Meta: head(20*time.Minute, "tagwatch", nil), App: "team/agent", Version: "1.0.1", Tag: "1.0.1", Commit: commit("d"), Reason: ".tagship.yaml:3:1: build.run: is missing"})
	return w
}

func TestStatus(t *testing.T) {
	t.Parallel()
	w := busy(t)
	for name, args := range map[string][]string{
		"status":       {"status"},
		"status-app":   {"status", "web"},
		"status-group": {"status", "team"},
		"status-json":  {"status", "--json"},
	} {
		r := w.run(args...)
		r.expect(t, 0)
		golden(t, name, r.out)
	}
	r := w.run("status", "wep")
	r.expect(t, 4, "nothing is recorded about an app wep")
}

// What troubles a host is one line, and also shown with an app on it.
func TestStatusOfAHostInTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for key, status := range map[string]string{
		"app.api": `{"repo":"https://github.com/acme/api","tags":"v*"}`,
		"app.web": `{"repo":"https://github.com/acme/web","tags":"v*"}`,
		"app.own": `{"repo":"https://git.example.org/own","tags":"v*","note":"none of its 12 tags is a version"}`,
		"host." + events.Escape("github.com"): `{"host":"github.com","leader":"a","sweep":{"at":"2026-03-14T14:58:00Z","took":"1s","repositories":2},"failing":2,
			"error":"github.com does not accept the token","error_since":"2026-03-14T14:30:00Z"}`,
	} {
		if err := w.bus.Table(bus.TableWatch).Put(t.Context(), key, []byte(status)); err != nil {
			t.Fatal(err)
		}
	}
	r := w.run("status")
	r.expect(t, 0)
	golden(t, "status-host", r.out)
	if got := w.status().Hosts[0].Error; got != "github.com does not accept the token" {
		t.Errorf("the host's error is %q", got)
	}
	w.run("status", "web").expect(t, 0, "github.com  not readable  30m ago  github.com does not accept the token")
	if r := w.run("status", "own"); r.code != 0 || !strings.Contains(r.out, "note        none of its 12 tags is a version") || strings.Contains(r.out, "not readable") {
		t.Errorf("the status of an app elsewhere is\n%s", r.out)
	}
}

func TestStatusOfNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.run("status")
	r.expect(t, 0)
	golden(t, "status-empty", r.out)
}

// A release that was refused after it was wanted is over, also when a later
// request was refused too.
func TestStatusKnowsWhatHasEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wanted := w.wanted(time.Hour, "ann", "", release("prod", "web", "v1"))
	w.state(&events.ReleaseRefused{Meta: head(50*time.Minute, "releaser", wanted), Env: "prod", App: "web", Version: "v1", Reason: "superseded by v2"})
	w.state(&events.ReleaseRefused{Meta: head(40*time.Minute, "releaser", &events.Cause{Stream: "RELEASES", Seq: 99}), Env: "prod", App: "web", Version: "v3", Reason: "not built"})
	if s := w.status(); len(s.InFlight) > 0 {
		t.Errorf("in flight: %+v, expected nothing", s.InFlight)
	}

	// An older release that ends does not hide the newer one that waits.
	first := w.wanted(30*time.Minute, "ann", "", release("dev", "web", "v1"))
	w.wanted(29*time.Minute, "ann", "", release("dev", "web", "v2"))
	w.state(&events.ReleaseDone{Meta: head(28*time.Minute, "releaser", first), Release: release("dev", "web", "v1"), ReleaseID: "1", Instances: 1, TagSeq: 1})
	s := w.status()
	if len(s.InFlight) != 1 || s.InFlight[0].Version != "v2" || s.InFlight[0].State != "waiting" {
		t.Errorf("in flight: %+v, expected v2 waiting", s.InFlight)
	}
}

func (w *world) status() cli.Status {
	w.t.Helper()
	r := w.run("status", "--json")
	r.expect(w.t, 0)
	var s cli.Status
	if err := json.Unmarshal([]byte(r.out), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// serve runs a worker of a service until the test ends.
func (w *world) serve(service string, workers ...bus.Worker) {
	w.t.Helper()
	b := w.server.Bus(service)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, workers...) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	eventstest.Eventually(w.t, func() error {
		services, err := w.bus.Services(w.t.Context())
		if err != nil {
			return err
		}
		for _, s := range services {
			if s.Name == service {
				return nil
			}
		}
		return errors.New(service + " does not answer")
	})
}

func TestStatusAndLagOfTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve("releaser", bus.Worker{
		Consumer: bus.Consumer{Name: "releaser-dev", Stream: events.StreamReleases, Filters: []string{"release.wanted.dev.*"}},
		Handle: bus.Handle(func(context.Context, events.Delivery[*events.ReleaseWanted]) ([]events.Fact, error) {
			return nil, errors.New("the engine does not answer")
		}),
	})
	w.wanted(time.Minute, "ann", "", release("dev", "web", "v1"))
	eventstest.Eventually(t, func() error {
		if s := w.status(); len(s.Retrying) == 0 {
			return errors.New("nothing is retried")
		}
		return nil
	})
	r := w.run("status")
	r.expect(t, 0, "Retrying", "release.wanted.dev.web", "failed ", "the engine does not answer", "Services  releaser\n", "Not answering  tagwatch, builder, cdnpush")
	r = w.run("lag")
	r.expect(t, 0, "stage", "releaser-dev  RELEASES  0        1        1")
	r = w.run("lag", "--json")
	r.expect(t, 0)
	var lags []map[string]any
	if err := json.Unmarshal([]byte(r.out), &lags); err != nil {
		t.Fatal(err)
	}
	if len(lags) != 1 || lags[0]["consumer"] != "releaser-dev" || lags[0]["retrying"] != 1.0 || lags[0]["oldest_seconds"].(float64) <= 0 {
		t.Errorf("lag: %+v", lags)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	w := busy(t)
	for name, args := range map[string][]string{
		"history":      {"history", "dev"},
		"history-prod": {"history", "prod", "web"},
		"history-json": {"history", "prod", "-n", "1", "--json"},
	} {
		r := w.run(args...)
		r.expect(t, 0)
		golden(t, name, r.out)
	}
	w.run("history", "nowhere", "web").expect(t, 4, "nothing was ever released to nowhere of app web")
}
