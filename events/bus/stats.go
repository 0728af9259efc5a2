package bus

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// stats counts what the workers of this process do, per consumer.
type stats struct {
	mu        sync.Mutex
	consumers map[string]*consumerStats
}

func newStats() *stats { return &stats{consumers: map[string]*consumerStats{}} }

func (s *stats) of(c Consumer) *consumerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := c.Stream + "/" + c.Name
	if s.consumers[key] == nil {
		s.consumers[key] = newConsumerStats(c)
	}
	return s.consumers[key]
}

func (s *stats) all() []*consumerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*consumerStats
	for _, key := range slices.Sorted(maps.Keys(s.consumers)) {
		all = append(all, s.consumers[key])
	}
	return all
}

type consumerStats struct {
	consumer Consumer
	inFlight atomic.Int64
	busy     atomic.Int64 // nanoseconds
	lastDone atomic.Int64 // Unix nanoseconds
	count    map[outcome]*atomic.Int64
}

func newConsumerStats(c Consumer) *consumerStats {
	s := &consumerStats{consumer: c, count: map[outcome]*atomic.Int64{}}
	for _, o := range outcomes() {
		s.count[o] = &atomic.Int64{}
	}
	return s
}

func (c *consumerStats) start() { c.inFlight.Add(1) }

func (c *consumerStats) finish(began time.Time, result outcome) {
	now := time.Now()
	c.inFlight.Add(-1)
	c.busy.Add(int64(now.Sub(began)))
	c.count[result].Add(1)
	if result == outcomeDone {
		c.lastDone.Store(now.UnixNano())
	}
}
