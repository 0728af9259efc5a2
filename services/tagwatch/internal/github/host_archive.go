package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-github/v57/github"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// Archive downloads the source of a tag's commit, see [watch.Host]. It is asked
// for by the commit's id: a name could be of something else by now.
func (h *Host) Archive(ctx context.Context, repo watch.Repo, tag watch.Tag) (*watch.Archive, error) {
	if !objectID(tag.Commit) {
		return nil, fmt.Errorf("archive of %s: %.100q is not the id of a commit", repo.Name, tag.Commit)
	}
	c, err := h.client(ctx, owner(repo))
	if err != nil {
		return nil, err
	}
	link := func(ctx context.Context) (*url.URL, error) { return c.archiveLink(ctx, repo, tag.Commit) }
	archive, err := h.archiver.fetch(ctx, link, tag.Commit)
	if statusOf(err) == http.StatusNotFound || errors.Is(err, errStale) {
		return nil, c.noArchive(ctx, repo, tag.Commit, err)
	}
	return archive, c.explain(repo.Name, err)
}

// archiveLink asks where the archive of a commit is. GitHub answers with a 302,
// to where no credentials may go; any other redirect is to where the repository is now.
func (c *client) archiveLink(ctx context.Context, repo watch.Repo, commit string) (*url.URL, error) {
	path, err := repositoryPath(repo)
	if err != nil {
		return nil, err
	}
	req, err := c.rest.NewRequest(http.MethodGet, path+"/tarball/"+commit, nil)
	if err != nil {
		return nil, err
	}
	sender := *c.http
	sender.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if next.Response.StatusCode == http.StatusFound {
			return http.ErrUseLastResponse
		}
		return c.http.CheckRedirect(next, via)
	}
	resp, err := sender.Do(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		if err := github.CheckResponse(resp); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s answered %d where the link to an archive should be", c.host, resp.StatusCode)
	}
	link, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("%s gave a link to an archive that is of no use", c.host) // it may have a token of its own in it
	}
	return link, nil
}

// noArchive says why there is no archive of a commit. A tag may be on a file or a
// folder, and then there will never be one; a commit that is not there may be
// only just on its way.
func (c *client) noArchive(ctx context.Context, repo watch.Repo, commit string, missing error) error {
	if _, err := c.repository(ctx, repo); err != nil {
		return err
	}
	for _, kind := range []string{"commit", "blob", "tree"} {
		var object struct{ SHA string }
		switch err := c.get(ctx, repo, "/git/"+kind+"s/"+commit, &object); {
		case statusOf(err) == http.StatusNotFound || statusOf(err) == http.StatusUnprocessableEntity:
		case err != nil:
			return c.explain(repo.Name, err)
		case object.SHA != commit: // the tree of a commit
		case kind == "commit":
			return fmt.Errorf("%s has commit %s of %s, and no archive of it: %w", c.host, commit, repo.Name, missing)
		default:
			return &watch.UnfitError{Reason: fmt.Sprintf("the tag names a %s, expected a commit", kind)}
		}
	}
	return fmt.Errorf("%s has no commit %s of %s: %w", c.host, commit, repo.Name, missing)
}
