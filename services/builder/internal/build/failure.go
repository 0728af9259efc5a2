package build

import (
	"errors"
	"fmt"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder/internal/tree"
)

// Failure is an error that is the app's own fault, such as a command that fails
// or a file that is missing: to try again would end the same way. Its text is
// the reason in build.failed.
type Failure struct{ reason string }

func (f *Failure) Error() string { return f.reason }

// Failf makes a [Failure].
func Failf(format string, args ...any) error {
	return &Failure{reason: fmt.Sprintf(format, args...)}
}

// Blame makes a [Failure] of an error that says what in an archive or a tree is
// not accepted, and wraps every other error.
func Blame(doing string, err error) error {
	var refused *tree.InvalidError
	if errors.As(err, &refused) {
		return Failf("%s: %v", doing, refused)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func refuse(ask *events.Request, format string, args ...any) []events.Fact {
	refused := &events.BuildRefused{App: ask.App, Version: ask.Version, Reason: fmt.Sprintf(format, args...)}
	refused.By = ask.By
	return []events.Fact{refused}
}

// Malformed answers a request that could not be understood.
func Malformed(subject string, body []byte, err error) events.Fact {
	ask, _ := events.ParseRequest(subject, body) // err says the same
	return refuse(ask, "%v", err)[0]
}

// GaveUp is what is stated of a message that goes to the dead letters.
func GaveUp(m events.Event, reason error) []events.Fact {
	failed := &events.BuildFailed{Reason: "gave up: " + reason.Error()}
	switch m := m.(type) {
	case *events.TagSeen:
		failed.App, failed.Version = m.App, m.Version
	case *events.Request:
		failed.App, failed.Version, failed.By = m.App, m.Version, m.By
	default:
		return nil
	}
	return []events.Fact{failed}
}
