package github

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const (
	// batchUsual is how many repositories are asked for in one query, at first. GitHub ends
	// a query after 10 s and charges for that, and this many were seen to be answered in time.
	batchUsual = 50
	// batchMost is how many are asked for where answers are quick. More would cost another point.
	batchMost = 100
	// quick is how soon the answer about batchUsual or more comes where there is room for more.
	quick = time.Second
	// failuresMost is how many queries may fail in a row before the rest is given up: by
	// then it is GitHub that does not work, not a repository that is too much for it.
	failuresMost = 32
)

// pace is how many repositories are asked for in one query: fewer when GitHub
// does not manage, slowly more again, and more than usual while it is quick. It
// outlives a sweep. Its zero value is ready, and it is safe for concurrent use.
type pace struct {
	mu      sync.Mutex
	most    int // repositories in one query; 0 for batchUsual
	managed int // full queries in a row
}

func (p *pace) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sized()
}

func (p *pace) sized() int { return cmp.Or(p.most, batchUsual) }

// answered says that a query of n repositories was answered, and how soon. Those
// that are too large cost more than many that are small, so it takes some to try
// a larger one.
func (p *pace) answered(n int, took time.Duration) {
	const enough = 4
	p.mu.Lock()
	defer p.mu.Unlock()
	size := p.sized()
	if n < size || size >= batchUsual && took >= quick || size == batchMost {
		return
	}
	if p.managed++; p.managed < enough {
		return
	}
	p.managed = 0
	step := 1
	if size >= batchUsual {
		step = 5
	}
	p.most = min(size+step, batchMost)
}

// failed says that a query of n repositories was not answered.
func (p *pace) failed(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.managed = 0
	p.most = min(p.sized(), max(n/2, 1))
}

// queue hands out lookups in batches to several workers. What a worker was given
// it gives back by answered or failed.
type queue struct {
	pace *pace

	mu       sync.Mutex
	changed  *sync.Cond
	waiting  []*lookup
	halves   [][]*lookup // of batches that failed, to be asked for as they are
	out      int         // batches that workers have
	failures int         // in a row
}

func newQueue(pace *pace, lookups []*lookup) *queue {
	q := &queue{pace: pace, waiting: lookups}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// take returns the next batch; nil when there will be none.
func (q *queue) take() []*lookup {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if last := len(q.halves) - 1; last >= 0 {
			batch := q.halves[last]
			q.halves = q.halves[:last]
			q.out++
			return batch
		}
		if n := q.alike(q.pace.size()); n > 0 {
			batch := q.waiting[:n:n]
			q.waiting = q.waiting[n:]
			q.out++
			return batch
		}
		if q.out == 0 {
			return nil
		}
		q.changed.Wait()
	}
}

// alike is how many of those that wait make a batch: those that failed the last
// time are not mixed with others, which they would hold up.
func (q *queue) alike(most int) int {
	n := 0
	for n < len(q.waiting) && n < most && q.waiting[n].ask.Failing == q.waiting[0].ask.Failing {
		n++
	}
	return n
}

// answered gives a batch back that was answered after some time, with those of
// it that have more to ask. They come next: what was read of them is of this moment.
func (q *queue) answered(batch, more []*lookup, took time.Duration) {
	q.pace.answered(len(batch), took)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failures = 0
	if len(more) > 0 {
		q.waiting = slices.Concat(more, q.waiting)
	}
	q.back()
}

// failed gives back a batch that GitHub did not manage. It is asked for again in
// halves; a single lookup is not, nor is anything after too many failures. It
// returns those that are given up.
func (q *queue) failed(batch []*lookup) (up []*lookup) {
	if !batch[0].ask.Failing && !batch[0].halved { // those that fail again say nothing about others
		q.pace.failed(len(batch))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.back()
	if q.failures++; q.failures >= failuresMost {
		return append(batch, q.drain()...)
	}
	if len(batch) == 1 {
		return batch
	}
	for _, l := range batch {
		l.halved = true
	}
	half := len(batch) / 2
	q.halves = append(q.halves, batch[:half:half], batch[half:])
	return nil
}

// stop gives a batch back and returns it with everything that waits, none of which is handed out.
func (q *queue) stop(batch []*lookup) []*lookup {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.back()
	return append(batch, q.drain()...)
}

func (q *queue) drain() []*lookup {
	left := q.waiting
	for _, half := range q.halves {
		left = append(left, half...)
	}
	q.waiting, q.halves = nil, nil
	return left
}

// back counts a batch as given back, and wakes those that wait for more.
func (q *queue) back() {
	q.out--
	q.changed.Broadcast()
}
