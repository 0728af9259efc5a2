package github

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-github/v57/github"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// listsAtOnce is how many repositories one credential asks for at once.
const listsAtOnce = 10

// restSweep lists repositories of one credential by REST. GitHub gives all
// references of a repository in one answer, and says for nothing that they are
// the same as before.
type restSweep struct {
	c    *client
	tell func(l *lookup, listing watch.Listing, err error)
}

// run lists the tags of repositories.
func (s *restSweep) run(ctx context.Context, lookups []*lookup) {
	next := make(chan *lookup)
	var workers sync.WaitGroup
	for range min(listsAtOnce, len(lookups)) {
		workers.Go(func() {
			for l := range next {
				listing, err := s.list(ctx, l.ask)
				s.tell(l, listing, err)
			}
		})
	}
	for _, l := range lookups {
		next <- l
	}
	close(next)
	workers.Wait()
}

// list lists the tags of one repository.
func (s *restSweep) list(ctx context.Context, ask watch.Ask) (watch.Listing, error) {
	if ctx.Err() != nil {
		return watch.Listing{}, context.Cause(ctx)
	}
	repo := ask.Repo
	if repo.ID == "" {
		var err error
		// The ID first: a name may be another repository's at the next request.
		if repo, err = s.c.repository(ctx, repo); err != nil {
			return watch.Listing{}, err
		}
	}
	refs, err := s.refs(ctx, repo, ask.Mark)
	switch status := statusOf(err); {
	case status == http.StatusNotModified:
		return watch.Listing{Repo: repo, Unchanged: true, Mark: ask.Mark}, nil
	case status == http.StatusConflict && ask.Mark == "": // nothing was pushed yet; of one that had tags that is not believed
		return watch.Listing{Repo: repo}, nil
	case err != nil:
		return watch.Listing{}, s.c.missing(ctx, repo, err)
	}
	if refs.repo != "" && !strings.EqualFold(refs.repo, repo.Name) { // renamed, it seems
		if repo, err = s.c.repository(ctx, repo); err != nil {
			return watch.Listing{}, err
		}
	}
	listing := watch.Listing{Repo: repo, Tags: refs.tags}
	if refs.etag != "" {
		listing.Mark = etagMark{id: repo.ID, credential: url.QueryEscape(s.c.name), etag: refs.etag}.String()
	}
	return listing, nil
}

// refList is what GitHub says the references of a repository are.
type refList struct {
	repo string // the name of the repository as its references give it; empty if they do not
	etag string
	tags []watch.Tag
}

// refs asks for all tags, unless the mark says that they are known.
func (s *restSweep) refs(ctx context.Context, repo watch.Repo, mark string) (refList, error) {
	path, err := repositoryPath(repo)
	if err != nil {
		return refList{}, err
	}
	request, err := s.c.rest.NewRequest(http.MethodGet, path+"/git/matching-refs/tags", nil)
	if err != nil {
		return refList{}, err
	}
	if before, ok := parseETagMark(mark); ok && before.id == repo.ID && before.credential == url.QueryEscape(s.c.name) {
		request.Header.Set("If-None-Match", before.etag)
	}
	response, err := s.c.rest.BareDo(ctx, request)
	if err != nil {
		return refList{}, err
	}
	defer response.Body.Close()
	list, err := readRefs(response.Body)
	list.etag = response.Header.Get("ETag")
	return list, err
}

// restRef is a reference as REST gives it.
type restRef struct {
	Ref    string           `json:"ref"`
	URL    string           `json:"url"`
	Object github.GitObject `json:"object"`
}

// readRefs reads a list of references one by one, for it can be long: as long as
// the limiter lets an answer be. A tag object has no commit in it.
func readRefs(body io.Reader) (refList, error) {
	list, err := parseRefs(json.NewDecoder(body))
	if err != nil {
		return refList{}, fmt.Errorf("read the list of tags: %w", err)
	}
	return list, nil
}

func parseRefs(in *json.Decoder) (list refList, err error) {
	if start, err := in.Token(); err != nil || start != json.Delim('[') {
		return refList{}, cmp.Or(err, errors.New("it is no list"))
	}
	names := map[string]struct{}{}
	for in.More() {
		var ref restRef
		if err := in.Decode(&ref); err != nil {
			return refList{}, err
		}
		name, isTag := strings.CutPrefix(ref.Ref, tagPrefix)
		if !isTag { // such as refs/tagsoup, which begins in the same way
			continue
		}
		tag, err := tagOf(name, &ref.Object)
		if err != nil {
			return refList{}, err
		}
		if _, twice := names[name]; twice {
			return refList{}, fmt.Errorf("%q is there twice", name)
		}
		names[name] = struct{}{}
		list.tags = append(list.tags, tag)
		if list.repo == "" {
			list.repo = repositoryIn(ref.URL)
		}
	}
	_, err = in.Token() // the end of the list: without it the list is cut off
	return list, err
}

// tagOf makes a tag of what a reference names.
func tagOf(name string, object *github.GitObject) (watch.Tag, error) {
	if name == "" || !objectID(object.GetSHA()) {
		return watch.Tag{}, fmt.Errorf("the tag %.300q is on %.100q, which is no object id", name, object.GetSHA())
	}
	tag := watch.Tag{Name: name, Object: object.GetSHA()}
	if object.GetType() != "tag" {
		tag.Commit = tag.Object
	}
	return tag, nil
}

// repositoryIn is the owner/name in the address of a reference; empty if there is none.
func repositoryIn(address string) string {
	_, path, _ := strings.Cut(address, "/repos/")
	name, _, ok := strings.Cut(path, "/git/")
	if !ok || strings.Count(name, "/") != 1 {
		return ""
	}
	return name
}
