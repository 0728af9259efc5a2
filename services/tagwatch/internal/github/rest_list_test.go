package github

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// shallow is what REST lists of a repository: tag objects are not peeled.
func (r *hubRepo) shallow() *hubRepo {
	flat := *r
	flat.tags = nil
	for _, tag := range r.tags {
		if tag.chain[0].kind == "tag" {
			tag = annotated(tag.name, 5, 0) // too deep for a commit, see wanted
			tag.chain[0] = r.tags[len(flat.tags)].chain[0]
		}
		flat.tags = append(flat.tags, tag)
	}
	return &flat
}

func TestRESTListsTags(t *testing.T) {
	t.Parallel()
	big := &hubRepo{id: 8, names: []string{"acme/big"}, tags: manyTags(500)}
	renamed := &hubRepo{id: 9, names: []string{"acme/new", "acme/old"}, tags: []hubTag{light("v1", 1)}}
	blank := &hubRepo{id: 10, names: []string{"acme/blank"}, empty: true}
	none := &hubRepo{id: 11, names: []string{"acme/none"}}
	s, host := newHub(t, ListREST, zoo(), big, renamed, blank, none)
	asks := asking("acme/zoo", "acme/big", "acme/old", "acme/blank", "acme/none", "acme/gone", "../user")
	hadTags := listed(t, host, watch.Ask{Repo: watch.Repo{Name: "acme/blank", ID: "10"}, Mark: "etag 10 token x"})[0]
	if hadTags.err == nil || !strings.Contains(hadTags.err.Error(), "409") {
		t.Errorf("a repository that had tags is empty: %v", hadTags.err)
	}
	asks = append(asks, watch.Ask{Repo: watch.Repo{Name: "acme/zoo", ID: "404"}})
	asks = append(asks, watch.Ask{Repo: watch.Repo{Name: "acme/old", ID: "9"}})
	asks = append(asks, watch.Ask{Repo: watch.Repo{Name: "acme/zoo", ID: "7/../8"}})
	got := listed(t, host, asks...)
	complete(t, got[0], zoo().shallow())
	complete(t, got[1], big)
	complete(t, got[2], renamed)
	complete(t, got[3], blank)
	complete(t, got[4], none)
	complete(t, got[8], renamed)
	for _, i := range []int{5, 7} {
		if gone := new(watch.GoneError); !errors.As(got[i].err, &gone) {
			t.Errorf("%v: %v", asks[i].Repo, got[i].err)
		}
	}
	for _, i := range []int{6, 9} {
		if got[i].err == nil {
			t.Errorf("%v is a repository", asks[i].Repo)
		}
	}
	if slices.ContainsFunc(s.paths, func(p string) bool { return strings.Contains(p, "..") || strings.HasPrefix(p, "/user") }) {
		t.Errorf("asked for %v", s.paths)
	}
}

func TestRESTUnchanged(t *testing.T) {
	t.Parallel()
	repo, blank := zoo(), &hubRepo{id: 11, names: []string{"acme/none"}}
	s, host := newHub(t, ListREST, repo, blank)
	got := listed(t, host, asking("acme/zoo", "acme/none")...)
	ask := watch.Ask{Repo: got[0].listing.Repo, Mark: got[0].listing.Mark}
	again := func(ask watch.Ask) outcome { return listed(t, host, ask)[0] }

	s.paths = nil
	if o := again(ask); o.err != nil || !o.listing.Unchanged || o.listing.Mark != ask.Mark || o.listing.Repo != ask.Repo {
		t.Errorf("nothing changed: %+v", o)
	}
	if want := []string{"/repositories/7/git/matching-refs/tags"}; !slices.Equal(s.paths, want) {
		t.Errorf("asked for %v, want %v", s.paths, want)
	}
	for _, mark := range []string{"first 7 200 abc 5", strings.Replace(ask.Mark, "token", "other", 1), "rubbish"} {
		if o := again(watch.Ask{Repo: ask.Repo, Mark: mark}); o.err != nil || o.listing.Unchanged {
			t.Errorf("mark %q: %+v", mark, o)
		}
	}
	// An empty list looks the same in every repository.
	repo.tags = nil
	if o := again(watch.Ask{Repo: ask.Repo, Mark: got[1].listing.Mark}); o.listing.Unchanged {
		t.Error("another repository's mark is taken")
	}
	repo.tags = []hubTag{light("v9", 9)}
	repo.names = []string{"acme/safari", "acme/zoo"}
	complete(t, again(ask), repo)
}

func TestRESTMisbehaves(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"no list":      `{"message":"fine"}`,
		"cut off":      `[{"ref":"refs/tags/v1","object":{"sha":"` + oid(1) + `","type":"commit"}},`,
		"no object":    `[{"ref":"refs/tags/v1"}]`,
		"no object id": `[{"ref":"refs/tags/v1","object":{"sha":"main","type":"commit"}}]`,
		"twice":        `[{"ref":"refs/tags/v1","object":{"sha":"` + oid(1) + `"}},{"ref":"refs/tags/v1","object":{"sha":"` + oid(1) + `"}}]`,
		"no name":      `[{"ref":"refs/tags/","object":{"sha":"` + oid(1) + `"}}]`,
		"HTML":         `<html>`,
		"null":         `null`,
	} {
		s, host := newHub(t, ListREST, zoo(), &hubRepo{id: 8, names: []string{"acme/b"}})
		s.rest = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/7/git/matching-refs") {
				_, _ = w.Write([]byte(answer))
				return true
			}
			return false
		}
		got := listed(t, host, asking("acme/zoo", "acme/b")...)
		if got[0].err == nil {
			t.Errorf("%s: it is taken for %v", name, got[0].listing)
		}
		if got[1].err != nil {
			t.Errorf("%s: the other fails too: %v", name, got[1].err)
		}
	}
	// What is not there of a repository that is there is no empty list.
	s, host := newHub(t, ListREST, zoo())
	s.rest = func(w http.ResponseWriter, r *http.Request) bool {
		if missing := strings.Contains(r.URL.Path, "/matching-refs"); missing {
			notFound(w)
			return true
		}
		return false
	}
	gone := new(watch.GoneError)
	if o := listed(t, host, asking("acme/zoo")...)[0]; o.err == nil || errors.As(o.err, &gone) {
		t.Errorf("a list that is not there: %+v", o)
	}
}

func TestRESTKeepsTagsOnly(t *testing.T) {
	t.Parallel()
	list, err := readRefs(strings.NewReader(fmt.Sprintf(
		`[{"ref":"refs/tagsoup/v0","object":{"sha":%[1]q}},{"ref":"refs/tags/heads/main","object":{"sha":%[1]q,"type":"commit"}}]`, oid(1))))
	if want := []watch.Tag{{Name: "heads/main", Object: oid(1), Commit: oid(1)}}; err != nil || !cmp.Equal(list.tags, want) {
		t.Errorf("%v, %v, want %v", list.tags, err, want)
	}
	for _, body := range []string{"", "[", `[{"ref":"refs/tags/v1","object":{"sha":"` + oid(1) + `"}}`} {
		if list, err := readRefs(strings.NewReader(body)); err == nil {
			t.Errorf("%q is taken for %v", body, list.tags)
		}
	}
}

func FuzzRESTAnswer(f *testing.F) {
	f.Add(`[]`)
	f.Add(`[{"ref":"refs/tags/v1","url":"https://api.github.com/repos/a/b/git/refs/tags/v1","object":{"sha":"` + oid(1) + `","type":"tag"}}]`)
	f.Add(`[{"ref":"refs/tags/v1","object":null}] {}`)
	f.Fuzz(func(t *testing.T, body string) {
		list, err := readRefs(strings.NewReader(body))
		if err != nil {
			return
		}
		checkTags(t, list.tags)
		if list.repo != "" && strings.Count(list.repo, "/") != 1 {
			t.Errorf("the repository is %q", list.repo)
		}
	})
}

// Recordings of GitHub itself, where they are at hand.
func TestRecordings(t *testing.T) {
	t.Parallel()
	folder := recordings(t)
	cases := 0
	for name, count := range map[string]int{
		"matching_refs_tags_per_page1_ignored.json": 85,
		"matching_refs_tags_v2_2021.json":           -1,
	} {
		answer := recordedAnswer(t, filepath.Join(folder, "rest", name))
		if answer.Status == 0 {
			continue
		}
		list, err := readRefs(bytes.NewReader(answer.Body))
		if err != nil || len(list.tags) == 0 || count > 0 && len(list.tags) != count || list.repo == "" {
			t.Errorf("%s: %d tags of %q, %v", name, len(list.tags), list.repo, err)
		}
		checkTags(t, list.tags)
		cases++
	}
	if body, err := os.ReadFile(filepath.Join(folder, "graphql", "tags_batch.response.json")); err == nil {
		var answer struct {
			Data struct{ Nodes []*tagsPage }
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatal(err)
		}
		var p pages
		done, err := p.add(answer.Data.Nodes[0])
		if err != nil || !done {
			t.Errorf("a page of GraphQL: complete %v, %v", done, err)
		}
		for _, tag := range p.tags {
			if tag.Commit == "" {
				t.Errorf("%v is not peeled", tag)
			}
		}
		checkTags(t, p.tags)
		cases++
	}
	for name, check := range map[string]func(o outcome) bool{
		"synthetic_409_empty_repo.json": func(o outcome) bool { return o.err == nil && len(o.listing.Tags) == 0 },
		"git_refs_tags_empty_404.json":  func(o outcome) bool { return o.err != nil && !errors.As(o.err, new(*watch.GoneError)) },
	} {
		answer := recordedAnswer(t, filepath.Join(folder, "rest", name))
		if answer.Status == 0 {
			continue
		}
		s, host := newHub(t, ListREST, zoo())
		s.rest = func(w http.ResponseWriter, r *http.Request) bool {
			refs := strings.Contains(r.URL.Path, "matching-refs")
			if refs {
				w.WriteHeader(answer.Status)
				_, _ = w.Write(answer.Body)
			}
			return refs
		}
		if o := listed(t, host, asking("acme/zoo")...)[0]; !check(o) {
			t.Errorf("%s: %+v", name, o)
		}
		cases++
	}
	t.Logf("%d recordings", cases)
}

// recordings is the folder of recordings beside the repository; it need not be there.
func recordings(t *testing.T) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir := root; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return filepath.Join(dir, "..", "shared", "fixtures", "github")
		}
	}
	return ""
}

// answerRecord is a recorded answer.
type answerRecord struct {
	Status int
	Body   json.RawMessage
}

// recordedAnswer reads a recorded answer; its status is 0 if there is no such recording.
func recordedAnswer(t *testing.T, path string) answerRecord {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		return answerRecord{}
	}
	var recorded struct{ Response answerRecord }
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return recorded.Response
}
