package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"go.uber.org/zap"
)

// pipeline is a running Tagship, in one process or several, as seen from outside.
type pipeline struct {
	t      *testing.T
	dir    string // everything that belongs to it is in here
	data   string // what the programs keep
	nats   string // where NATS answers
	bus    *bus.Bus
	record *eventstest.Recorder
	apps   map[string]recipe
}

// connect makes the record readable, through restarts of NATS too.
func (p *pipeline) connect(url string) {
	p.t.Helper()
	connected, err := bus.Connect(p.t.Context(), bus.Options{Service: "e2e", Version: "0.0.0", URL: url, Wait: eventstest.Patience, Log: zap.NewNop()})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(connected.Close)
	p.nats, p.bus, p.record = url, connected, eventstest.NewRecorder(p.t, connected)
}

// publish does what "nats pub" does, and no more.
func (p *pipeline) publish(subject, body string) {
	p.t.Helper()
	connection, err := nats.Connect(p.nats)
	if err != nil {
		p.t.Fatal(err)
	}
	defer connection.Close()
	if err := errors.Join(connection.Publish(subject, []byte(body)), connection.Flush()); err != nil {
		p.t.Fatalf("publish %q on %s: %v", body, subject, err)
	}
}

// watched waits until the app was looked at for the first time: only tags that
// come later are released by themselves.
func (p *pipeline) watched(app string) {
	p.t.Helper()
	eventstest.Eventually(p.t, func() error {
		value, _, err := p.bus.Table(bus.TableWatch).Get(p.t.Context(), "app."+events.Escape(app))
		if err != nil {
			return err
		}
		var status struct {
			BaselineAt time.Time `json:"baseline_at"`
		}
		if err := json.Unmarshal(value, &status); err != nil {
			return err
		}
		if status.BaselineAt.IsZero() {
			return fmt.Errorf("%s was not looked at yet: %s", app, value)
		}
		return nil
	})
}

// built waits until a version is built.
func (p *pipeline) built(app, version string) *events.BuildDone {
	p.t.Helper()
	return p.record.Wait(events.KindBuildDone.Subject(app, version)).(*events.BuildDone)
}

// released waits until a version is released to an environment.
func (p *pipeline) released(env, app, version string) *events.ReleaseDone {
	p.t.Helper()
	facts := p.record.WaitFor(events.KindReleaseDone.Subject(env, app), version, func(facts []events.Recorded) bool {
		return slices.Contains(versions(facts), version)
	})
	return last[*events.ReleaseDone](facts, version)
}

// published waits until a version is published to a channel.
func (p *pipeline) published(channel, app, version string) *events.CDNDone {
	p.t.Helper()
	facts := p.record.WaitFor(events.KindCDNDone.Subject(channel, app), version, func(facts []events.Recorded) bool {
		return slices.Contains(versions(facts), version)
	})
	return last[*events.CDNDone](facts, version)
}

func last[F events.Fact](facts []events.Recorded, version string) (found F) {
	for _, f := range facts {
		if versionOf(f.Fact) == version {
			found = f.Fact.(F)
		}
	}
	return found
}

// versions lists what versions facts are about.
func versions(facts []events.Recorded) []string {
	all := make([]string, len(facts))
	for i, f := range facts {
		all[i] = versionOf(f.Fact)
	}
	return all
}

func versionOf(f events.Fact) string {
	// Every fact about a version says it in this field.
	var named struct{ Version string }
	body, err := events.Encode(f)
	if err != nil {
		return err.Error()
	}
	if err := json.Unmarshal(body, &named); err != nil {
		return err.Error()
	}
	return named.Version
}

// delivered waits until everything is settled, and then checks all that must be
// true once these versions of an app were tagged one after the other.
func (p *pipeline) delivered(app string, versions ...string) {
	p.t.Helper()
	newest := versions[len(versions)-1]
	for _, version := range versions {
		p.built(app, version)
		if p.apps[app].image {
			p.released("dev", app, version)
		}
		if p.apps[app].packages {
			p.published("beta", app, version)
		}
	}
	p.settled()
	for _, version := range versions {
		p.statedOnce(app, version)
	}
	p.nothingWrong(app)
	if p.apps[app].image {
		p.runs("dev", app, newest)
	}
	if p.apps[app].packages {
		p.downloads("beta", app, versions...)
	}
}

// settled waits until nothing is left to do, and nothing was given up on.
func (p *pipeline) settled() {
	p.t.Helper()
	p.record.Settled()
	p.record.Dead(0)
}

// statedOnce checks that everything that happens to a version has happened, once.
func (p *pipeline) statedOnce(app, version string) {
	p.t.Helper()
	p.record.Once(events.KindTagSeen.Subject(app, version))
	p.record.Once(events.KindBuildStarted.Subject(app, version))
	p.record.Once(events.KindBuildDone.Subject(app, version))
	if p.apps[app].image {
		for _, kind := range []events.Kind{events.KindReleaseWanted, events.KindReleaseStarted, events.KindReleaseDone} {
			p.once(kind.Subject("dev", app), version)
		}
	}
	if p.apps[app].packages {
		for _, kind := range []events.Kind{events.KindCDNStarted, events.KindCDNDone} {
			p.once(kind.Subject("beta", app), version)
		}
	}
}

// once checks that a subject holds exactly one fact about a version.
func (p *pipeline) once(subject, version string) {
	p.t.Helper()
	all := versions(p.record.Facts(subject))
	count := 0
	for _, v := range all {
		if v == version {
			count++
		}
	}
	if count != 1 {
		p.t.Fatalf("%s is stated %d times of %s, expected once; all that is stated there: %v", subject, count, version, all)
	}
}

// nothingWrong checks that nothing of an app was refused or failed.
func (p *pipeline) nothingWrong(app string) {
	p.t.Helper()
	token := events.Escape(app)
	for _, filter := range []string{
		"tag.refused." + token + ".*", "tag.moved." + token + ".*",
		"build.refused." + token + ".*", "build.failed." + token + ".*",
		"release.refused.*." + token, "release.failed.*." + token,
		"cdn.refused.*." + token, "cdn.failed.*." + token,
	} {
		if facts := p.record.Facts(filter); len(facts) > 0 {
			body, err := events.Encode(facts[0].Fact)
			p.t.Fatalf("%s: %s (%v)", facts[0].Fact.Subject(), body, err)
		}
	}
}

// runs checks that a version, and nothing else of the app, runs in an
// environment, that it answers, and that it is the very image that was built.
func (p *pipeline) runs(env, app, version string) {
	p.t.Helper()
	built := p.built(app, version)
	done := p.released(env, app, version)
	if done.Digest != built.Image.Digest {
		p.t.Fatalf("%s %s was built as %s, but is released as %s", app, version, built.Image.Digest, done.Digest)
	}
	p.answers(done.Address, app+" "+version)
}

// answers waits until an address says what is expected.
func (p *pipeline) answers(address, expected string) {
	p.t.Helper()
	eventstest.Eventually(p.t, func() error {
		body, err := get(p.t, address)
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(string(body)); got != expected {
			return fmt.Errorf("%s says %q, expected %q", address, got, expected)
		}
		return nil
	})
}

// downloads checks every byte that is published of an app's versions, and that
// the pointers name the newest.
func (p *pipeline) downloads(channel, app string, versions ...string) {
	p.t.Helper()
	var base string
	for _, version := range versions {
		done := p.published(channel, app, version)
		sums := p.get(parent(done.Files[0].URL) + "/SHA256SUMS")
		for _, part := range []string{"one", "two"} {
			name := app + "-" + part + "-" + version + ".bin"
			i := slices.IndexFunc(done.Files, func(f events.Download) bool { return strings.HasSuffix(f.URL, "/"+name) })
			if i < 0 {
				p.t.Fatalf("%s is not among what was published: %+v", name, done.Files)
			}
			body := p.get(done.Files[i].URL)
			if string(body) != packageContent(app, version, part) {
				p.t.Fatalf("%s holds other bytes than were built", done.Files[i].URL)
			}
			sum := sha256.Sum256(body)
			digest := hex.EncodeToString(sum[:])
			if done.Files[i].Digest != "sha256:"+digest || !bytes.Contains(sums, []byte(digest+"  "+name+"\n")) {
				p.t.Fatalf("%s has the digest %s, but was published as %s, and SHA256SUMS says\n%s", name, digest, done.Files[i].Digest, sums)
			}
		}
		base = parent(parent(done.Files[0].URL))
	}
	newest := versions[len(versions)-1]
	if got := string(p.get(base + "/latest")); got != newest+"\n" {
		p.t.Fatalf("%s/latest says %q, expected %s", base, got, newest)
	}
	var pointer struct{ Version string }
	if err := json.Unmarshal(p.get(base+"/latest.json"), &pointer); err != nil || pointer.Version != newest {
		p.t.Fatalf("%s/latest.json names %q (%v), expected %s", base, pointer.Version, err, newest)
	}
}

func parent(url string) string { return url[:strings.LastIndexByte(url, '/')] }

func (p *pipeline) get(url string) []byte {
	p.t.Helper()
	body, err := get(p.t, url)
	if err != nil {
		p.t.Fatal(err)
	}
	return body
}

func get(t *testing.T, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s: %s", url, response.Status, body)
	}
	return body, err
}

// onlyRuns waits until the processes that Tagship has started, and not yet ended,
// are two of the image with the given digest for each environment, and no others.
func (p *pipeline) onlyRuns(environments int, digest string) {
	p.t.Helper()
	eventstest.Eventually(p.t, func() error {
		started, err := processesIn(p.data)
		if err != nil {
			return err
		}
		_, hash, _ := strings.Cut(digest, ":")
		for _, process := range started {
			if !strings.Contains(process, hash) {
				return fmt.Errorf("expected only processes of image %s, saw %q", digest, started)
			}
		}
		if len(started) != 2*environments {
			return fmt.Errorf("expected %d processes of image %s, saw %q", 2*environments, digest, started)
		}
		return nil
	})
}

// nothingRuns waits until no process is left that Tagship has started.
func (p *pipeline) nothingRuns() {
	p.t.Helper()
	eventstest.Eventually(p.t, func() error {
		started, err := processesIn(p.data)
		if err == nil && len(started) > 0 {
			err = fmt.Errorf("expected no process any more, saw %q", started)
		}
		return err
	})
}

// processesIn lists the processes whose program or working folder is in a folder.
func processesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		for _, link := range []string{"exe", "cwd"} {
			// A process may end while it is looked at.
			at, err := os.Readlink(filepath.Join("/proc", entry.Name(), link))
			if err == nil && strings.HasPrefix(at, dir+"/") {
				found = append(found, entry.Name()+" "+at)
				break
			}
		}
	}
	return found, nil
}
