package github

import "time"

const (
	computeWindow = time.Minute
	// computeMost is how long GitHub may compute queries in a minute. It allows
	// 60 s; how long those under way take is known only afterwards.
	computeMost = 50 * time.Second
	// computeLongest is how long GitHub computes one query at most: then it ends it.
	computeLongest = 10 * time.Second
)

// computing is how long GitHub computed queries in the last minute. The limiter
// that it belongs to guards it.
type computing struct {
	spans []span // in the order in which they ended
	sum   time.Duration
}

// span is one query.
type span struct {
	ended time.Time
	took  time.Duration
}

// add counts a query that ended now. For how long an answer was waited for says
// little if there was none.
func (c *computing) add(now time.Time, took time.Duration) {
	s := span{ended: now, took: min(took, computeLongest)}
	c.spans = append(c.spans, s)
	c.sum += s.took
}

// delay is how long until there is room for another query.
func (c *computing) delay(now time.Time) time.Duration {
	for len(c.spans) > 0 && now.Sub(c.spans[0].ended) >= computeWindow {
		c.sum -= c.spans[0].took
		c.spans = c.spans[1:]
	}
	left := c.sum
	for _, s := range c.spans {
		if left < computeMost {
			break
		}
		if left -= s.took; left < computeMost {
			return s.ended.Add(computeWindow).Sub(now)
		}
	}
	return 0
}
