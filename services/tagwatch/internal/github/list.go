package github

import (
	"context"
	"sync"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// List lists the tags of repositories, see [watch.Host]: by GraphQL many
// repositories at once, or by REST one at a time.
func (h *Host) List(ctx context.Context, asks []watch.Ask, found func(i int, listing watch.Listing, err error)) {
	ctx, done := h.tally(ctx)
	defer done()
	var one sync.Mutex
	tell := func(l *lookup, listing watch.Listing, err error) {
		one.Lock()
		defer one.Unlock()
		found(l.i, listing, err)
	}
	var sweeps sync.WaitGroup
	for c, lookups := range h.byClient(ctx, asks, tell) {
		sweeps.Go(func() {
			if h.graphqlLists() {
				sweep := graphQLSweep{c: c, queue: newQueue(&h.pace, lookups), tell: tell}
				sweep.run(ctx)
			} else {
				sweep := restSweep{c: c, tell: tell}
				sweep.run(ctx, lookups)
			}
		})
	}
	sweeps.Wait()
}

// byClient sorts what is asked by the credential that it is asked with. Those
// whose last look failed come last.
func (h *Host) byClient(ctx context.Context, asks []watch.Ask, tell func(*lookup, watch.Listing, error)) map[*client][]*lookup {
	type access struct {
		c   *client
		err error
	}
	owners := map[string]access{}
	sorted := map[*client][]*lookup{}
	for _, failing := range []bool{false, true} {
		for i, ask := range asks {
			if ask.Failing != failing {
				continue
			}
			l := &lookup{i: i, ask: ask, name: ask.Repo.Name}
			whose := owner(ask.Repo)
			a, known := owners[whose]
			if !known {
				a.c, a.err = h.client(ctx, whose)
				owners[whose] = a
			}
			if err := a.err; err != nil {
				tell(l, watch.Listing{}, err)
				continue
			}
			sorted[a.c] = append(sorted[a.c], l)
		}
	}
	return sorted
}
