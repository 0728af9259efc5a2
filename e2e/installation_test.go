package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tagship/tagship/events/eventstest"
)

// installation is "tagship up" on a folder, started and ended as often as a test wants.
type installation struct {
	pipeline
	config string
	listen string
	repos  map[string]*repository
	up     *program
	run    runFile
}

// runFile is run.json.
type runFile struct {
	PID      int                          `json:"pid"`
	NATS     string                       `json:"nats"`
	Registry string                       `json:"registry"`
	CDN      string                       `json:"cdn"`
	Apps     map[string]map[string]string `json:"apps"`
}

// both is an app with everything.
func both() recipe { return recipe{image: true, packages: true} }

// newInstallation makes repositories and a configuration, and starts nothing yet.
func newInstallation(t *testing.T, apps map[string]recipe) *installation {
	t.Helper()
	dir := t.TempDir()
	i := &installation{
		pipeline: pipeline{t: t, dir: dir, data: filepath.Join(dir, "data"), apps: apps},
		config:   filepath.Join(dir, "tagship.yaml"),
		listen:   fmt.Sprintf("127.0.0.1:%d", freePort(t)),
		repos:    map[string]*repository{},
	}
	for app, r := range apps {
		i.repos[app] = newRepository(t, dir, app, r)
	}
	i.configure(i.upConfig())
	return i
}

func (i *installation) configure(yaml string) {
	i.t.Helper()
	if err := os.WriteFile(i.config, []byte(yaml), 0o644); err != nil {
		i.t.Fatal(err)
	}
}

// upConfig has dev promoted from builds and prod by request, all on this machine,
// and times as short as they may be.
func (i *installation) upConfig() string {
	i.t.Helper()
	var apps, dev, prod strings.Builder
	for app, r := range i.repos {
		fmt.Fprintf(&apps, "    %s: {repo: %q}\n", app, r.dir)
		fmt.Fprintf(&dev, "%s: %d, ", app, freePort(i.t))
		fmt.Fprintf(&prod, "%s: %d, ", app, freePort(i.t))
	}
	cdn := freePort(i.t)
	return fmt.Sprintf(`nats: {url: "nats://127.0.0.1:%d", ack_wait: 3s, grace: 5s}
tagwatch:
  interval: 1s
  apps:
%sbuilder:
  registry: 127.0.0.1:%d
  executor: host
releaser:
  environments:
    dev:  {target: {process: {ports: {%s}}}, promote: {from: build}}
    prod: {target: {process: {ports: {%s}}}}
cdnpush:
  channels:
    beta:   {store: {folder: {listen: "127.0.0.1:%d"}}, promote: {from: build}}
    stable: {store: {folder: {listen: "127.0.0.1:%d"}}}
`, freePort(i.t), apps.String(), freePort(i.t), dev.String(), prod.String(), cdn, cdn)
}

// begin starts the process without waiting for anything.
func (i *installation) begin(env ...string) *program {
	i.t.Helper()
	return start(i.t, i.dir, env, "tagship", "up", "--config", i.config, "--data", i.data, "--listen", i.listen, "--log-level", "info", "--log-format", "json")
}

// start starts the process and waits until everything answers.
func (i *installation) start(env ...string) {
	i.t.Helper()
	i.up = i.begin(env...)
	eventstest.Eventually(i.t, func() error {
		if !i.up.running() {
			i.t.Fatalf("tagship up ended (%v):\n%s", i.up.cmd.ProcessState, i.up.output.tail())
		}
		i.run = runFile{}
		body, err := os.ReadFile(filepath.Join(i.data, "run.json"))
		if err == nil {
			err = json.Unmarshal(body, &i.run)
		}
		if err == nil && i.run.PID != i.up.cmd.Process.Pid {
			err = fmt.Errorf("run.json is of process %d, not of %d", i.run.PID, i.up.cmd.Process.Pid)
		}
		return err
	})
	if i.bus == nil {
		i.connect(i.run.NATS)
	}
	if i.run.NATS != i.nats {
		i.t.Fatalf("NATS answered at %s, after a restart at %s", i.nats, i.run.NATS)
	}
}

// startWatched starts the process and waits until every app was looked at.
func (i *installation) startWatched(env ...string) {
	i.t.Helper()
	i.start(env...)
	for app := range i.apps {
		i.watched(app)
	}
}

// status is what "tagship status --json" prints.
type status struct {
	Apps []struct {
		App        string
		Repository *struct{ Error string }
	}
	InFlight []struct{ Step, App, Version, State string } `json:"in_flight"`
	Problems []struct {
		Kind, App, Version, Place, Reason, Running string
	}
	DeadLetters []struct {
		Subject, Reason string
	} `json:"dead_letters"`
	Services []struct {
		Name      string
		Processes int
	}
}

func (i *installation) status() (s status, raw string) {
	i.t.Helper()
	code, stdout, stderr := tagship(i.t, i.dir, "status", "--json", "--data", i.data)
	if code != 0 {
		i.t.Fatalf("tagship status exited with %d: %s", code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		i.t.Fatalf("tagship status --json: %v:\n%s", err, stdout)
	}
	return s, stdout
}
