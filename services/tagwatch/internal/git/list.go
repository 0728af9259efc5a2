package git

import (
	"context"
	"sync"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// result is what came of one ask.
type result struct {
	i       int
	listing watch.Listing
	err     error
}

// line is what asks wait in for a place.
type line struct {
	server  string
	failing bool
}

// List lists the tags of repositories, several at once. Those of one server, and
// of it those whose last listing failed, have places of their own, so that those
// that hang hold up no other.
func (h *Host) List(ctx context.Context, asks []watch.Ask, found func(i int, listing watch.Listing, err error)) {
	lines := map[line][]int{}
	for i, ask := range asks {
		l := line{failing: ask.Failing}
		if r, err := h.repository(ask.Repo); err == nil {
			l.server = r.address.server()
		}
		lines[l] = append(lines[l], i)
	}
	results := make(chan result)
	var workers sync.WaitGroup
	for l, which := range lines {
		h.list(ctx, asks, which, h.placesIn(l), &workers, results)
	}
	go func() {
		workers.Wait()
		close(results)
	}()
	for r := range results {
		found(r.i, r.listing, r.err)
	}
}

func (h *Host) placesIn(l line) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.places[l] == nil {
		h.places[l] = make(chan struct{}, max(h.settings.Parallel, 1))
	}
	return h.places[l]
}

// list starts as many workers for some of the asks as there are places.
func (h *Host) list(ctx context.Context, asks []watch.Ask, which []int, places chan struct{}, workers *sync.WaitGroup, results chan<- result) {
	queue := make(chan int, len(which))
	for _, i := range which {
		queue <- i
	}
	close(queue)
	for range min(len(which), cap(places)) {
		workers.Go(func() {
			for i := range queue {
				results <- h.listOne(ctx, i, asks[i], places)
			}
		})
	}
}

// listOne lists one repository, once there is a place for it.
func (h *Host) listOne(ctx context.Context, i int, ask watch.Ask, places chan struct{}) result {
	r, err := h.repository(ask.Repo)
	if err != nil {
		return result{i: i, err: err}
	}
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	case <-ctx.Done():
		return result{i: i, err: context.Cause(ctx)}
	}
	listing, err := r.list(ctx, ask.Mark)
	listing.Repo = ask.Repo
	return result{i, listing, err}
}
