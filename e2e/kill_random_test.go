package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/events/eventstest"
)

// TestUpKilledAtWork kills the whole process in the middle of what it does to
// files and processes.
func TestUpKilledAtWork(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": both()})
	i.startWatched()
	web := i.repos["web"]
	g := web.gate()
	tagged := []string{"v1.0.0"}
	web.tag("v1.0.0")
	g.reached()
	i.up.kill()
	g.again()
	i.start()
	g.reached()
	// What waited at the gate before is a leftover that this start has ended.
	if waiting, err := processesIn(filepath.Join(i.data, "builder")); err != nil || len(waiting) != 1 {
		t.Errorf("expected one build at work, saw %q (%v)", waiting, err)
	}
	g.open()
	i.delivered("web", tagged...)
	t.Log("killed while the app compiles")

	killed := func(where string, await func(version string)) {
		t.Helper()
		version := fmt.Sprintf("v1.%d.0", len(tagged))
		tagged = append(tagged, version)
		await(version)
		i.up.kill()
		t.Logf("killed %s", where)
		i.start()
		i.delivered("web", tagged...)
		i.onlyRuns(1, i.built("web", version).Image.Digest)
	}
	appears := func(of func(version string) string) func(string) {
		return func(version string) {
			web.tag(version)
			there(t, of(version))
		}
	}
	published := func(name string) func(string) string {
		return func(version string) string {
			return filepath.Join(i.data, "cdn", "beta", "web", version, strings.ReplaceAll(name, "VERSION", version))
		}
	}
	killed("after the first file was published", appears(published("web-one-VERSION.bin")))
	killed("about when the pointer moves", appears(published("SHA256SUMS")))
	killed("while the release starts", appears(func(version string) string {
		digest := strings.TrimPrefix(i.built("web", version).Image.Digest, "sha256:")
		return filepath.Join(i.data, "releaser", "images", "*"+digest+"*")
	}))
	i.up.stop()
	i.nothingRuns()
}

// there waits until a file that matches a pattern is there, as closely as can be
// told from outside.
func there(t *testing.T, pattern string) {
	t.Helper()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for deadline := time.Now().Add(eventstest.Patience); ; <-tick.C {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come to be", pattern)
		}
	}
}

// TestUpKilledAtRandom kills the whole process again and again at whatever it
// does, with many versions of two apps on their way.
func TestUpKilledAtRandom(t *testing.T) {
	t.Parallel()
	const kills, most = 8, 4 * time.Second
	seed := sha256.Sum256([]byte(t.Name() + time.Now().String()))
	random := rand.New(rand.NewChaCha8(seed))
	i := newInstallation(t, map[string]recipe{"web": both(), "api": both()})
	i.startWatched()
	var tagged []string
	var moments []time.Duration
	for n := range kills {
		version := fmt.Sprintf("v1.%d.0", n)
		tagged = append(tagged, version)
		i.repos["web"].tag(version)
		i.repos["api"].tag(version)
		moment := time.Duration(random.Int64N(int64(most)))
		moments = append(moments, moment.Round(time.Millisecond))
		<-time.After(moment)
		i.up.kill()
		i.start()
	}
	t.Logf("killed %v after each start", moments)
	for app := range i.apps {
		i.deliveredBurst(app, tagged...)
	}
	eventstest.Eventually(t, func() error {
		started, err := processesIn(i.data)
		if err == nil && len(started) != 4 {
			err = fmt.Errorf("expected two processes of each app, saw %q", started)
		}
		return err
	})
	i.up.stop()
	i.nothingRuns()
}
