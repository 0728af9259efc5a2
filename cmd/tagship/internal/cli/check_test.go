package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/cmd/tagship/internal/cli"
	"github.com/tagship/tagship/events/eventstest"
)

const goodConfig = `nats: {url: nats://127.0.0.1:4222}
tagwatch:
  apps:
    web: {repo: github.com/acme/web}
releaser:
  environments:
    dev: {promote: {from: build}}
    prod: {}
`

const goodRecipe = `build: {run: make}
image:
  layers: [{name: app, copy: {out/web: /web}}]
  entrypoint: [/web]
deploy: {instances: 2, port: 8080}
packages: [{file: out/web.tar.gz}]
`

func TestCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "good.yaml"), goodConfig)
	bare(t, "check", good).expect(t, 0, good+": no problem in nats, tagwatch, ")
	part := write(t, filepath.Join(dir, "part.yaml"), "tagwatch: {}\n")
	bare(t, "check", part).expect(t, 0, part+": no problem in nats, tagwatch; there is no builder, releaser, cdnpush\n")
	laptop := write(t, filepath.Join(dir, "laptop.yaml"), "builder: {}\n")
	bare(t, "check", laptop).expect(t, 0, "note: builder.registry is missing, expected where images are pushed to, such as registry.internal:5000; 'tagship up' fills it in")

	bad := write(t, filepath.Join(dir, "bad.yaml"), `nats: {replicas: 2}
tagwatch:
  intervall: 5s
  apps:
    web: {tags: "v*"}
releaser:
  environments:
    dev: {promote: {from: tset}}
biulder: {}
`)
	r := bare(t, "check", bad)
	r.expect(t, 2)
	golden(t, "check", strings.ReplaceAll(r.err, dir+"/", ""))

	bare(t, "check", filepath.Join(dir, "none.yaml")).expect(t, 2, "none.yaml does not exist")
	syntax := write(t, filepath.Join(dir, "syntax.yaml"), "nats: {\n")
	bare(t, "check", syntax).expect(t, 2, "syntax.yaml:1:", "invalid YAML", "1 problem in")
}

func TestCheckRecipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recipe := write(t, filepath.Join(dir, ".tagship.yaml"), goodRecipe)
	for _, args := range [][]string{{"check", dir}, {"check", recipe}, {"check", "--recipe", recipe}} {
		bare(t, args...).expect(t, 0, ".tagship.yaml: no problem; an image of 1 layer, 1 package, deployed as 2 instances")
	}
	bad := write(t, filepath.Join(dir, "bad.yaml"), "build: {}\nimage: {layers: [{name: a, copy: {../x: /y}}], entrypont: [/a]}\n")
	r := bare(t, "check", "--recipe", bad)
	r.expect(t, 2)
	golden(t, "check-recipe", strings.ReplaceAll(r.err, dir+"/", ""))
}

func TestSetup(t *testing.T) {
	t.Parallel()
	server := eventstest.NewServer(t)
	path := write(t, filepath.Join(t.TempDir(), "tagship.yaml"), strings.ReplaceAll(goodConfig, "nats://127.0.0.1:4222", server.URL()))
	for range 2 {
		r := bare(t, "setup", "-f", path)
		r.expect(t, 0)
		golden(t, "setup", strings.NewReplacer(server.URL(), "<url>", path, "tagship.yaml").Replace(r.out))
	}
	bare(t, "lag", "--nats", server.URL()).expect(t, 0, "releaser-dev-promote  BUILDS")
	bare(t, "setup", "-f", write(t, path, "nats: {replicas: 2}\n")).expect(t, 2, "nats.replicas: is 2, expected 1, 3 or 5")
}

// The generated files in docs/ are what the types say.
func TestDocs(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"configuration.md":    {"config", "docs"},
		"tagship.schema.json": {"config", "schema"},
		"recipe.schema.json":  {"config", "recipe-schema"},
	} {
		r := bare(t, args...)
		r.expect(t, 0)
		path := filepath.Join("..", "..", "..", "..", "docs", name)
		if *update {
			if err := os.WriteFile(path, []byte(r.out), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(have), r.out); diff != "" {
			t.Errorf("docs/%s is not what the types say; write it with 'go test ./internal/cli -run Docs -update' (-have +generated):\n%s", name, diff)
		}
	}
}

// Every key of the reference says what it means.
func TestReferenceIsComplete(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := cli.WriteReference(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if strings.HasPrefix(line, "| `") && strings.HasSuffix(line, "|  |") {
			t.Errorf("no meaning is given: %s", line)
		}
	}
}
