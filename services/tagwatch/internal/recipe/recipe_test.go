package recipe

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
)

const good = `
build:
  toolchain: golang:1.26
  run: go build -trimpath -o out/web ./cmd/web
  env: {TOKEN: "${HOME}", CGO_ENABLED: "0"}
  cache: [/go/pkg/mod]
image:
  base: gcr.io/distroless/static
  layers:
    - {name: app, copy: {out/web: /usr/local/bin/web}}
  entrypoint: [/usr/local/bin/web]
deploy:
  instances: 2
  port: 8080
  health: {http: /healthz}
packages:
  - {file: out/web.tar.gz}
`

func TestRead(t *testing.T) {
	t.Parallel()
	got, err := Read("web@v1:.tagship.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	want := events.Recipe{
		Build: events.Build{
			Toolchain: "golang:1.26",
			Run:       events.Commands{"go build -trimpath -o out/web ./cmd/web"},
			Env:       map[string]string{"TOKEN": "${HOME}", "CGO_ENABLED": "0"},
			Cache:     []string{"/go/pkg/mod"},
			Timeout:   events.Duration(30 * time.Minute),
		},
		Image: &events.RecipeImage{
			Base:       "gcr.io/distroless/static",
			Layers:     []events.Layer{{Name: "app", Copy: map[string]string{"out/web": "/usr/local/bin/web"}}},
			Entrypoint: []string{"/usr/local/bin/web"},
		},
		Deploy: &events.Deploy{
			Instances: 2, Port: 8080,
			Health:    events.Health{HTTP: "/healthz", Within: events.Duration(time.Minute), Soak: events.Duration(10 * time.Second)},
			StopGrace: events.Duration(10 * time.Second),
		},
		Packages: []events.RecipePackage{{File: "out/web.tar.gz"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recipe (-want +got):\n%s", diff)
	}
}

func TestReadNamesEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := Read("web@v1.0.0:.tagship.yaml", []byte(`build:
  run: make
  cahce: [/x]
image:
  layers:
    - {name: app, copy: {../etc: relative}}
  entrypoint: [web]
deploy:
  instances: many
`))
	var problems config.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, expected Problems", err)
	}
	for _, want := range []string{"web@v1.0.0:.tagship.yaml:3:3: build.cahce", "cache", "web@v1.0.0:.tagship.yaml:9:", "deploy.instances"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in:\n%v", want, err)
		}
	}
	for _, text := range []string{"", "[", "- a\n", "build: {}\n", strings.Repeat("a: ", 100)} {
		if _, err := Read("x", []byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
