package github

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/go-github/v57/github"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

const (
	// ownedPage is how many repositories of an owner are asked for in one query.
	ownedPage = 50
	// ownedMost is how many repositories an owner may have.
	ownedMost = 100_000
)

// Owned lists the repositories of an owner that have a recipe, see [watch.Directory].
func (h *Host) Owned(ctx context.Context, owner string) ([]watch.Owned, error) {
	ctx, done := h.tallyOwner(ctx, owner)
	defer done()
	c, err := h.client(ctx, owner)
	if err != nil {
		return nil, err
	}
	if !h.graphqlLists() {
		return h.ownedByREST(ctx, c, owner)
	}
	for tries := 1; ; tries++ {
		owned, err := c.ownedByGraphQL(ctx, owner)
		contradiction := new(contradictionError)
		if tries >= triesMost || !errors.As(err, &contradiction) {
			return owned, err
		}
	}
}

// HasRecipe looks up one repository, see [watch.Directory].
func (h *Host) HasRecipe(ctx context.Context, repo watch.Repo) (owned watch.Owned, has bool, err error) {
	c, err := h.client(ctx, owner(repo))
	if err != nil {
		return watch.Owned{}, false, err
	}
	found := new(github.Repository)
	if err := c.get(ctx, repo, "", found); err != nil {
		return watch.Owned{}, false, c.explain(repo.Name, err)
	}
	owned = ownedOf(found)
	if !repositoryName.MatchString(owned.Name) || repo.ID != "" && owned.ID != repo.ID {
		return watch.Owned{}, false, fmt.Errorf("GitHub's answer about %s is about another repository: %.100q, %s", repo.Name, owned.Name, owned.ID)
	}
	if found.GetArchived() || found.GetDisabled() {
		return owned, false, nil
	}
	has, err = h.recipes.has(ctx, c, found)
	return owned, has, err
}

// contradictionError says that the pages of a list do not fit together: it
// changed while it was read.
type contradictionError struct{ what string }

func (e *contradictionError) Error() string {
	return "GitHub's pages contradict each other: " + e.what + "; ask again"
}

// ownedQuery is the query for a page of an owner's repositories. The oldest come
// first, so that a new one moves no other to another page.
const ownedQuery = `query($owner:String!,$first:Int!,$after:String,$recipe:String!){rateLimit{cost}
repositoryOwner(login:$owner){repositories(first:$first,after:$after,ownerAffiliations:[OWNER],orderBy:{field:CREATED_AT,direction:ASC}){
totalCount pageInfo{hasNextPage endCursor} nodes{databaseId nameWithOwner isArchived isDisabled createdAt object(expression:$recipe){__typename}}}}}`

// ownedAnswer is the data of an answer to [ownedQuery].
type ownedAnswer struct {
	Owner *struct {
		Repositories *ownedRepositories `json:"repositories"`
	} `json:"repositoryOwner"`
}

// ownedRepositories is a page of an owner's repositories.
type ownedRepositories struct {
	Total *int `json:"totalCount"`
	Page  struct {
		More bool   `json:"hasNextPage"`
		End  string `json:"endCursor"`
	} `json:"pageInfo"`
	Nodes []*ownedNode `json:"nodes"`
}

// ownedNode is a repository of an owner.
type ownedNode struct {
	ID       int64     `json:"databaseId"`
	Name     string    `json:"nameWithOwner"`
	Archived bool      `json:"isArchived"`
	Disabled bool      `json:"isDisabled"`
	Created  time.Time `json:"createdAt"`
	Recipe   *struct {
		Type string `json:"__typename"`
	} `json:"object"`
}

// ownedByGraphQL reads every page once.
func (c *client) ownedByGraphQL(ctx context.Context, owner string) ([]watch.Owned, error) {
	var all directory
	for size := ownedPage; ; {
		page, err := c.ownedPage(ctx, owner, size, all.end)
		if heavy := new(heavyError); errors.As(err, &heavy) && size > 1 && ctx.Err() == nil {
			size /= 2
			continue
		}
		if err != nil {
			return nil, err
		}
		if complete, err := all.add(page); err != nil || complete {
			return all.owned, err
		}
	}
}

// ownedPage asks for the page after a cursor, which is empty for the first.
func (c *client) ownedPage(ctx context.Context, owner string, size int, after string) (*ownedRepositories, error) {
	vars := map[string]any{"owner": owner, "first": size, "after": nil, "recipe": "HEAD:" + events.RecipeFile}
	if after != "" {
		vars["after"] = after
	}
	var answer ownedAnswer
	problems, err := c.graphql(ctx, ownedQuery, vars, &answer)
	if err != nil {
		return nil, err
	}
	byAlias, err := attribute(problems)
	if err != nil {
		return nil, err
	}
	switch problem := byAlias["repositoryOwner"]; {
	case problem != nil:
		return nil, problem.about(owner)
	case answer.Owner == nil:
		return nil, &watch.GoneError{Reason: fmt.Sprintf("%s is neither an organisation nor a user, or the credentials must not see it", owner)}
	case answer.Owner.Repositories == nil:
		return nil, fmt.Errorf("GitHub's answer has nothing about the repositories of %s", owner)
	}
	return answer.Owner.Repositories, nil
}

// directory gathers the pages of an owner's repositories.
type directory struct {
	total int
	seen  map[int64]struct{}
	end   string // the cursor of the last page
	owned []watch.Owned
}

// add adds the next page, and tells whether it was the last.
func (d *directory) add(page *ownedRepositories) (complete bool, err error) {
	if page.Total == nil {
		return false, &contradictionError{"one has no count"}
	}
	total := *page.Total
	if d.seen == nil {
		d.total, d.seen = total, map[int64]struct{}{}
	}
	switch {
	case total != d.total:
		return false, &contradictionError{fmt.Sprintf("there are %d repositories first and %d then", d.total, total)}
	case total > ownedMost:
		return false, fmt.Errorf("the owner has %d repositories, expected at most %d", total, ownedMost)
	case page.Page.More && (len(page.Nodes) == 0 || page.Page.End == "" || page.Page.End == d.end):
		return false, &contradictionError{"one leads nowhere"}
	}
	for _, node := range page.Nodes {
		if node == nil || node.ID <= 0 || !repositoryName.MatchString(node.Name) {
			return false, &contradictionError{"one has a repository without a name"}
		}
		if _, twice := d.seen[node.ID]; twice {
			return false, &contradictionError{fmt.Sprintf("%s is there twice", node.Name)}
		}
		d.seen[node.ID] = struct{}{}
		if node.Archived || node.Disabled || node.Recipe == nil || node.Recipe.Type != "Blob" {
			continue
		}
		repo := watch.Repo{Name: node.Name, ID: strconv.FormatInt(node.ID, 10)}
		d.owned = append(d.owned, watch.Owned{Repo: repo, Created: node.Created})
	}
	d.end = page.Page.End
	if !page.Page.More && len(d.seen) != d.total || page.Page.More && len(d.seen) >= d.total {
		return false, &contradictionError{fmt.Sprintf("there are %d repositories and %d are listed", d.total, len(d.seen))}
	}
	return !page.Page.More, nil
}
