package process

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
)

// sleeper is a process that runs until it is stopped. The script says when it is ready for that.
func sleeper(t *testing.T, script, mark string) (pid int, ended <-chan struct{}) {
	t.Helper()
	ready, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout = stdout
	cmd.Env = append(os.Environ(), mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = errors.Join(cmd.Start(), stdout.Close())
	if err == nil {
		_, err = ready.Read(make([]byte, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is stopped, and says so
		close(done)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails if nothing is left
		<-done
	})
	return cmd.Process.Pid, done
}

func isEnded(t *testing.T, ended <-chan struct{}) bool {
	t.Helper()
	select {
	case <-ended:
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

func TestLeftoverIsStopped(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{"obeys": "echo ready; exec sleep 1000", "does not obey": "trap '' TERM; echo ready; sleep 1000 & wait; wait"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			pid, ended := sleeper(t, script, "TAGSHIP_RELEASE=dev-web-1")
			if _, err := writePidFile(dir, "dev-web-1", pid); err != nil {
				t.Fatal(err)
			}
			if err := stopLeftovers(dir, zaptest.NewLogger(t)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("the leftover still runs")
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}

// TestStrangerIsSpared has a process whose id was another's before.
func TestStrangerIsSpared(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pid, ended := sleeper(t, "echo ready; exec sleep 1000", "STRANGER=yes")
	text, err := json.Marshal(pidFile{Pid: pid, Started: "at another time", Release: "dev-web-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "torn.json"), []byte(`{"pid":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := stopLeftovers(dir, zaptest.NewLogger(t)); err != nil {
		t.Fatal(err)
	}
	if isEnded(t, ended) {
		t.Error("a stranger was stopped")
	}
}

func TestOutputKeepsTheEnd(t *testing.T) {
	t.Parallel()
	o := &output{forward: discard{}}
	for range keptLines {
		if _, err := o.Write([]byte("old\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Write([]byte("last\nbeg")); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Write([]byte("un")); err != nil {
		t.Fatal(err)
	}
	tail := o.tail()
	if got := tail[len(tail)-2:]; got[0] != "last" || got[1] != "begun" || len(tail) != keptLines+1 {
		t.Errorf("%d lines that end in %q", len(tail), got)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
