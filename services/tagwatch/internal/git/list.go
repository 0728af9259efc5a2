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

// List lists the tags of repositories, several at once. Those whose last listing
// failed have places of their own, so that those that hang hold up no other.
func (h *Host) List(ctx context.Context, asks []watch.Ask, found func(i int, listing watch.Listing, err error)) {
	var healthy, failing []int
	for i, ask := range asks {
		if ask.Failing {
			failing = append(failing, i)
		} else {
			healthy = append(healthy, i)
		}
	}
	results := make(chan result)
	var workers sync.WaitGroup
	h.list(ctx, asks, healthy, h.healthy, &workers, results)
	h.list(ctx, asks, failing, h.failing, &workers, results)
	go func() {
		workers.Wait()
		close(results)
	}()
	for r := range results {
		found(r.i, r.listing, r.err)
	}
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
