package cli_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

// releaser is a service that wants what is asked for, and ends a release as end says.
func (w *world) releaser(end func(wanted *events.ReleaseWanted) (events.Fact, error)) {
	w.t.Helper()
	w.serve("releaser",
		bus.Worker{
			Consumer: bus.Consumer{Name: "releaser-requests", Stream: events.StreamReleases, Filters: []string{events.ReleaseRequested.All()}},
			Handle: bus.Handle(func(_ context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
				r := d.Message
				if r.Place() == "nowhere" {
					return []events.Fact{&events.ReleaseRefused{Env: r.Place(), App: r.App, Version: r.Version, Reason: "there is no environment nowhere"}}, nil
				}
				return []events.Fact{&events.ReleaseWanted{Meta: events.Meta{By: r.By}, Release: release(r.Place(), r.App, r.Version), TagSeq: 1}}, nil
			}),
		},
		bus.Worker{
			Consumer: bus.Consumer{Name: "releaser-wanted", Stream: events.StreamReleases, Filters: []string{events.KindReleaseWanted.All()}},
			Slots:    4,
			Handle: bus.Handle(func(_ context.Context, d events.Delivery[*events.ReleaseWanted]) ([]events.Fact, error) {
				fact, err := end(d.Message)
				if err != nil {
					return nil, err
				}
				return []events.Fact{&events.ReleaseStarted{Release: d.Message.Release, ReleaseID: "1", Replaces: "v1"}, fact}, nil
			}),
		},
	)
}

var clock = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d`)

func TestReleaseWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Facts of another release of the same app to the same environment are none of ours.
	w.released(5*time.Minute, "bob", "", release("prod", "web", "v1"))
	w.releaser(func(wanted *events.ReleaseWanted) (events.Fact, error) {
		switch wanted.Version {
		case "v2":
			return &events.ReleaseDone{Release: wanted.Release, ReleaseID: "1", Instances: 2, Address: "http://10.0.0.1:8080", TagSeq: 1, Took: events.Duration(21500 * time.Millisecond)}, nil
		case "v3":
			return &events.ReleaseFailed{Release: wanted.Release, ReleaseID: "1", Reason: "not healthy:\n500", Running: "v2"}, nil
		case "v4":
			return &events.ReleaseRefused{Env: wanted.Env, App: wanted.App, Version: wanted.Version, Reason: "superseded by v5"}, nil
		}
		return nil, errors.New("the engine does not answer")
	})

	r := w.run("release", "prod", "web@v2", "--wait")
	r.expect(t, 0)
	golden(t, "release-wait", clock.ReplaceAllString(r.out, "hh:mm:ss"))
	wanted, err := w.bus.Last(t.Context(), "release.wanted.prod.web")
	if err != nil || wanted.Fact.Head().By != "ann" {
		t.Errorf("recorded %+v, %v; expected it to be by ann", wanted.Fact, err)
	}

	r = w.run("release", "prod", "web@v3", "--wait")
	r.expect(t, 1, "tagship: the release of web@v3 to prod failed: not healthy: 500; v2 runs there\n")
	r = w.run("release", "prod", "web@v4", "--wait")
	r.expect(t, 4, "tagship: the release of web@v4 to prod was refused: superseded by v5\n")
	r = w.run("release", "nowhere", "web@v2", "--wait")
	r.expect(t, 4, "was refused: there is no environment nowhere")
	r = w.run("release", "prod", "web@v9", "--wait", "--timeout", "4s")
	r.expect(t, 5, "not possible yet", "the engine does not answer", "has not ended within 4s; it goes on")
	r = w.run("release", "prod", "web@v2", "--by", "carl")
	r.expect(t, 0, "asked for the release of web@v2 to prod (RELEASES:", "follow it with: tagship status web")
}

func TestInterruptedWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, wait := w.start(ctx, "release", "prod", "web@v2", "--wait")
	// Nobody takes the request up, and that is said.
	eventstest.Eventually(t, func() error {
		if !strings.Contains(out.String(), "no releaser answers; the request waits until one runs") {
			return fmt.Errorf("printed %q", out)
		}
		return nil
	})
	cancel()
	wait().expect(t, 130, "stopped waiting; the release of web@v2 to prod goes on, see 'tagship status web'")
}

func TestBuildWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := w.seen("web", "v2", time.Minute)
	w.serve("builder", bus.Worker{
		Consumer: bus.Consumer{Name: "builder", Stream: events.StreamBuilds, Filters: []string{events.BuildRequested.All()}},
		Handle: bus.Handle(func(_ context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
			switch r := d.Message; r.Version {
			case "v1":
				return []events.Fact{&events.BuildFailed{App: r.App, Version: r.Version, Reason: "make ended with exit status 2"}}, nil
			case "v2":
				return nil, events.Skip("another builder is at it")
			default:
				return []events.Fact{&events.BuildRefused{App: r.App, Version: r.Version, Reason: "never seen"}}, nil
			}
		}),
	})
	w.run("build", "web@v1", "--wait").expect(t, 1, "the build of web@v1 failed: make ended with exit status 2; its output: tagship logs web@v1")
	w.run("build", "web@v3", "--wait").expect(t, 4, "the build of web@v3 was refused: never seen")

	// A build that somebody else began ends the waiting too.
	out, wait := w.start(t.Context(), "build", "web@v2", "--wait")
	eventstest.Eventually(t, func() error {
		if !strings.Contains(out.String(), "asked for") {
			return errors.New("not asked yet")
		}
		return nil
	})
	w.built("web", "v2", 0, seen)
	wait().expect(t, 0, "✓ web@v2 built in 83.0s, image registry:5000/web@sha256:")
}

func TestPublishWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve("cdnpush", bus.Worker{
		Consumer: bus.Consumer{Name: "cdnpush", Stream: events.StreamCDN, Filters: []string{events.CDNRequested.All()}},
		Handle: bus.Handle(func(_ context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
			r := d.Message
			if r.Version == "2" {
				return []events.Fact{&events.CDNFailed{Channel: r.Place(), App: r.App, Version: r.Version, Reason: "other bytes are there"}}, nil
			}
			return []events.Fact{
				&events.CDNStarted{Channel: r.Place(), App: r.App, Version: r.Version},
				&events.CDNDone{
					Channel: r.Place(), App: r.App, Version: r.Version, TagSeq: 1,
					Files: []events.Download{{URL: "https://dl.example.org/agent.deb", Digest: digest("c"), Size: 7}},
				},
			}, nil
		}),
	})
	w.run("publish", "beta", "agent@1", "--wait").expect(t, 0, "agent@1 publishing to beta", "✓ agent@1 published to beta", "https://dl.example.org/agent.deb")
	w.run("publish", "beta", "agent@2", "--wait").expect(t, 1, "the publication of agent@2 to beta failed: other bytes are there")
}

func TestTagWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := func(app, version string) *events.TagSeen {
		return &events.TagSeen{
			App: app, Version: version, Tag: version, Repo: "git.example.org/web", Commit: commit("a"),
			Source: events.Source{Digest: digest("5"), Size: 1},
			Recipe: events.Recipe{Build: events.Build{Run: events.Commands{"make"}}, Packages: []events.RecipePackage{{File: "out/a"}}},
		}
	}
	w.serve("tagwatch", bus.Worker{
		Consumer: bus.Consumer{Name: "tagwatch", Stream: events.StreamTags, Filters: []string{events.TagRequested.All()}},
		Handle: bus.Handle(func(_ context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
			r := d.Message
			if r.App != "web" {
				return []events.Fact{&events.TagRefused{App: r.App, Version: events.Unknown, Reason: "no such app is watched"}}, nil
			}
			switch r.Version {
			case "":
				return []events.Fact{seen("web", "v1"), &events.TagLooked{App: r.App, New: []string{"v1"}}}, nil
			case "v1":
				return []events.Fact{&events.TagLooked{App: r.App, New: []string{}}}, nil
			case "v3":
				return []events.Fact{&events.TagLooked{App: r.App, New: []string{}}}, nil
			}
			return []events.Fact{
				&events.TagLooked{App: r.App, New: []string{}},
				&events.TagRefused{App: r.App, Version: r.Version, Reason: "there is no such tag"},
			}, nil
		}),
	})
	w.run("tag", "web", "--wait").expect(t, 0, "✓ web@v1 seen at commit aaaaaaaaaa", "✓ web new: v1")
	w.run("tag", "web@v1", "--wait").expect(t, 0, "✓ web no new version")
	w.run("tag", "web@v2", "--wait").expect(t, 4, "the look at the tags of web@v2 was refused: there is no such tag")
	w.run("tag", "web@v3", "--wait").expect(t, 4, "web@v3 is no version; see 'tagship status web'")
	w.run("tag", "wep", "--wait").expect(t, 4, "was refused: no such app is watched")
}
