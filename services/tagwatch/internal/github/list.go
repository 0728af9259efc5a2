package github

import (
	"context"
	"sync"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// clientsAtOnce is how many credentials are used at once.
const clientsAtOnce = 16

// List lists the tags of repositories, see [watch.Host]: by GraphQL many
// repositories at once, or by REST one at a time.
//
// A repository's ID is its number at GitHub, in decimal: GraphQL calls it
// databaseId, webhooks repository.id, and it stays when the repository is renamed
// or transferred. GraphQL is asked by names, which GitHub follows through renames;
// where the number in the answer is another, REST is asked by the number.
func (h *Host) List(ctx context.Context, asks []watch.Ask, found func(i int, listing watch.Listing, err error)) {
	ctx, done := h.tally(ctx)
	defer done()
	var one sync.Mutex
	tell := func(l *lookup, listing watch.Listing, err error) {
		one.Lock()
		defer one.Unlock()
		found(l.i, listing, err)
	}
	slots := make(chan struct{}, clientsAtOnce)
	var sweeps sync.WaitGroup
	for c, lookups := range h.byClient(ctx, asks, tell) {
		slots <- struct{}{}
		sweeps.Go(func() {
			defer func() { <-slots }()
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
	owners := h.clientsOf(ctx, asks)
	sorted := map[*client][]*lookup{}
	for _, failing := range []bool{false, true} {
		for i, ask := range asks {
			if ask.Failing != failing {
				continue
			}
			l := &lookup{i: i, ask: ask, name: ask.Repo.Name}
			if a := owners[owner(ask.Repo)]; a.err != nil {
				tell(l, watch.Listing{}, a.err)
			} else {
				sorted[a.c] = append(sorted[a.c], l)
			}
		}
	}
	return sorted
}

// access is the client for an owner's repositories, or why there is none.
type access struct {
	c   *client
	err error
}

// clientsOf finds the client of every owner. An App's have to be asked for.
func (h *Host) clientsOf(ctx context.Context, asks []watch.Ask) map[string]*access {
	owners := map[string]*access{}
	slots := make(chan struct{}, clientsAtOnce)
	var found sync.WaitGroup
	for _, ask := range asks {
		name := owner(ask.Repo)
		if owners[name] != nil {
			continue
		}
		a := &access{}
		owners[name] = a
		slots <- struct{}{}
		found.Go(func() {
			defer func() { <-slots }()
			a.c, a.err = h.client(ctx, name)
		})
	}
	found.Wait()
	return owners
}
