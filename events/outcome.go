package events

import (
	"errors"
	"fmt"
	"time"
)

// A handler's outcome travels on its error alone:
//
//	nil              done: the facts are published, then the message is acknowledged
//	Skip             nothing to do; the reason is logged
//	Snooze           not yet; handed out again after the delay, which is no failure
//	Permanent        will never work: to the dead letters at once
//	any other error  retried with growing delay until the message is too old
//
// Facts returned beside a Skip or Permanent are published too, before the message is settled.

type permanent struct{ cause error }

func (e *permanent) Error() string { return e.cause.Error() }
func (e *permanent) Unwrap() error { return e.cause }

// Permanent marks an error that no retry can mend. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{cause: err}
}

// IsPermanent reports whether err, or any error it wraps, was marked with [Permanent].
func IsPermanent(err error) bool {
	var p *permanent
	return errors.As(err, &p)
}

type snooze struct {
	delay  time.Duration
	reason string
}

func (e *snooze) Error() string { return fmt.Sprintf("%s (again in %s)", e.reason, e.delay) }

// Snooze puts the message back for a while: it is not a failure, is not counted
// as one, and never leads to the dead letters.
func Snooze(delay time.Duration, reason string) error { return &snooze{delay, reason} }

// IsSnooze reports whether err is a [Snooze], its delay and its reason.
func IsSnooze(err error) (delay time.Duration, reason string, ok bool) {
	var s *snooze
	if !errors.As(err, &s) {
		return 0, "", false
	}
	return s.delay, s.reason, true
}

type skip struct{ reason string }

func (e *skip) Error() string { return e.reason }

// Skip says that there is nothing to do for this message, and why.
func Skip(format string, args ...any) error { return &skip{fmt.Sprintf(format, args...)} }

// IsSkip reports whether err is a [Skip], and its reason.
func IsSkip(err error) (reason string, ok bool) {
	var s *skip
	if !errors.As(err, &s) {
		return "", false
	}
	return s.reason, true
}
