package events_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
)

func TestOutcomes(t *testing.T) {
	t.Parallel()
	plain := errors.New("registry does not answer")
	tests := []struct {
		name                    string
		err                     error
		text                    string
		permanent, snooze, skip bool
	}{
		{name: "nil"},
		{name: "any error", err: plain, text: "registry does not answer"},
		{name: "permanent", err: events.Permanent(plain), text: "registry does not answer", permanent: true},
		{name: "permanent wrapped", err: fmt.Errorf("build web: %w", events.Permanent(plain)), text: "build web: registry does not answer", permanent: true},
		{name: "permanent joined", err: errors.Join(plain, events.Permanent(errors.New("b"))), text: "registry does not answer\nb", permanent: true},
		{name: "permanent nil", err: events.Permanent(nil)},
		{name: "snooze", err: events.Snooze(90*time.Second, "soaking in dev"), text: "soaking in dev (again in 1m30s)", snooze: true},
		{name: "snooze wrapped", err: fmt.Errorf("promote web: %w", events.Snooze(90*time.Second, "soaking in dev")), text: "promote web: soaking in dev (again in 1m30s)", snooze: true},
		{name: "skip", err: events.Skip("version %s is older than %s", "v1", "v2"), text: "version v1 is older than v2", skip: true},
		{name: "skip wrapped", err: fmt.Errorf("promote web: %w", events.Skip("older")), text: "promote web: older", skip: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.err != nil && tt.err.Error() != tt.text || tt.err == nil && tt.text != "" {
				t.Errorf("reads %q, want %q", tt.err, tt.text)
			}
			if got := events.IsPermanent(tt.err); got != tt.permanent {
				t.Errorf("IsPermanent = %v", got)
			}
			delay, reason, snooze := events.IsSnooze(tt.err)
			if snooze != tt.snooze || snooze && (delay != 90*time.Second || reason != "soaking in dev") {
				t.Errorf("IsSnooze = %s, %q, %v", delay, reason, snooze)
			}
			if reason, skip := events.IsSkip(tt.err); skip != tt.skip || skip && reason == "" {
				t.Errorf("IsSkip = %q, %v", reason, skip)
			}
		})
	}
}

func TestPermanentKeepsCause(t *testing.T) {
	t.Parallel()
	if !errors.Is(events.Permanent(fs.ErrNotExist), fs.ErrNotExist) {
		t.Error("the cause is hidden")
	}
}
