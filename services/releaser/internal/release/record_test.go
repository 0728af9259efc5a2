package release_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
)

// memory is a record that keeps all streams in one list.
type memory struct {
	mu    sync.Mutex
	facts []events.Recorded
	// beforePublish, if set, is called with each fact that is about to be stored.
	beforePublish func(events.Fact)
}

func matches(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	if len(f) != len(s) {
		return false
	}
	for i := range f {
		if f[i] != "*" && f[i] != s[i] {
			return false
		}
	}
	return true
}

func (m *memory) Publish(_ context.Context, fact events.Fact, fences ...events.Fence) (events.Stored, error) {
	if m.beforePublish != nil {
		m.beforePublish(fact)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := events.Identify(fact, nil, "releaser", time.Now()); err != nil {
		return events.Stored{}, err
	}
	if _, err := events.Encode(fact); err != nil {
		return events.Stored{}, err
	}
	for _, r := range m.facts {
		if r.Fact.Head().ID == fact.Head().ID {
			return events.Stored{Cause: events.Cause{Stream: fact.Kind().Stream(), Seq: r.Seq}, Already: true}, nil
		}
	}
	for _, fence := range fences {
		if m.lastSeq(fence.Filter) != fence.Seq {
			return events.Stored{}, fmt.Errorf("publish %s: %w", fact.Subject(), events.ErrConflict)
		}
	}
	r := events.Recorded{Fact: fact, Seq: uint64(len(m.facts) + 1), Time: time.Now()}
	m.facts = append(m.facts, r)
	return events.Stored{Cause: events.Cause{Stream: fact.Kind().Stream(), Seq: r.Seq}}, nil
}

func (m *memory) lastSeq(filter string) uint64 {
	for i := len(m.facts) - 1; i >= 0; i-- {
		if matches(filter, m.facts[i].Fact.Subject()) {
			return m.facts[i].Seq
		}
	}
	return 0
}

func (m *memory) LastSeq(_ context.Context, filter string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastSeq(filter), nil
}

func (m *memory) Last(ctx context.Context, filter string) (events.Recorded, error) {
	seq, err := m.LastSeq(ctx, filter)
	if err != nil || seq == 0 {
		return events.Recorded{}, fmt.Errorf("look up %s: %w", filter, events.ErrNotRecorded)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.facts[seq-1], nil
}

func (m *memory) Newest(_ context.Context, filter string) ([]events.Recorded, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var newest []events.Recorded
	for _, r := range m.facts {
		if matches(filter, r.Fact.Subject()) && m.lastSeq(r.Fact.Subject()) == r.Seq {
			newest = append(newest, r)
		}
	}
	return newest, nil
}

func (m *memory) Facts(_ context.Context, filter string, _ bool) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		m.mu.Lock()
		facts := m.facts[:len(m.facts):len(m.facts)]
		m.mu.Unlock()
		for _, r := range facts {
			if matches(filter, r.Fact.Subject()) && !yield(r, nil) {
				return
			}
		}
	}
}

// add stores facts as others would have.
func (m *memory) add(t *testing.T, facts ...events.Fact) events.Recorded {
	t.Helper()
	for _, fact := range facts {
		m.mu.Lock()
		if fact.Head().ID == "" {
			fact.Head().ID = fmt.Sprintf("%s#%d", fact.Subject(), len(m.facts)+1)
		}
		m.mu.Unlock()
		if _, err := m.Publish(t.Context(), fact); err != nil {
			t.Fatalf("add %s: %v", fact.Subject(), err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.facts[len(m.facts)-1]
}

// told is the history of releases in one line per fact.
func (m *memory) told() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	for _, r := range m.facts {
		switch f := r.Fact.(type) {
		case *events.ReleaseWanted:
			line := "wanted " + f.Version
			if f.Promoted != "" {
				line += " from " + f.Promoted
			}
			lines = append(lines, line)
		case *events.ReleaseStarted:
			lines = append(lines, fmt.Sprintf("started %s replacing %q", f.Version, f.Replaces))
		case *events.ReleaseDone:
			line := "done " + f.Version
			if f.Unchanged {
				line += " unchanged"
			}
			lines = append(lines, line)
		case *events.ReleaseFailed:
			lines = append(lines, fmt.Sprintf("failed %s running %q: %s", f.Version, f.Running, f.Reason))
		case *events.ReleaseRefused:
			lines = append(lines, fmt.Sprintf("refused %s: %s", f.Version, f.Reason))
		}
	}
	return lines
}

// lease is one lease after another, none ever lost unless lose is called.
type lease struct {
	mu     sync.Mutex
	held   map[string]bool
	cancel context.CancelCauseFunc
}

func (l *lease) Hold(ctx context.Context, key string, work func(context.Context) error) error {
	l.mu.Lock()
	if l.held[key] {
		l.mu.Unlock()
		return fmt.Errorf("lease %s: %w", key, events.ErrHeld)
	}
	if l.held == nil {
		l.held = map[string]bool{}
	}
	l.held[key] = true
	ctx, cancel := context.WithCancelCause(ctx)
	l.cancel = cancel
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, key)
	}()
	return work(ctx)
}

// lose ends the work of the last holder.
func (l *lease) lose(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel(cause)
}

// drop lets another take the lease while the holder does not notice.
func (l *lease) drop(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, key)
}

type silent struct{}

func (silent) Log(string, string) io.WriteCloser { return nopCloser{io.Discard} }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
