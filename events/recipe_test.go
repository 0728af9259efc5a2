package events_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/tagship/tagship/events"
)

func TestValidateRecipe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*events.Recipe)
		err    string
	}{
		{"good", func(*events.Recipe) {}, ""},
		{"image only", func(r *events.Recipe) { r.Packages = nil }, ""},
		{"image that is not released", func(r *events.Recipe) { r.Deploy = nil }, ""},
		{"packages only", func(r *events.Recipe) { r.Image, r.Deploy = nil, nil }, ""},
		{"no port", func(r *events.Recipe) { r.Deploy.Port, r.Deploy.Health.HTTP = 0, "" }, ""},

		{"empty", func(r *events.Recipe) { *r = events.Recipe{} },
			"build.run is missing, expected the command that compiles the app; image is missing, and so are packages: there would be nothing to ship"},
		{"blank command", func(r *events.Recipe) { r.Build.Run[1] = " \n" }, "build.run[1] is empty"},
		{"build variables", func(r *events.Recipe) { r.Build.Env = map[string]string{"": "a", "B=C": "b", "NUL": "\x00"} },
			`build.env has "", which cannot be the name of a variable; build.env has "B=C", which cannot be the name of a variable; build.env has a zero byte in the value of "NUL"`},
		{"cache", func(r *events.Recipe) { r.Build.Cache[1] = "tmp" }, `build.cache[1] "tmp" is not an absolute path`},
		{"timeout", func(r *events.Recipe) { r.Build.Timeout = -1 }, "build.timeout is -1ns, expected a duration that is not negative"},

		{"image of nothing", func(r *events.Recipe) { *r.Image = events.RecipeImage{} },
			"image.layers is empty, expected at least one layer; image.entrypoint is missing, expected the program to run"},
		{"empty entrypoint", func(r *events.Recipe) { r.Image.Entrypoint[0] = "" }, "image.entrypoint is missing, expected the program to run"},
		{"unnamed layers", func(r *events.Recipe) { r.Image.Layers[0].Name, r.Image.Layers[1].Name = "", "" },
			"image.layers[0].name is missing; image.layers[1].name is missing"},
		{"layers of one name", func(r *events.Recipe) { r.Image.Layers[1].Name = "middleware" },
			`image.layers[1].name "middleware" is the name of an earlier layer too`},
		{"layer of nothing", func(r *events.Recipe) { r.Image.Layers[0].Copy = nil }, "image.layers[0].copy is empty, expected from: to"},
		{"layer from outside", func(r *events.Recipe) {
			r.Image.Layers[0].Copy = map[string]string{"../a": "/a", "/etc": "/b", "": "/c", "d/../..": "/d", "e\x00": "/e", "f/../g": "/f"}
		}, `image.layers[0].copy "" is not a path inside the source; image.layers[0].copy "../a" is not a path inside the source; ` +
			`image.layers[0].copy "/etc" is not a path inside the source; image.layers[0].copy "d/../.." is not a path inside the source; ` +
			`image.layers[0].copy "e\x00" is not a path inside the source`},
		{"layer to nowhere", func(r *events.Recipe) { r.Image.Layers[0].Copy = map[string]string{"a": "srv", "b": "", "c": "/c\x00"} },
			`image.layers[0].copy "srv" is not an absolute path; image.layers[0].copy "" is not an absolute path; image.layers[0].copy "/c\x00" is not an absolute path`},
		{"image variables", func(r *events.Recipe) { r.Image.Env = map[string]string{"A\x00": ""} }, `image.env has "A\x00", which cannot be the name of a variable`},
		{"workdir", func(r *events.Recipe) { r.Image.Workdir = "srv" }, `image.workdir "srv" is not an absolute path`},

		{"deploy of no image", func(r *events.Recipe) { r.Image = nil }, "deploy needs an image"},
		{"deploy of nothing", func(r *events.Recipe) { *r.Deploy = events.Deploy{} },
			"deploy.instances is 0, expected 1 to 1000; deploy.health.within is 0s, expected a duration such as 60s"},
		{"too many instances", func(r *events.Recipe) { r.Deploy.Instances = 1001 }, "deploy.instances is 1001, expected 1 to 1000"},
		{"port", func(r *events.Recipe) { r.Deploy.Port = 65536 }, "deploy.port is 65536, expected 1 to 65535, or 0 for none"},
		{"health path", func(r *events.Recipe) { r.Deploy.Health.HTTP = "healthz" }, `deploy.health.http "healthz" is not a path, expected one such as /healthz`},
		{"health of no port", func(r *events.Recipe) { r.Deploy.Port = 0 }, "deploy.health.http needs a port"},
		{"negative times", func(r *events.Recipe) { r.Deploy.Health.Soak, r.Deploy.StopGrace, r.Deploy.Health.Within = -1, -1, -1 },
			"deploy.health.within is -1ns, expected a duration such as 60s; deploy.health.soak is -1ns, expected a duration that is not negative; deploy.stop_grace is -1ns, expected a duration that is not negative"},
		{"deploy variables", func(r *events.Recipe) { r.Deploy.Env = map[string]string{"=": ""} }, `deploy.env has "=", which cannot be the name of a variable`},

		{"package of nothing", func(r *events.Recipe) { r.Packages[0] = events.RecipePackage{} }, "packages[0].file is missing, and so is deb"},
		{"package of both", func(r *events.Recipe) { r.Packages[0].Deb = r.Packages[1].Deb }, "packages[0].deb cannot stand beside file: a package is one or the other"},
		{"package from outside", func(r *events.Recipe) { r.Packages[0].File = "../agent" }, `packages[0].file "../agent" is not a path inside the source`},
		{"packages of one name", func(r *events.Recipe) {
			r.Packages = append(r.Packages, events.RecipePackage{File: "b/agent-{version}.tar.gz"})
		},
			`packages[2].file is published as "agent-{version}.tar.gz", as an earlier package is`},
		{"deb of nothing", func(r *events.Recipe) { *r.Packages[1].Deb = events.Deb{} },
			"packages[1].deb.name is missing; packages[1].deb.contents is empty, expected from: to"},
		{"deb contents", func(r *events.Recipe) { r.Packages[1].Deb.Contents = map[string]string{"../a": "b"} },
			`packages[1].deb.contents "../a" is not a path inside the source; packages[1].deb.contents "b" is not an absolute path`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := sampleRecipe()
			tt.change(&r)
			// Maps have no order, errors must: once more would not always tell.
			for range 20 {
				err := r.Validate()
				if tt.err == "" {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error\n%v, want\n%s", err, tt.err)
				}
			}
			if check := r.Check(); (check == nil) != (tt.err == "") {
				t.Errorf("Check says %v", check)
			}
		})
	}
}

func TestValidateDeploy(t *testing.T) {
	t.Parallel()
	d := sampleDeploy()
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	d.Instances = 0
	if err := d.Validate(); err == nil || err.Error() != "instances is 0, expected 1 to 1000" {
		t.Errorf("error %v", err)
	}
}

// One text in YAML, a list in YAML and on the wire.
func TestCommands(t *testing.T) {
	t.Parallel()
	var c events.Commands
	if err := c.UnmarshalText([]byte("make")); err != nil || !slices.Equal(c, events.Commands{"make"}) {
		t.Errorf("from text: %q, %v", c, err)
	}
	body, err := json.Marshal(c)
	if err != nil || string(body) != `["make"]` {
		t.Errorf("to JSON: %s, %v", body, err)
	}
	if err := json.Unmarshal([]byte(`["a","b"]`), &c); err != nil || !slices.Equal(c, events.Commands{"a", "b"}) {
		t.Errorf("from JSON: %q, %v", c, err)
	}
}
