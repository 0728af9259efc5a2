// Package release decides what runs in an environment, and carries it out.
//
// A request or a promotion becomes a release.wanted fact; the newest one of an
// environment and app wins. A release ends in exactly one of three ways:
//
//	release.done     the wanted digest runs, healthy, in the wanted number
//	release.failed   what ran before runs again; the reason and what runs are told
//	release.refused  nothing was touched
//
// One release at a time changes an app in an environment: a lease keeps others
// out, and every fact of a release is fenced by all that is recorded about its
// environment and app, so that a releaser which lost its lease without noticing
// (a zombie) cannot record an outcome over its successor's.
package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tagship/tagship/events"
)

// Environment is a place to release to.
type Environment struct {
	Name    string
	Target  Target
	Promote *Promotion // nil if only requests release to it
	// Restore is set if what the target runs, or the way to it, ends with this process.
	Restore bool
}

// Promotion is how versions get into an environment without a request.
type Promotion struct {
	From string        // [FromBuild], or an environment
	Soak time.Duration // how long a version must have run in From
	Apps []string      // only these apps; empty means all
}

// FromBuild promotes every version that is built.
const FromBuild = "build"

// Record is the record of what happened.
type Record interface {
	// Publish stores a fact once. It wraps [events.ErrConflict] if a fence does not hold.
	Publish(ctx context.Context, fact events.Fact, fences ...events.Fence) (events.Stored, error)
	// Last is the newest fact on a subject or filter; it wraps [events.ErrNotRecorded] if there is none.
	Last(ctx context.Context, filter string) (events.Recorded, error)
	// Newest is the newest fact of each subject that matches the filter.
	Newest(ctx context.Context, filter string) ([]events.Recorded, error)
	// Facts is every fact that matches the filter, oldest first.
	Facts(ctx context.Context, filter string, follow bool) iter.Seq2[events.Recorded, error]
	// LastSeq is the sequence of the newest message that matches the filter, 0 if there is none.
	LastSeq(ctx context.Context, filter string) (uint64, error)
}

// Leases keep others from doing the same work at once.
type Leases interface {
	// Hold runs work under a lease. It wraps [events.ErrHeld] if another has it;
	// work's context ends with the cause [events.ErrLost] if it is lost.
	Hold(ctx context.Context, key string, work func(ctx context.Context) error) error
}

// Logs takes the live output of releases.
type Logs interface {
	Log(app, version string) io.WriteCloser
}

// Releaser handles the messages of releases.
type Releaser struct {
	environments map[string]Environment
	record       Record
	leases       Leases
	logs         Logs
	giveUp       time.Duration
	log          *zap.Logger

	mu      sync.Mutex
	settled map[string]bool // by lease key: has the traffic of this process's target
}

// New makes a releaser. GiveUp is how old a release.wanted may become while the
// target or the registry is in trouble; then the release fails.
func New(environments []Environment, record Record, leases Leases, logs Logs, giveUp time.Duration, log *zap.Logger) *Releaser {
	r := &Releaser{
		environments: map[string]Environment{},
		settled:      map[string]bool{},
		record:       record,
		leases:       leases,
		logs:         logs,
		giveUp:       giveUp,
		log:          log,
	}
	for _, e := range environments {
		r.environments[e.Name] = e
	}
	return r
}

func (r *Releaser) knownEnvironments() string {
	return strings.Join(slices.Sorted(maps.Keys(r.environments)), ", ")
}

func refused(env, app, version, format string, args ...any) *events.ReleaseRefused {
	return &events.ReleaseRefused{Env: env, App: app, Version: version, Reason: fmt.Sprintf(format, args...)}
}

// last looks up the newest fact of one type; found is false if there is none.
func last[F events.Fact](ctx context.Context, record Record, subject string) (fact F, at events.Recorded, found bool, err error) {
	at, err = record.Last(ctx, subject)
	if errors.Is(err, events.ErrNotRecorded) {
		return fact, at, false, nil
	}
	if err != nil {
		return fact, at, false, fmt.Errorf("look up %s: %w", subject, err)
	}
	fact, ok := at.Fact.(F)
	if !ok {
		return fact, at, false, fmt.Errorf("look up %s: found a %s", subject, at.Fact.Kind())
	}
	return fact, at, true, nil
}
