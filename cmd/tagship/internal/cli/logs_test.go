package cli_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/events/eventstest"
)

func TestLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	write := func(service, text string) {
		t.Helper()
		log := w.server.Bus(service).Log("web", "v1")
		if _, err := log.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w.run("logs", "web@v1").expect(t, 4, "no version web@v1 is known")
	w.seen("web", "v1", time.Minute)
	w.run("logs", "web@v1").expect(t, 0, "no output of web@v1: none of its steps has run yet")

	write("builder", "compiling\nok without line break")
	write("releaser", "dev: releasing web v1\n")
	r := w.run("logs", "web@v1")
	r.expect(t, 0)
	golden(t, "logs", regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`).ReplaceAllString(r.out, "<time>"))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, wait := w.start(ctx, "logs", "web@v1", "-f")
	until := func(text string) {
		t.Helper()
		eventstest.Eventually(t, func() error {
			if !strings.Contains(out.String(), text) {
				return errors.New(text + " is missing in " + out.String())
			}
			return nil
		})
	}
	until("releasing web v1")
	write("releaser", "dev: web v1 runs\n")
	until("web v1 runs")
	cancel()
	wait().expect(t, 0)
}
