package github

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/go-github/v57/github"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

const (
	tagPrefix = "refs/tags/"
	// nestedMost is how many tag objects may stand between a tag and its commit.
	nestedMost = 20
)

// Find looks up one tag, see [watch.Host]. A tag that leads to no commit in
// [nestedMost] steps is an [*watch.UnfitError].
func (h *Host) Find(ctx context.Context, repo watch.Repo, tag string) (watch.Tag, error) {
	c, err := h.client(ctx, owner(repo))
	if err != nil {
		return watch.Tag{}, err
	}
	object, err := c.ref(ctx, repo, tag)
	if err != nil {
		return watch.Tag{}, err
	}
	found, err := tagOf(tag, object)
	if err != nil {
		return watch.Tag{}, err
	}
	if found.Commit, err = c.peel(ctx, repo, object); err != nil {
		return watch.Tag{}, err
	}
	return found, nil
}

// Peel returns the commit that a tag object leads to, see [watch.Peeler].
func (h *Host) Peel(ctx context.Context, repo watch.Repo, object string) (string, error) {
	c, err := h.client(ctx, owner(repo))
	if err != nil {
		return "", err
	}
	commit, err := c.peel(ctx, repo, &github.GitObject{Type: github.String("tag"), SHA: &object})
	if statusOf(err) == http.StatusNotFound {
		return "", fmt.Errorf("the tag object %s: %w", object, watch.ErrNoTag)
	}
	return commit, err
}

// peel follows tag objects to what they lead to in the end.
func (c *client) peel(ctx context.Context, repo watch.Repo, object *github.GitObject) (commit string, err error) {
	for range nestedMost {
		if object.GetType() != "tag" {
			return object.GetSHA(), nil
		}
		annotated, err := c.tagObject(ctx, repo, object.GetSHA())
		if err != nil {
			return "", err
		}
		object = annotated.Object
	}
	return "", &watch.UnfitError{Reason: fmt.Sprintf("the tag leads through more than %d other tags; tag a commit", nestedMost)}
}

// ref looks up what a tag is on. The error wraps [watch.ErrNoTag] if the
// repository can be read and has no such tag.
func (c *client) ref(ctx context.Context, repo watch.Repo, tag string) (*github.GitObject, error) {
	noTag := fmt.Errorf("%.300q: %w", tag, watch.ErrNoTag)
	if !canBeTag(tag) {
		return nil, noTag
	}
	var answer json.RawMessage
	err := c.get(ctx, repo, "/git/ref/tags/"+escaped(tag), &answer)
	switch statusOf(err) {
	case http.StatusNotFound:
		if _, err := c.repository(ctx, repo); err != nil {
			return nil, err
		}
		return nil, noTag
	case http.StatusConflict: // nothing was pushed yet
		return nil, noTag
	}
	if err != nil {
		return nil, c.explain(repo.Name, err)
	}
	refs, err := oneOrMore(answer)
	if err != nil {
		return nil, fmt.Errorf("look up the tag %s: %w", tag, err)
	}
	for _, ref := range refs {
		switch {
		case ref.Ref == tagPrefix+tag:
			return &ref.Object, nil
		case !strings.HasPrefix(ref.Ref, "refs/"): // what is no answer does not say that there is no tag
			return nil, fmt.Errorf("look up the tag %s: GitHub answers %.100q", tag, answer)
		}
	}
	return nil, noTag
}

// oneOrMore reads one reference, or a list: an older GitHub answers with all
// whose names begin with the name that was asked for.
func oneOrMore(answer []byte) (refs []restRef, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(answer), []byte("[")) {
		err = json.Unmarshal(answer, &refs)
		return refs, err
	}
	refs = make([]restRef, 1)
	err = json.Unmarshal(answer, &refs[0])
	return refs, err
}

// canBeTag tells whether a reference can be called so, as far as it matters to
// an address: one with .. in it would be another address.
func canBeTag(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") {
			return false
		}
	}
	return true
}

// escaped writes a name with slashes as a part of an address.
func escaped(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

// tagObject gives an annotated tag by its own id.
func (c *client) tagObject(ctx context.Context, repo watch.Repo, id string) (*github.Tag, error) {
	tag := new(github.Tag)
	if err := c.get(ctx, repo, "/git/tags/"+url.PathEscape(id), tag); err != nil {
		return nil, c.missing(ctx, repo, err)
	}
	if tag.GetSHA() != id || !objectID(tag.GetObject().GetSHA()) {
		return nil, fmt.Errorf("GitHub's answer about the tag object %s of %s is about another: %.100q on %.100q", id, repo.Name, tag.GetSHA(), tag.GetObject().GetSHA())
	}
	return tag, nil
}

// repository gives a repository with its ID and its name of today. It is a
// [*watch.GoneError] if it is not there.
func (c *client) repository(ctx context.Context, repo watch.Repo) (watch.Repo, error) {
	var found github.Repository
	if err := c.get(ctx, repo, "", &found); err != nil {
		if statusOf(err) == http.StatusNotFound && repo.ID != "" {
			return watch.Repo{}, c.replaced(ctx, repo, err)
		}
		return watch.Repo{}, c.explain(repo.Name, err)
	}
	now := watch.Repo{Name: found.GetFullName(), ID: strconv.FormatInt(found.GetID(), 10)}
	if !repositoryName.MatchString(now.Name) || repo.ID != "" && repo.ID != now.ID {
		return watch.Repo{}, fmt.Errorf("GitHub's answer about %s is about another repository: %.100q, %s", repo.Name, now.Name, now.ID)
	}
	return now, nil
}

// replaced explains why there is no repository with an ID: another may have its name.
func (c *client) replaced(ctx context.Context, repo watch.Repo, missing error) error {
	other, err := c.repository(ctx, watch.Repo{Name: repo.Name})
	if err != nil {
		return c.explain(repo.Name, missing)
	}
	return &watch.GoneError{Reason: fmt.Sprintf("the repository %s that was %s is gone, and %s is another: %s; to watch that one, say so with repo_id: %s",
		repo.ID, repo.Name, other.Name, other.ID, other.ID)}
}

// missing explains the error of a call about a part of a repository. Where
// GitHub says that it is not there, the repository may be gone as a whole.
func (c *client) missing(ctx context.Context, repo watch.Repo, err error) error {
	if statusOf(err) == http.StatusNotFound {
		if _, err := c.repository(ctx, repo); err != nil {
			return err
		}
		return fmt.Errorf("GitHub has %s, and not what belongs to it: %w", repo.Name, err)
	}
	return c.explain(repo.Name, err)
}

// get asks about a part of a repository. Its errors go through [client.explain].
func (c *client) get(ctx context.Context, repo watch.Repo, part string, into any) error {
	path, err := repositoryPath(repo)
	if err != nil {
		return err
	}
	return c.getPath(ctx, path+part, into)
}

// getPath asks for what is at a path of the API.
func (c *client) getPath(ctx context.Context, path string, into any) error {
	request, err := c.rest.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	response, err := c.rest.BareDo(ctx, request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("read GitHub's answer: %w", err)
	}
	return nil
}

// repositoryPath is where a repository is in the API: by its ID if that is
// known, which is nobody else's, and follows renames.
func repositoryPath(repo watch.Repo) (string, error) {
	switch {
	case repositoryID.MatchString(repo.ID):
		return "repositories/" + repo.ID, nil
	case repo.ID != "":
		return "", fmt.Errorf("%.100q is not the ID of a repository, expected a number", repo.ID)
	case !repositoryName.MatchString(repo.Name):
		return "", fmt.Errorf("%.200q is not a repository, expected owner/name", repo.Name)
	}
	return "repos/" + repo.Name, nil
}

var (
	repositoryID   = regexp.MustCompile(`^[1-9][0-9]{0,18}$`)
	repositoryName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*/\.?[A-Za-z0-9_-][A-Za-z0-9._-]*$`)
)
