package github

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/google/go-github/v57/github"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// restPage is how many repositories GitHub gives in one page by REST.
const restPage = 100

// recipes remembers which repositories had a recipe, so that only those that
// somebody pushed to are asked again. Its zero value is ready, and it is safe for
// concurrent use.
type recipes struct {
	mu    sync.Mutex
	known map[int64]recipeState
}

// recipeState is whether a repository had a recipe, in a state of its default branch.
type recipeState struct {
	branch string
	pushed github.Timestamp
	has    bool
}

// ownedByREST lists what [Host.Owned] does. Of a user, GitHub gives only public
// repositories this way.
func (h *Host) ownedByREST(ctx context.Context, c *client, owner string) ([]watch.Owned, error) {
	repositories, err := c.repositoriesOf(ctx, owner)
	if err != nil {
		return nil, err
	}
	var candidates []*github.Repository
	for _, r := range repositories {
		if !r.GetArchived() && !r.GetDisabled() {
			candidates = append(candidates, r)
		}
	}
	has := make([]bool, len(candidates))
	errs := make([]error, len(candidates))
	slots := make(chan struct{}, listsAtOnce)
	var all sync.WaitGroup
	for i, r := range candidates {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			has[i], errs[i] = h.recipes.has(ctx, c, r)
		})
	}
	all.Wait()
	var owned []watch.Owned
	for i, r := range candidates {
		switch {
		case errs[i] != nil:
			return nil, errs[i]
		case has[i]:
			owned = append(owned, ownedOf(r))
		}
	}
	return owned, nil
}

func ownedOf(r *github.Repository) watch.Owned {
	repo := watch.Repo{Name: r.GetFullName(), ID: strconv.FormatInt(r.GetID(), 10)}
	return watch.Owned{Repo: repo, Created: r.GetCreatedAt().Time}
}

// repositoriesOf lists all repositories of an organisation or a user. Pages shift
// when a repository goes away meanwhile, so several pages are read until they are
// the same twice.
func (c *client) repositoriesOf(ctx context.Context, owner string) ([]*github.Repository, error) {
	same := func(a, b *github.Repository) bool { return a.GetID() == b.GetID() }
	var before []*github.Repository
	for range triesMost {
		now, pages, err := c.onePass(ctx, owner)
		if err != nil {
			return nil, err
		}
		if pages == 1 || slices.EqualFunc(before, now, same) {
			return now, nil
		}
		before = now
	}
	return nil, &contradictionError{fmt.Sprintf("the repositories of %s are others each time", owner)}
}

// onePass reads every page of an owner's repositories once, and sorts them by their IDs.
func (c *client) onePass(ctx context.Context, owner string) (all []*github.Repository, pages int, err error) {
	list := c.organisationPage
	for page := 1; page != 0; pages++ {
		repositories, response, err := list(ctx, owner, page)
		if statusOf(err) == http.StatusNotFound && page == 1 {
			list = c.userPage
			repositories, response, err = list(ctx, owner, page)
		}
		if err != nil {
			return nil, 0, c.explain(owner, err)
		}
		if all = append(all, repositories...); pages*restPage > ownedMost {
			return nil, 0, fmt.Errorf("%s has too many repositories, expected at most %d", owner, ownedMost)
		}
		page = response.NextPage
	}
	slices.SortFunc(all, func(a, b *github.Repository) int { return cmp.Compare(a.GetID(), b.GetID()) })
	return slices.CompactFunc(all, func(a, b *github.Repository) bool { return a.GetID() == b.GetID() }), pages, nil
}

func (c *client) organisationPage(ctx context.Context, owner string, page int) ([]*github.Repository, *github.Response, error) {
	return c.rest.Repositories.ListByOrg(ctx, owner, &github.RepositoryListByOrgOptions{
		Sort: "created", Direction: "asc", ListOptions: github.ListOptions{Page: page, PerPage: restPage}})
}

func (c *client) userPage(ctx context.Context, owner string, page int) ([]*github.Repository, *github.Response, error) {
	return c.rest.Repositories.ListByUser(ctx, owner, &github.RepositoryListByUserOptions{
		Type: "owner", Sort: "created", Direction: "asc", ListOptions: github.ListOptions{Page: page, PerPage: restPage}})
}

// has tells whether a repository has a recipe on its default branch.
func (m *recipes) has(ctx context.Context, c *client, r *github.Repository) (bool, error) {
	now := recipeState{branch: r.GetDefaultBranch(), pushed: r.GetPushedAt()}
	m.mu.Lock()
	before, known := m.known[r.GetID()]
	m.mu.Unlock()
	if known && before.branch == now.branch && before.pushed.Equal(now.pushed) {
		return before.has, nil
	}
	request, err := c.rest.NewRequest(http.MethodHead, fmt.Sprintf("repositories/%d/contents/%s", r.GetID(), events.RecipeFile), nil)
	if err != nil {
		return false, err
	}
	response, err := c.rest.BareDo(ctx, request)
	switch {
	case err == nil:
		now.has = true
		err = response.Body.Close()
	case statusOf(err) == http.StatusNotFound:
		err = nil
	}
	if err != nil {
		return false, c.explain(r.GetFullName(), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[int64]recipeState{}
	}
	m.known[r.GetID()] = now
	return now.has, nil
}
