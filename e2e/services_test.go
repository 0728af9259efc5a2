package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/events/eventstest"
)

// TestServicesKilled kills one service at every point, version after version,
// while the others go on.
func TestServicesKilled(t *testing.T) {
	t.Parallel()
	for service, points := range crashPoints() {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, map[string]recipe{"web": both()})
			c.startAll()
			c.repos["web"].tag("v1.0.0")
			c.delivered("web", "v1.0.0")
			tagged := []string{"v1.0.0"}
			for n, point := range points {
				victim := c.restart(service+"-1", "TAGSHIP_CRASH="+point)
				version := fmt.Sprintf("v1.%d.0", n+1)
				c.repos["web"].tag(version)
				tagged = append(tagged, version)
				victim.crashed()
				t.Logf("%s was killed at %s", service, point)
				c.start(service + "-1")
				c.delivered("web", tagged...)
				c.onlyRuns(1, c.built("web", version).Image.Digest)
			}
			c.stopAll()
		})
	}
}

// TestServicesKilledAtWork kills services in the middle of what they do to others.
func TestServicesKilledAtWork(t *testing.T) {
	t.Parallel()
	c := newCluster(t, map[string]recipe{"web": both()})
	c.startAll()
	var tagged []string
	// killed tags a version, kills a service, and expects what is expected without that.
	killed := func(replica, where string, await func(version string, kill func())) {
		t.Helper()
		version := fmt.Sprintf("v1.%d.0", len(tagged))
		tagged = append(tagged, version)
		await(version, c.running[replica].kill)
		if c.running[replica].running() {
			t.Fatalf("%s still runs, expected that it is killed %s", replica, where)
		}
		c.start(replica)
		c.delivered("web", tagged...)
		c.onlyRuns(1, c.built("web", version).Image.Digest)
		t.Logf("%s was killed %s", replica, where)
	}
	web := c.repos["web"]
	killed("builder-1", "while the app compiles", func(version string, kill func()) {
		g := web.gate()
		web.tag(version)
		g.reached()
		kill()
		g.open()
	})
	onRequest := func(wanted func(r *http.Request, version string) bool) func(string, func()) {
		return func(version string, kill func()) {
			hit := make(chan struct{})
			c.during(func(r *http.Request) bool { return wanted(r, version) }, func() { kill(); close(hit) })
			web.tag(version)
			select {
			case <-hit:
			case <-time.After(eventstest.Patience):
				t.Fatalf("the registry was not asked for what was waited for")
			}
		}
	}
	killed("builder-1", "before it pushes a manifest", onRequest(func(r *http.Request, _ string) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
	}))
	killed("releaser-1", "while it pulls an image", onRequest(func(r *http.Request, version string) bool {
		built := c.record.Facts("build.done.web." + strings.ReplaceAll(version, ".", "=2E"))
		return len(built) > 0 && r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v2/web/blobs/") &&
			!fromPackageSet(r, version)
	}))
	killed("cdnpush-1", "between two files", onRequest(func(r *http.Request, version string) bool {
		digest := sha256.Sum256([]byte(packageContent("web", version, "two")))
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, fmt.Sprintf("/blobs/sha256:%x", digest))
	}))
	killed("cdnpush-1", "about when it moves the pointer", func(version string, kill func()) {
		web.tag(version)
		path := filepath.Join(c.packages(), "beta", "web", version, "SHA256SUMS")
		for deadline := time.Now().Add(eventstest.Patience); ; {
			if _, err := os.Stat(path); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s did not come to be", path)
			}
		}
		kill()
	})
	c.stopAll()
}

func fromPackageSet(r *http.Request, version string) bool {
	for _, part := range []string{"one", "two"} {
		digest := sha256.Sum256([]byte(packageContent("web", version, part)))
		if strings.HasSuffix(r.URL.Path, fmt.Sprintf("sha256:%x", digest)) {
			return true
		}
	}
	return false
}

// natsAway is for how long NATS is away: long enough for everybody to notice,
// and for leases to end.
const natsAway = 3 * time.Second

// TestNATSRestarted takes NATS away while a version compiles, and while several
// are on their way.
func TestNATSRestarted(t *testing.T) {
	t.Parallel()
	c := newCluster(t, map[string]recipe{"web": both()})
	c.startAll()
	c.repos["web"].tag("v1.0.0")
	c.delivered("web", "v1.0.0")
	address := c.released("dev", "web", "v1.0.0").Address

	g := c.repos["web"].gate()
	c.repos["web"].tag("v1.1.0")
	g.reached()
	c.server.Stop()
	<-time.After(natsAway)
	c.answers(address, "web v1.0.0") // what runs needs no NATS
	c.server.Start()
	g.open()
	c.delivered("web", "v1.0.0", "v1.1.0")

	for _, version := range []string{"v1.2.0", "v1.3.0", "v1.4.0"} {
		c.repos["web"].tag(version)
	}
	c.built("web", "v1.2.0")
	c.server.Stop()
	<-time.After(natsAway)
	c.server.Start()
	c.deliveredBurst("web", "v1.2.0", "v1.3.0", "v1.4.0")
	c.onlyRuns(1, c.built("web", "v1.4.0").Image.Digest)
	c.stopAll()
}

// TestReplicas runs two of each service that may have replicas, and kills one of
// each while many versions are on their way.
func TestReplicas(t *testing.T) {
	t.Parallel()
	c := newCluster(t, map[string]recipe{"web": both(), "api": both()})
	c.start("releaser-1")
	replicated := []string{"tagwatch", "builder", "cdnpush"}
	for _, service := range replicated {
		c.start(service + "-1")
		c.start(service + "-2")
	}
	c.watched("web")
	c.watched("api")
	var tagged []string
	for n := range 5 {
		version := fmt.Sprintf("v1.%d.0", n)
		tagged = append(tagged, version)
		c.repos["web"].tag(version)
		c.repos["api"].tag(version)
		if n < len(replicated) {
			c.built("web", version)
			c.running[replicated[n]+"-1"].kill()
		}
	}
	c.deliveredBurst("web", tagged...)
	c.deliveredBurst("api", tagged...)
	for _, service := range replicated {
		delete(c.running, service+"-1")
	}
	c.stopAll()
}
