package releaser_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/eventstest"
	"github.com/tagship/tagship/services/releaser"
)

// onEachTarget runs a test on each kind of target.
func onEachTarget(t *testing.T, test func(*testing.T, *bench)) {
	t.Helper()
	shop := newWorkshop(t)
	for _, kind := range []string{"process", "docker"} {
		t.Run(kind, func(t *testing.T) { test(t, newBench(t, shop, kind)) })
	}
}

// TestLife releases one version after another, good and bad ones, while the app
// is asked all the time: no request fails.
func TestLife(t *testing.T) {
	t.Parallel()
	onEachTarget(t, func(t *testing.T, b *bench) {
		b.build("v1", deploy(1))
		b.build("v2", deploy(2))
		b.build("v3", deploy(1, "UNHEALTHY=yes"))
		b.build("v4", deploy(2, "CRASH_AFTER=1s"))
		b.buildOf("v5", events.Image{Repository: b.shop.registry + "/" + app, Digest: "sha256:" + strings.Repeat("5", 64)}, deploy(1))
		b.build("v6", deploy(1, "START_AFTER=1s"))
		b.start()

		first := b.done("v1")
		if first.Instances != 1 || first.Unchanged || !strings.HasPrefix(first.Address, "http://127.0.0.1:") {
			t.Errorf("first release: %+v", first)
		}
		instance := b.answers(first.Address, "v1")
		if again := b.done("v1"); !again.Unchanged || again.ReleaseID != first.ReleaseID {
			t.Errorf("the same again: %+v", again)
		}
		if now := b.answers(first.Address, "v1"); now != instance {
			t.Error("the instance was replaced by a release that changed nothing")
		}

		end := b.load(first.Address)
		if second := b.done("v2"); second.Address != first.Address || second.Instances != 2 {
			t.Errorf("upgrade: %+v, expected two instances at %s", second, first.Address)
		}
		one, other := b.answers(first.Address, "v2"), b.answers(first.Address, "v2")
		for range 20 { // the load takes turns too
			if one == other {
				other = b.answers(first.Address, "v2")
			}
		}
		if one == other {
			t.Error("only one of two instances is asked")
		}
		b.failed("v3", "v2", "GET /healthz answered 503", "unhealthy on purpose", "starting v3")
		b.failed("v4", "v2", "status 7", "crashing on purpose")
		b.failed("v5", "v2", "does not exist")
		b.answers(first.Address, "v2")
		b.done("v6")
		b.done("v1") // a person may go back
		b.answers(first.Address, "v1")
		end()
	})
}

// TestFirstFails leaves nothing running.
func TestFirstFails(t *testing.T) {
	t.Parallel()
	onEachTarget(t, func(t *testing.T, b *bench) {
		b.build("v1", deploy(1, "CRASH_AFTER=10ms"))
		b.start()
		b.failed("v1", "", "status 7")
		if left := b.left(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}

// TestRestart stops the releaser and starts it again: the app answers at the same address.
func TestRestart(t *testing.T) {
	t.Parallel()
	onEachTarget(t, func(t *testing.T, b *bench) {
		b.config.StopOnExit = false
		b.build("v1", deploy(1))
		stop := b.start()
		address := b.done("v1").Address
		instance := b.answers(address, "v1")
		stop()
		before := b.ends()
		if left := b.left(); (len(left) == 1) != (b.kind == "docker") {
			t.Errorf("left running: %q", left)
		}

		b.config.StopOnExit = true
		stop = b.start()
		b.eventuallyAnswers(address, "v1")
		if now := b.answers(address, "v1"); (now == instance) != (b.kind == "docker") {
			t.Errorf("instance %s before and %s after; a container outlives the releaser, a process does not", instance, now)
		}
		if now := b.ends(); now != before {
			t.Errorf("restoring recorded %d ends", now-before)
		}
		stop()
		if left := b.left(); len(left) > 0 {
			t.Errorf("left running: %q", left)
		}
	})
}

func (b *bench) eventuallyAnswers(address, version string) {
	b.t.Helper()
	eventstest.Eventually(b.t, func() error {
		answer, err := get(http.DefaultClient, address)
		if err == nil && answer[0] != version {
			err = fmt.Errorf("answers as %s, expected %s", answer[0], version)
		}
		return err
	})
}

// TestKilled kills the releaser in the middle of a release, and starts another:
// the release is continued, and nothing of it is left over.
func TestKilled(t *testing.T) {
	t.Parallel()
	onEachTarget(t, func(t *testing.T, b *bench) {
		b.build("v1", deploy(1))
		b.build("v2", deploy(1, "START_AFTER=3s"))
		kill := b.startProgram()
		address := b.done("v1").Address
		b.request("v2")
		b.Wait(events.KindReleaseStarted.Subject("dev", app))
		eventstest.Eventually(t, func() error {
			if left := b.left(); len(left) != 2 {
				return fmt.Errorf("running: %q, expected both versions", left)
			}
			return nil
		})
		kill()

		b.start()
		b.eventuallyAnswers(address, "v1")
		second := asDone(t, b.end("v2", 1))
		if second.Version != "v2" || second.Address != address {
			t.Errorf("ended: %+v, expected v2 at %s", second, address)
		}
		b.answers(address, "v2")
		if left := b.left(); len(left) != 1 {
			t.Errorf("running: %q, expected the new version only", left)
		}
		if started := b.Facts(events.KindReleaseStarted.Subject("dev", app)); len(started) != 2 {
			t.Errorf("%d releases started, expected 2", len(started))
		}
	})
}

// startProgram runs the releaser as a process of its own, until it is killed.
func (b *bench) startProgram() (kill func()) {
	b.t.Helper()
	program := exec.Command(os.Args[0], "--config", b.writeConfig(), "--data", b.data, "--listen", "127.0.0.1:0")
	program.Env = append(os.Environ(), asProgram+"=1")
	program.Stderr = os.Stderr
	if err := program.Start(); err != nil {
		b.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = program.Wait() // it is killed, and says so
		close(ended)
	}()
	kill = func() {
		_ = program.Process.Kill() // fails if it was killed before
		<-ended
	}
	b.t.Cleanup(kill)
	return kill
}

func (b *bench) writeConfig() string {
	b.t.Helper()
	section := fmt.Sprintf(`
nats: {url: %q, ack_wait: 4s}
releaser:
  stop_on_exit: true
  environments: {dev: {target: {%s: {}}}}
`, b.nats.URL(), b.kind)
	file := filepath.Join(b.t.TempDir(), "tagship.yaml")
	if err := os.WriteFile(file, []byte(section), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// left lists what runs of this installation: containers, or processes.
func (b *bench) left() []string {
	b.t.Helper()
	if b.kind == "docker" {
		id, err := os.ReadFile(filepath.Join(b.data, "installation"))
		if err != nil {
			b.t.Fatal(err)
		}
		out, err := exec.Command("docker", "ps", "--all", "--format", "{{.Names}}", "--filter", "label=tagship.instance="+strings.TrimSpace(string(id))).Output()
		if err != nil {
			b.t.Fatalf("list containers: %v", err)
		}
		return strings.Fields(string(out))
	}
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		b.t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(env), "TAGSHIP_ROOT="+b.data) {
			found = append(found, filepath.Dir(file))
		}
	}
	return found
}

// TestCrashAfterDone has the app end by itself: it is started again, at the same address.
func TestCrashAfterDone(t *testing.T) {
	t.Parallel()
	onEachTarget(t, func(t *testing.T, b *bench) {
		b.build("v1", deploy(1))
		b.start()
		address := b.done("v1").Address
		instance := b.answers(address, "v1")
		resp, err := http.Get(address + "/crash")
		if err == nil {
			resp.Body.Close()
		}
		b.eventuallyAnswers(address, "v1")
		if now := b.answers(address, "v1"); now == instance {
			t.Error("the instance did not crash")
		}
	})
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	onEachTarget(t, func(t *testing.T, b *bench) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		ports := map[string]int{app: taken.Addr().(*net.TCPAddr).Port}
		target := b.target()
		if target.Docker != nil {
			target.Docker.Ports = ports
		} else {
			target.Process.Ports = ports
		}
		b.config.Environments["dev"] = releaser.Environment{Target: target}
		b.build("v1", deploy(1))
		b.start()
		b.failed("v1", "", fmt.Sprintf("team/web in dev cannot answer on 127.0.0.1:%d", ports[app]),
			fmt.Sprintf("releaser.environments.dev.target.%s.ports.team/web", b.kind))
	})
}

// TestPromotion lets builds flow to dev, and from there to demo.
func TestPromotion(t *testing.T) {
	t.Parallel()
	b := newBench(t, newWorkshop(t), "process")
	b.config.Environments = map[string]releaser.Environment{
		"dev":  {Target: b.target(), Promote: &releaser.Promote{From: "build"}},
		"demo": {Target: b.target(), Promote: &releaser.Promote{From: "dev", Soak: events.Duration(time.Second)}},
		"prod": {Target: b.target()},
	}
	b.start()
	b.build("v1", deploy(1))
	dev := b.Wait(events.KindReleaseDone.Subject("dev", app)).(*events.ReleaseDone)
	demo := b.Wait(events.KindReleaseDone.Subject("demo", app)).(*events.ReleaseDone)
	if dev.Digest != demo.Digest || dev.Address == demo.Address {
		t.Errorf("dev %+v and demo %+v, expected the same bytes at two addresses", dev, demo)
	}
	b.answers(dev.Address, "v1")
	b.answers(demo.Address, "v1")
	if waited := demo.At.Sub(dev.At); waited < time.Second {
		t.Errorf("demo followed dev after %s, expected a soak of 1s", waited)
	}
	if facts := b.Facts("release.*.prod.*"); len(facts) != 0 {
		t.Errorf("prod has %d facts, expected none without a request", len(facts))
	}
	b.Settled()
}

func TestSecondReleaserIsKeptOut(t *testing.T) {
	t.Parallel()
	b := newBench(t, newWorkshop(t), "process")
	b.start()
	program := exec.Command(os.Args[0], "--config", b.writeConfig(), "--data", b.data)
	program.Env = append(os.Environ(), asProgram+"=1")
	out, err := program.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another releaser works in it") {
		t.Errorf("ended with %v: %s", err, out)
	}
}
