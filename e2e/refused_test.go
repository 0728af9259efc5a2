package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/eventstest"
)

// TestUpRefuses asks for what is not there.
func TestUpRefuses(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": {image: true}, "agent": {packages: true}})
	i.startWatched()
	i.repos["web"].tag("v1.0.0")
	i.repos["agent"].tag("v1.0.0")
	i.delivered("web", "v1.0.0")
	i.delivered("agent", "v1.0.0")
	cases := []struct{ subject, body, refused, reason string }{
		{"release.dev", "nope@v1.0.0", "release.refused.dev.nope", "nope"},
		{"release.dev", "web@v9.9.9", "release.refused.dev.web", "v9.9.9"},
		{"release.dev", "agent@v1.0.0", "release.refused.dev.agent", "deploy"},
		{"release.nowhere", "web@v1.0.0", "release.refused.nowhere.web", "dev, prod"},
		{"cdn.beta", "nope@v1.0.0", "cdn.refused.beta.nope", "nope"},
		{"cdn.beta", "agent@v9.9.9", "cdn.refused.beta.agent", "v9.9.9"},
		{"cdn.beta", "web@v1.0.0", "cdn.refused.beta.web", "no packages"},
		{"cdn.nowhere", "agent@v1.0.0", "cdn.refused.nowhere.agent", "beta, stable"},
		{"build.nope", "nope@v1.0.0", "build.refused.nope.v1=2E0=2E0", "never seen"},
		{"build.web", "web@v9.9.9", "build.refused.web.v9=2E9=2E9", "never seen"},
		{"tag.nope", "nope@v1.0.0", "tag.refused.nope._", "nope"},
		{"tag.web", "web@v9.9.9", "tag.refused.web.v9=2E9=2E9", "v9.9.9"},
	}
	for _, c := range cases {
		i.publish(c.subject, c.body)
		reason := reasonOf(i.record.Wait(c.refused))
		if !strings.Contains(reason, c.reason) {
			t.Errorf("%s on %s was refused on %s because %q, expected that %q is in it", c.body, c.subject, c.refused, reason, c.reason)
		}
	}
	i.settled()
	s, raw := i.status()
	for _, c := range cases {
		kind, _, err := events.ParseSubject(c.refused)
		if err != nil {
			t.Fatal(err)
		}
		app, _, _ := strings.Cut(c.body, "@")
		found := false
		for _, p := range s.Problems {
			found = found || p.Kind == string(kind) && p.App == app
		}
		if !found {
			t.Errorf("tagship status does not tell of the %s of %s:\n%s", kind, app, raw)
		}
	}
	i.runs("dev", "web", "v1.0.0")
}

func reasonOf(f events.Fact) string {
	switch f := f.(type) {
	case *events.TagRefused:
		return f.Reason
	case *events.BuildRefused:
		return f.Reason
	case *events.ReleaseRefused:
		return f.Reason
	case *events.CDNRefused:
		return f.Reason
	}
	return fmt.Sprintf("%T is no refusal", f)
}

// TestUpGarbage stores garbage on subjects of every kind: requests are answered,
// facts become dead letters, all of it shows, and nothing hangs.
func TestUpGarbage(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": both()})
	i.startWatched()
	i.repos["web"].tag("v1.0.0")
	i.delivered("web", "v1.0.0")
	garbage := []string{"", "garbage", "{", "[]", `{"app": 7}`, `{"app":"web","version":"v1.0.0","force":true}`, "web@", "\xff\xfe\x00", strings.Repeat("x", 100<<10)}
	requests := map[string]string{ // where the refusals are
		"tag.web": "tag.refused.>", "build.web": "build.refused.>",
		"release.dev": "release.refused.dev.*", "release.nowhere": "release.refused.nowhere.*",
		"cdn.beta": "cdn.refused.beta.*", "cdn.nowhere": "cdn.refused.nowhere.*",
	}
	for subject, refusals := range requests {
		sent := 0
		for _, body := range garbage {
			if subject == "tag.web" && body == "" {
				continue // which asks for a look
			}
			i.publish(subject, body)
			sent++
		}
		i.record.WaitFor(refusals, fmt.Sprintf("%d refusals", sent), func(facts []events.Recorded) bool { return len(facts) == sent })
	}
	// A fact that no service wrote, and one each of its consumers gives up on.
	letters := 0
	for subject, consumers := range map[string]int{
		"tag.seen.web.v7": 1, "build.done.web.v7": 2, "release.wanted.dev.web": 1, // somebody's next step
		"tag.moved.web.v7": 0, "tag.looked.web": 0, "build.started.web.v7": 0, "build.failed.web.v7": 0,
		"release.started.dev.web": 0, "release.done.dev.web": 0, "release.failed.dev.web": 0, "release.refused.dev.web": 0,
		"cdn.started.beta.web": 0, "cdn.done.beta.web": 0, "cdn.failed.beta.web": 0,
		"tag.a.b.c.d.e": 0, "release.something.else.entirely": 0, "dead.builder.web": 0, "log.builder.web.v7": 0,
	} {
		i.publish(subject, `{"garbage": true}`)
		letters += consumers
	}
	i.record.Settled()
	eventstest.Eventually(t, func() error {
		s, raw := i.status()
		if len(s.DeadLetters) < letters {
			return fmt.Errorf("expected %d dead letters, saw\n%s", letters, raw)
		}
		return nil
	})
	s, raw := i.status()
	subjects := map[string]int{}
	for _, l := range s.DeadLetters {
		subjects[l.Subject]++
	}
	if subjects["tag.seen.web.v7"] != 1 || subjects["build.done.web.v7"] != 2 || subjects["release.wanted.dev.web"] != 1 {
		t.Errorf("expected dead letters from tag.seen, build.done (2) and release.wanted, saw\n%s", raw)
	}

	// All of it goes on.
	i.repos["web"].tag("v1.1.0")
	i.released("dev", "web", "v1.1.0")
	i.published("beta", "web", "v1.1.0")
	i.record.Settled()
	i.runs("dev", "web", "v1.1.0")
	i.downloads("beta", "web", "v1.0.0", "v1.1.0")
	i.up.stop()
	i.start()
	i.runs("dev", "web", "v1.1.0")
	i.onlyRuns(1, i.built("web", "v1.1.0").Image.Digest)
}

// TestTooLarge sends what NATS itself must refuse.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": {image: true}})
	i.startWatched()
	connection, err := nats.Connect(i.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	js, err := connection.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish("release.dev", make([]byte, 600<<10)); err == nil {
		t.Error("a request of 600 KiB was stored, expected that the stream refuses it")
	}
	i.repos["web"].tag("v1.0.0")
	i.delivered("web", "v1.0.0")
}

// TestUpDoesNotStart tells what is wrong in one message, and exits with 2.
func TestUpDoesNotStart(t *testing.T) {
	t.Parallel()
	taken := func(t *testing.T) string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		return listener.Addr().String()
	}
	config := func(t *testing.T, i *installation, old, fresh string) {
		before, err := os.ReadFile(i.config)
		if err != nil {
			t.Fatal(err)
		}
		after := strings.Replace(string(before), old, fresh, 1)
		if after == string(before) {
			t.Fatalf("%q is not in\n%s", old, before)
		}
		i.configure(after)
	}
	cases := map[string]struct {
		spoil func(t *testing.T, i *installation)
		says  []string
	}{
		"missing configuration": {
			func(t *testing.T, i *installation) {
				if err := os.Remove(i.config); err != nil {
					t.Fatal(err)
				}
			}, []string{"tagship.yaml", "--config"},
		},
		"unknown key": {
			func(t *testing.T, i *installation) { config(t, i, "interval:", "intervall:") },
			[]string{"tagship.yaml:3", "intervall", "interval"},
		},
		"unknown section": {
			func(t *testing.T, i *installation) { config(t, i, "builder:", "bulider:") },
			[]string{"tagship.yaml", "bulider", "builder"},
		},
		"missing secret": {
			func(t *testing.T, i *installation) {
				config(t, i, "  interval: 1s\n", "  interval: 1s\n  git: {ssh_key: \"${TAGSHIP_NO_SUCH_SECRET}\"}\n")
			},
			[]string{"tagship.yaml:4", "TAGSHIP_NO_SUCH_SECRET"},
		},
		"not YAML": {
			func(_ *testing.T, i *installation) { i.configure("nats: {url: [\n") },
			[]string{"tagship.yaml"},
		},
		"taken port of NATS": {
			func(t *testing.T, i *installation) { i.configure(retarget(i, "nats://127.0.0.1:", taken(t))) },
			[]string{"NATS", "another program", "nats.url"},
		},
		"taken port of the registry": {
			func(t *testing.T, i *installation) { i.configure(retarget(i, "registry: 127.0.0.1:", taken(t))) },
			[]string{"registry", "builder.registry"},
		},
		"taken port of the packages": {
			func(t *testing.T, i *installation) { i.configure(retarget(i, `listen: "127.0.0.1:`, taken(t))) },
			[]string{"another program", "cdnpush", "listen"},
		},
		"taken port of the listener": {
			func(t *testing.T, i *installation) { i.listen = taken(t) },
			[]string{"another program", "--listen"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newInstallation(t, map[string]recipe{"web": {image: true}})
			c.spoil(t, i)
			p := i.begin()
			if code := p.exited(20 * time.Second); code != 2 {
				t.Errorf("tagship up exited with %d, expected 2", code)
			}
			message := p.output.String()
			for _, says := range c.says {
				if !strings.Contains(message, says) {
					t.Errorf("expected that %q is in the message:\n%s", says, message)
				}
			}
			if strings.Contains(message, "goroutine ") {
				t.Errorf("it panicked:\n%s", message)
			}
		})
	}
}

// retarget replaces the port after a text in the configuration.
func retarget(i *installation, before, address string) string {
	i.t.Helper()
	_, port, err := net.SplitHostPort(address)
	content, readErr := os.ReadFile(i.config)
	if err := errors.Join(err, readErr); err != nil {
		i.t.Fatal(err)
	}
	text := string(content)
	at := strings.Index(text, before)
	if at < 0 {
		i.t.Fatalf("%q is not in\n%s", before, text)
	}
	head, rest := text[:at+len(before)], text[at+len(before):]
	return head + port + strings.TrimLeft(rest, "0123456789")
}

// TestUpTwice starts a second one on the same data: it is refused, and the first goes on.
func TestUpTwice(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, map[string]recipe{"web": {image: true}})
	i.startWatched()
	second := i.begin()
	if code := second.exited(20 * time.Second); code != 2 {
		t.Errorf("a second tagship up exited with %d, expected 2", code)
	}
	if message := second.output.String(); !strings.Contains(message, fmt.Sprint(i.run.PID)) || !strings.Contains(message, "--data") {
		t.Errorf("expected that the message names process %d and --data:\n%s", i.run.PID, message)
	}
	i.repos["web"].tag("v1.0.0")
	i.delivered("web", "v1.0.0")
}

// TestServicesWithoutNATS starts each service where no NATS answers.
func TestServicesWithoutNATS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port := freePort(t)
	config := filepath.Join(dir, "tagship.yaml")
	yaml := fmt.Sprintf(`nats: {url: "nats://ann:sesame@127.0.0.1:%d", wait: 1s}
tagwatch: {apps: {web: {repo: /nowhere}}}
builder: {registry: "127.0.0.1:1", executor: host}
releaser: {environments: {dev: {target: {process: {}}}}}
cdnpush: {}
`, port)
	if err := os.WriteFile(config, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, service := range services() {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			code, stdout, stderr := runProgram(t, dir, service, "--config", config, "--data", filepath.Join(dir, service), "--log-level", "error")
			if code != 3 {
				t.Errorf("%s exited with %d, expected 3", service, code)
			}
			if took := time.Since(begun); took < time.Second {
				t.Errorf("%s gave up after %s, expected that it waits for nats.wait", service, took)
			}
			if strings.Count(stderr, "\n") != 1 || stdout != "" || !strings.Contains(stderr, fmt.Sprintf("127.0.0.1:%d", port)) || !strings.Contains(stderr, "nats.url") {
				t.Errorf("expected one message with the address and what to check, saw %q and %q", stdout, stderr)
			}
			if strings.Contains(stderr, "sesame") {
				t.Errorf("the message tells the password: %s", stderr)
			}
		})
	}
}
