package e2e_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/tagship/tagship/events/eventstest"
)

// cluster is the four services as processes of their own, with NATS and a
// registry beside them.
type cluster struct {
	pipeline
	server  *eventstest.Server
	repos   map[string]*repository
	config  string
	running map[string]*program // by replica, such as builder-1
	// request is called with every request to the registry before it is answered.
	request atomic.Pointer[func(*http.Request)]
}

// newCluster makes all that the services need, and starts none of them.
func newCluster(t *testing.T, apps map[string]recipe) *cluster {
	t.Helper()
	dir := t.TempDir()
	c := &cluster{
		pipeline: pipeline{t: t, dir: dir, data: filepath.Join(dir, "data"), apps: apps},
		server:   eventstest.NewServer(t, func(o *server.Options) { o.Port = freePort(t) }),
		repos:    map[string]*repository{},
		config:   filepath.Join(dir, "tagship.yaml"),
		running:  map[string]*program{},
	}
	for app, r := range apps {
		c.repos[app] = newRepository(t, dir, app, r)
	}
	if err := os.WriteFile(c.config, []byte(c.yaml(c.serveRegistry(), c.servePackages())), 0o644); err != nil {
		t.Fatal(err)
	}
	c.connect(c.server.URL())
	return c
}

func (c *cluster) serveRegistry() (address string) {
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if request := c.request.Load(); request != nil {
			(*request)(r)
		}
		images.ServeHTTP(w, r)
	}))
	c.t.Cleanup(served.Close)
	return served.Listener.Addr().String()
}

func (c *cluster) packages() string { return filepath.Join(c.dir, "packages") }

func (c *cluster) servePackages() (url string) {
	served := httptest.NewServer(http.FileServer(http.Dir(c.packages())))
	c.t.Cleanup(served.Close)
	return served.URL
}

func (c *cluster) yaml(registry, packages string) string {
	c.t.Helper()
	var apps, dev strings.Builder
	for app, r := range c.repos {
		fmt.Fprintf(&apps, "    %s: {repo: %q}\n", app, r.dir)
		fmt.Fprintf(&dev, "%s: %d, ", app, freePort(c.t))
	}
	return fmt.Sprintf(`nats: {url: %q, ack_wait: 3s, grace: 5s}
tagwatch:
  interval: 1s
  apps:
%sbuilder:
  registry: %s
  executor: host
releaser:
  environments:
    dev:  {target: {process: {ports: {%s}}}, promote: {from: build}}
    prod: {target: {process: {}}}
cdnpush:
  channels:
    beta:   {store: {folder: {path: %q, url: %q}}, promote: {from: build}}
    stable: {store: {folder: {path: %q, url: %q}}}
`, c.server.URL(), apps.String(), registry, dev.String(), c.packages(), packages, c.packages(), packages)
}

// start starts a replica of a service, such as builder-1.
func (c *cluster) start(replica string, env ...string) *program {
	c.t.Helper()
	service, _, _ := strings.Cut(replica, "-")
	p := start(c.t, c.dir, env, service, "--config", c.config, "--data", filepath.Join(c.data, replica), "--log-format", "json")
	c.running[replica] = p
	return p
}

// startAll starts one of each service, and waits until every app was looked at.
func (c *cluster) startAll() {
	c.t.Helper()
	for _, service := range services() {
		c.start(service + "-1")
	}
	for app := range c.apps {
		c.watched(app)
	}
}

// restart ends a replica well and starts it again.
func (c *cluster) restart(replica string, env ...string) *program {
	c.t.Helper()
	c.running[replica].stop()
	return c.start(replica, env...)
}

// stopAll ends every service well, and expects that nothing is left of them.
func (c *cluster) stopAll() {
	c.t.Helper()
	for _, p := range c.running {
		p.signal(syscall.SIGTERM)
	}
	for replica, p := range c.running {
		if code := p.exited(30 * time.Second); code != 0 {
			c.t.Fatalf("%s exited with %d after SIGTERM:\n%s", replica, code, p.output.tail())
		}
	}
	c.nothingRuns()
}

// during calls do with the first request to the registry that is as wanted,
// before the request is answered.
func (c *cluster) during(wanted func(*http.Request) bool, do func()) {
	var done atomic.Bool
	request := func(r *http.Request) {
		if wanted(r) && done.CompareAndSwap(false, true) {
			do()
		}
	}
	c.request.Store(&request)
}
