package process

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A child forked at the wrong moment keeps a program open for writing that was
// just unpacked, and the system then refuses to execute it.
func TestLaunchWhileProgramIsBusy(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	busy, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(5*busyPoll, func() {
		if err := busy.Close(); err != nil {
			t.Error(err)
		}
	})
	starter := NewStarter()
	defer starter.Close()
	i := &instance{command: command{path: path, args: []string{"program"}, dir: t.TempDir()}, starter: starter}
	cmd, err := i.launch(1)
	if err != nil {
		t.Fatalf("the program does not start: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
