package events_test

import (
	"strings"
	"time"

	"github.com/tagship/tagship/events"
)

const (
	commitA = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
	commitB = "f0e1d2c3b4a5968778695a4b3c2d1e0ffedcba98"
)

// digestOf is a digest that is told apart from others by one digit.
func digestOf(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// headOf is the head of a fact with everything in it.
func headOf(id, stream string, seq uint64) events.Meta {
	return events.Meta{
		ID:    id,
		At:    time.Date(2026, 3, 14, 15, 9, 26, 535_000_000, time.UTC),
		By:    "ann",
		Cause: &events.Cause{Stream: stream, Seq: seq},
	}
}

func sampleRecipe() events.Recipe {
	return events.Recipe{
		Build: events.Build{
			Toolchain: "golang:1.26",
			Run:       events.Commands{"go vet ./... && go test ./...", "go build -o out/web ./cmd/web"},
			Env:       map[string]string{"CGO_ENABLED": "0"},
			Cache:     []string{"/go/pkg/mod", "/root/.cache/go-build"},
			Timeout:   events.Duration(30 * time.Minute),
		},
		Image: &events.RecipeImage{
			Base: "gcr.io/distroless/static",
			Layers: []events.Layer{
				{Name: "middleware", Copy: map[string]string{"vendor-data/": "/srv/data/"}},
				{Name: "app", Copy: map[string]string{"out/web": "/usr/local/bin/web"}},
			},
			Entrypoint: []string{"/usr/local/bin/web", "--quiet"},
			Env:        map[string]string{"LANG": "C.UTF-8"},
			User:       "65532",
			Workdir:    "/srv",
		},
		Deploy: sampleDeploy(),
		Packages: []events.RecipePackage{
			{File: "out/agent-{version}.tar.gz"},
			{Deb: &events.Deb{
				Name:        "agent",
				Arch:        "amd64",
				Maintainer:  "Ann <ann@example.org>",
				Description: "Looks & tells.",
				Depends:     []string{"libc6"},
				Contents:    map[string]string{"out/agent": "/usr/bin/agent"},
			}},
		},
	}
}

func sampleDeploy() *events.Deploy {
	return &events.Deploy{
		Instances: 2,
		Port:      8080,
		Health:    events.Health{HTTP: "/healthz", Within: events.Duration(time.Minute), Soak: events.Duration(10 * time.Second)},
		Env:       map[string]string{"LOG_LEVEL": "info"},
		StopGrace: events.Duration(10 * time.Second),
	}
}

// sample is a fact and the subject it belongs on.
type sample struct {
	subject string
	fact    events.Fact
	variant string // tells apart several samples of a kind
}

// file is the name of the sample's golden file.
func (s sample) file() string { return string(s.fact.Kind()) + s.variant + ".json" }

func sampleRelease() events.Release {
	return events.Release{Env: "prod", App: "team/web", Version: "v1.2.3", Digest: digestOf("a")}
}

// samples has one fact of every kind, with every field set, and variants without
// the fields that older facts do not have.
func samples() []sample {
	return []sample{
		{"tag.seen.team=2Fweb.v1=2E2=2E3", &events.TagSeen{
			Meta: headOf("tag.seen.team=2Fweb.v1=2E2=2E3", "TAGS", 6),
			App:  "team/web", Version: "v1.2.3", Tag: "team/web/v1.2.3",
			Repo: "github.com/acme/mono", RepoID: "42", Object: commitB, Commit: commitA,
			Source: events.Source{Digest: digestOf("5"), Size: 20480},
			Recipe: sampleRecipe(),
		}, ""},
		{"tag.seen.team=2Fweb.v1=2E2=2E3", &events.TagSeen{
			Meta: headOf("tag.seen.team=2Fweb.v1=2E2=2E3", "TAGS", 6),
			App:  "team/web", Version: "v1.2.3", Tag: "team/web/v1.2.3", Repo: "github.com/acme/mono", Commit: commitA,
			Source: events.Source{Digest: digestOf("5"), Size: 20480},
			Recipe: sampleRecipe(),
		}, ".older"},
		{"tag.moved.web.v1=2E2=2E3", &events.TagMoved{
			Meta: headOf("tag.moved.web.v1=2E2=2E3@TAGS:6", "TAGS", 6),
			App:  "web", Version: "v1.2.3", Tag: "v1.2.3", Repo: "github.com/acme/web", Old: commitA, New: commitB,
			Pusher: "mallory", Suspicion: "3 tags were moved to the same commit",
		}, ""},
		{"tag.moved.web.v1=2E2=2E3", &events.TagMoved{
			Meta: headOf("tag.moved.web.v1=2E2=2E3@TAGS:6", "TAGS", 6),
			App:  "web", Version: "v1.2.3", Tag: "v1.2.3", Repo: "/srv/git/web.git", Old: commitA, New: commitB,
		}, ".older"},
		{"tag.deleted.web.v1=2E2=2E3", &events.TagDeleted{
			Meta: headOf("tag.deleted.web.v1=2E2=2E3@0a1b2c3d@1", "HOOKS", 3),
			App:  "web", Version: "v1.2.3", Tag: "v1.2.3", Repo: "github.com/acme/web", Commit: commitA, Pusher: "mallory",
		}, ""},
		{"tag.deleted.web.v1=2E2=2E3", &events.TagDeleted{
			Meta: headOf("tag.deleted.web.v1=2E2=2E3@0a1b2c3d@1", "HOOKS", 3),
			App:  "web", Version: "v1.2.3", Tag: "v1.2.3", Repo: "/srv/git/web.git", Commit: commitA,
		}, ".nameless"},
		{"tag.refused.web.v1=2E2=2E3", &events.TagRefused{
			Meta: headOf("tag.refused.web.v1=2E2=2E3@TAGS:6", "TAGS", 6),
			App:  "web", Version: "v1.2.3", Tag: "v1.2.3", Commit: commitA, Repo: "github.com/acme/web", RepoID: "42",
			Reason: ".tagship.yaml:3:1: build.run is missing",
		}, ""},
		{"tag.refused.web.v1=2E2=2E3", &events.TagRefused{
			Meta: headOf("tag.refused.web.v1=2E2=2E3@TAGS:6", "TAGS", 6),
			App:  "web", Version: "v1.2.3", Tag: "v1.2.3", Commit: commitA, Reason: ".tagship.yaml:3:1: build.run is missing",
		}, ".older"},
		{"tag.looked.web", &events.TagLooked{
			Meta: headOf("tag.looked.web@TAGS:6", "TAGS", 6),
			App:  "web", New: []string{"v1.2.3", "v1.2.4-rc.1"},
		}, ""},

		{"build.started.web.v1=2E2=2E3", &events.BuildStarted{
			Meta: headOf("build.started.web.v1=2E2=2E3@TAGS:7", "TAGS", 7),
			App:  "web", Version: "v1.2.3", Commit: commitA, Executor: "docker",
		}, ""},
		{"build.done.web.v1=2E2=2E3", &events.BuildDone{
			Meta: headOf("build.done.web.v1=2E2=2E3", "TAGS", 7),
			App:  "web", Version: "v1.2.3", Commit: commitA, TagSeq: 7,
			Toolchain:  "golang@" + digestOf("7"),
			Image:      &events.Image{Repository: "registry.internal:5000/web", Digest: digestOf("a")},
			PackageSet: &events.Image{Repository: "registry.internal:5000/web", Digest: digestOf("b")},
			Packages:   []events.Package{{Name: "agent_1.2.3_amd64.deb", Digest: digestOf("c"), Size: 1234567}},
			Deploy:     sampleDeploy(),
			Took:       events.Duration(83 * time.Second),
		}, ""},
		{"build.failed.web.v1=2E2=2E3", &events.BuildFailed{
			Meta: headOf("build.failed.web.v1=2E2=2E3@TAGS:7", "TAGS", 7),
			App:  "web", Version: "v1.2.3", Reason: "go build ended with exit status 1",
		}, ""},
		{"build.refused.web._", &events.BuildRefused{
			Meta: headOf("build.refused.web._@BUILDS:8", "BUILDS", 8),
			App:  "web", Version: events.Unknown, Reason: "version is missing",
		}, ""},

		{"release.wanted.prod.team=2Fweb", &events.ReleaseWanted{
			Meta:    headOf("release.wanted.prod.team=2Fweb@RELEASES:9", "RELEASES", 9),
			Release: sampleRelease(), TagSeq: 7, Promoted: "demo",
		}, ""},
		{"release.started.prod.team=2Fweb", &events.ReleaseStarted{
			Meta:    headOf("release.started.prod.team=2Fweb@RELEASES:10", "RELEASES", 10),
			Release: sampleRelease(), ReleaseID: "prod-web-10", Replaces: "v1.2.2",
		}, ""},
		{"release.done.prod.team=2Fweb", &events.ReleaseDone{
			Meta:    headOf("release.done.prod.team=2Fweb@RELEASES:10", "RELEASES", 10),
			Release: sampleRelease(), ReleaseID: "prod-web-10", Unchanged: true, Address: "http://127.0.0.1:8081",
			Instances: 2, TagSeq: 7, Took: events.Duration(21500 * time.Millisecond),
		}, ""},
		{"release.failed.prod.team=2Fweb", &events.ReleaseFailed{
			Meta:    headOf("release.failed.prod.team=2Fweb@RELEASES:10", "RELEASES", 10),
			Release: sampleRelease(), ReleaseID: "prod-web-10", Reason: "not healthy within 1m0s: GET /healthz answers 500", Running: "v1.2.2",
		}, ""},
		{"release.refused.pr=C3=B6d=20=21._", &events.ReleaseRefused{
			Meta: headOf("release.refused.pr=C3=B6d=20=21._@RELEASES:9", "RELEASES", 9),
			Env:  "pröd !", App: events.Unknown, Version: events.Unknown, Reason: "there is no environment pröd !",
		}, ""},

		{"cdn.started.beta.agent", &events.CDNStarted{
			Meta:    headOf("cdn.started.beta.agent@BUILDS:11", "BUILDS", 11),
			Channel: "beta", App: "agent", Version: "1.2.3",
		}, ""},
		{"cdn.done.beta.agent", &events.CDNDone{
			Meta:    headOf("cdn.done.beta.agent@BUILDS:11", "BUILDS", 11),
			Channel: "beta", App: "agent", Version: "1.2.3",
			Files:     []events.Download{{URL: "https://dl.example.org/beta/agent_1.2.3_amd64.deb", Digest: digestOf("c"), Size: 1234567}},
			Unchanged: true, Latest: true, TagSeq: 7, Took: events.Duration(1500 * time.Millisecond),
		}, ""},
		{"cdn.failed.beta.agent", &events.CDNFailed{
			Meta:    headOf("cdn.failed.beta.agent@BUILDS:11", "BUILDS", 11),
			Channel: "beta", App: "agent", Version: "1.2.3", Reason: "agent_1.2.3_amd64.deb is there already with other bytes",
		}, ""},
		{"cdn.refused.no=2Fchannel._", &events.CDNRefused{
			Meta:    headOf("cdn.refused.no=2Fchannel._@CDN:12", "CDN", 12),
			Channel: "no/channel", App: events.Unknown, Version: events.Unknown, Reason: "there is no channel no/channel",
		}, ""},
	}
}
