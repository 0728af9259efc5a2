package publish_test

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/tagship/tagship/events"
)

// memory is a record and its leases in memory, for tests of the domain alone; the
// tests of the service run over the real bus.
type memory struct {
	mu    sync.Mutex
	facts []events.Recorded
	held  map[string]bool
}

func newMemory() *memory { return &memory{held: map[string]bool{}} }

type causeKey struct{}

// causedBy makes facts published with the context those of a message, as on the bus.
func causedBy(ctx context.Context, cause events.Cause) context.Context {
	return context.WithValue(ctx, causeKey{}, cause)
}

func (m *memory) Publish(ctx context.Context, f events.Fact, _ ...events.Fence) (events.Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	cause, ok := ctx.Value(causeKey{}).(events.Cause)
	if !ok {
		cause = events.Cause{Stream: "TEST", Seq: uint64(len(m.facts) + 1)}
	}
	if err := events.Identify(f, &cause, "test", time.Now()); err != nil {
		return events.Stored{}, err
	}
	if _, err := events.Encode(f); err != nil {
		return events.Stored{}, err
	}
	for _, r := range m.facts {
		if r.Fact.Head().ID == f.Head().ID {
			return events.Stored{Already: true}, nil
		}
	}
	m.facts = append(m.facts, events.Recorded{Fact: f, Seq: uint64(len(m.facts) + 1), Time: time.Now()})
	return events.Stored{}, nil
}

func (m *memory) Last(_ context.Context, filter string) (events.Recorded, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := len(m.facts) - 1; i >= 0; i-- {
		// No token contains a slash, so a token's * is path's *, once dots are slashes.
		if ok, err := path.Match(slashed(filter), slashed(m.facts[i].Fact.Subject())); err != nil || ok {
			return m.facts[i], err
		}
	}
	return events.Recorded{}, fmt.Errorf("look up %s: %w", filter, events.ErrNotRecorded)
}

func (m *memory) Hold(ctx context.Context, key string, work func(context.Context) error) error {
	m.mu.Lock()
	if m.held[key] {
		m.mu.Unlock()
		return fmt.Errorf("take lease %s: %w", key, events.ErrHeld)
	}
	m.held[key] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.held, key)
	}()
	return work(ctx)
}

func slashed(subject string) string { return strings.ReplaceAll(subject, ".", "/") }

func (m *memory) subjects() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, r := range m.facts {
		all = append(all, r.Fact.Subject())
	}
	return all
}
