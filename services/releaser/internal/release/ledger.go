package release

import (
	"context"
	"fmt"

	"github.com/tagship/tagship/events"
)

// attempt is one attempt to carry out one release.wanted.
type attempt struct {
	env    Environment
	wanted *events.ReleaseWanted
	origin events.Cause
	id     string // of the release
	out    progress
}

// releaseID names the release that follows from a release.wanted. Every attempt
// at it has the same id.
func releaseID(w *events.ReleaseWanted, origin events.Cause) string {
	return fmt.Sprintf("%s-%s-%d", w.Env, w.App, origin.Seq)
}

// ledger is what is recorded about the environment and app of an attempt.
type ledger struct {
	filter  string
	head    uint64                 // the newest fact's sequence; commits are fenced by it
	newer   *events.ReleaseWanted  // the newest release.wanted after ours; nil if ours is the newest
	started *events.Recorded       // our release.started
	overrun *events.ReleaseStarted // a release.started after ours
	ended   events.Fact            // our release's end
	running *events.ReleaseDone    // the newest release.done: what should run now
}

func (r *Releaser) readLedger(ctx context.Context, a attempt) (*ledger, error) {
	env, app := a.wanted.Env, a.wanted.App
	l := &ledger{filter: "release.*." + events.Escape(env) + "." + events.Escape(app)}
	var err error
	// The head is read first: what is stored meanwhile makes a commit conflict,
	// and the ledger is read again.
	if l.head, err = r.record.LastSeq(ctx, l.filter); err != nil {
		return nil, err
	}
	for recorded, err := range r.record.Facts(ctx, l.filter, false) {
		if err != nil {
			return nil, fmt.Errorf("read the releases of %s in %s: %w", app, env, err)
		}
		l.add(recorded, a)
	}
	return l, nil
}

func (l *ledger) add(recorded events.Recorded, a attempt) {
	cause := recorded.Fact.Head().Cause
	ours := cause != nil && *cause == a.origin
	switch fact := recorded.Fact.(type) {
	case *events.ReleaseWanted:
		if recorded.Seq > a.origin.Seq {
			l.newer = fact
		}
	case *events.ReleaseStarted:
		if fact.ReleaseID == a.id {
			l.started = &recorded
		} else if recorded.Seq > a.origin.Seq {
			l.overrun = fact
		}
	case *events.ReleaseDone:
		l.running = fact
		if ours {
			l.ended = fact
		}
	case *events.ReleaseFailed:
		if ours {
			l.ended = fact
		}
	case *events.ReleaseRefused:
		if ours {
			l.ended = fact
		}
	}
}

// runningVersion is the version that should run now; empty if none does.
func (l *ledger) runningVersion() string {
	if l.running == nil {
		return ""
	}
	return l.running.Version
}

// commit stores a fact of the attempt, provided that nothing was recorded since
// the ledger was read.
func (r *Releaser) commit(ctx context.Context, a attempt, l *ledger, fact events.Fact) error {
	fact.Head().Cause = &a.origin
	stored, err := r.record.Publish(ctx, fact, events.Fence{Filter: l.filter, Seq: l.head})
	if err != nil {
		return fmt.Errorf("record %s: %w", fact.Subject(), err)
	}
	l.head = stored.Seq
	return nil
}
