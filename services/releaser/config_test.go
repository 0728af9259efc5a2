package releaser_test

import (
	"strings"
	"testing"

	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/services/releaser"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		want []string // what the problems say; none if it is valid
	}{
		"least": {`{environments: {dev: {}}}`, nil},
		"full": {`
environments:
  dev: {target: {docker: {host: "tcp://engine:2375", ports: {web: 8081}}}, promote: {from: build}}
  demo: {target: {process: {listen: 0.0.0.0, ports: {web: 8082}}}, promote: {from: dev, soak: 10m, apps: [web, team/api]}}
  prod: {}
registries: {"registry:5000": {username: releaser, password: hidden}}
slots: 2
give_up: 30m
stop_on_exit: true`, nil},
		"no environments": {`{}`, []string{"environments"}},
		"two targets":     {`{environments: {dev: {target: {docker: {}, process: {}}}}}`, []string{"has docker and process, expected one of them"}},
		"unknown source":  {`{environments: {dev: {promote: {from: prod}}}}`, []string{`"prod" is no environment, expected build or one of dev`}},
		"circle": {`{environments: {a: {promote: {from: b}}, b: {promote: {from: c}}, c: {promote: {from: a}}}}`,
			[]string{"goes round in a circle: a from b from c from a"}},
		"itself":         {`{environments: {a: {promote: {from: a}}}}`, []string{"goes round in a circle: a from a"}},
		"reserved names": {`{environments: {build: {}, requests: {}, dev-promote: {}}}`, []string{`"build" cannot be`, `"requests" cannot be`, `"dev-promote" cannot be`}},
		"ports": {`{environments: {dev: {target: {process: {ports: {web: 70000, api: 81}}}}, prod: {target: {docker: {ports: {web: 81}}}}}}`,
			[]string{"is 70000, expected a port", "is 81, which environments.dev.target.process.ports.api has"}},
		"unknown key": {`{environments: {dev: {targett: {}}}}`, []string{"targett"}},
		"numbers":     {`{environments: {dev: {}}, slots: 0, give_up: 0s}`, []string{"is 0, expected 1 to 1000", "give_up"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := config.Parse("tagship.yaml", []byte("releaser: "+indent(test.text)), nil)
			if err != nil {
				t.Fatal(err)
			}
			var section releaser.Config
			err = file.Section(releaser.Name, &section)
			if len(test.want) == 0 && err != nil {
				t.Errorf("got %v, expected no problem", err)
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, expected %q", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "hidden") {
				t.Error("a problem shows the password")
			}
		})
	}
}

func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n  ") }
