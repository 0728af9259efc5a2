package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// The demonstration compiles real programs, and ends by itself without a
// terminal. With Docker it is the same but for where things run.
func TestDemo(t *testing.T) {
	t.Parallel()
	demo := start(t, t.TempDir(), []string{"DOCKER_HOST=unix:///nonexistent/docker.sock"}, "tagship", "demo")
	if code := demo.exited(8 * time.Minute); code != 0 {
		t.Fatalf("tagship demo exited with %d", code)
	}
	printed := demo.output.String()
	for _, want := range []string{
		"answers: web v1.0.0", "checksum as published", "answers: web v1.1.0", "none failed",
		"prod runs the very image that was built for dev", "Done. Built and run by a process on this machine",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("tagship demo did not print %q", want)
		}
	}
}
