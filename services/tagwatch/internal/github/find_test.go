package github

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// A tag is found under its very name, whatever that does to an address.
func TestFind(t *testing.T) {
	t.Parallel()
	repo := zoo()
	repo.tags = append(repo.tags, light("heads/main", 20), light("refs/tags/v9", 21), light("@", 22), light("-x", 23),
		light(`"q"'`, 24), light("v1>2", 25), light("v1&a=b;c,d+e", 26), light("`x`|!{}", 27), light("v1%2F2", 28))
	s, host := newHub(t, ListGraphQL, repo)
	for _, ask := range []watch.Repo{{Name: "acme/zoo"}, {Name: "acme/elsewhere", ID: "7"}} {
		for _, tag := range repo.tags {
			s.paths = nil
			got, err := host.Find(t.Context(), ask, tag.name)
			want := watch.Tag{Name: tag.name, Object: tag.chain[0].id, Commit: tag.chain[len(tag.chain)-1].id}
			if err != nil || got != want {
				t.Errorf("%q: %v, %v, want %v", tag.name, got, err, want)
			}
			wire := s.paths[0]
			if path, err := url.PathUnescape(wire); err != nil || !strings.HasSuffix(path, "/git/ref/tags/"+tag.name) || strings.ContainsAny(wire, "#?;") {
				t.Errorf("%q is asked for as %s", tag.name, wire)
			}
		}
	}
}

func TestFindNoTag(t *testing.T) {
	t.Parallel()
	repo := zoo()
	blank := &hubRepo{id: 8, names: []string{"acme/blank"}, empty: true}
	s, host := newHub(t, ListGraphQL, repo, blank)
	find := func(repo, tag string) error {
		_, err := host.Find(t.Context(), watch.Repo{Name: repo}, tag)
		return err
	}
	gone := new(watch.GoneError)
	for _, test := range []struct{ repo, tag string }{
		{"acme/zoo", "v2"}, {"acme/zoo", "v1"}, {"acme/blank", "v1"}, {"acme/zoo", "app/v"},
		{"acme/zoo", ""}, {"acme/zoo", "a//b"}, {"acme/zoo", "../../../../user"}, {"acme/zoo", "a/../v1.0.0"}, {"acme/zoo", "./v1.0.0"}, {"acme/zoo", "v1.0.0/"},
	} {
		if err := find(test.repo, test.tag); !errors.Is(err, watch.ErrNoTag) || errors.As(err, &gone) {
			t.Errorf("%q of %s: %v", test.tag, test.repo, err)
		}
	}
	if slices.ContainsFunc(s.paths, func(p string) bool { return strings.Contains(p, "user") }) {
		t.Errorf("asked for %v", s.paths)
	}
	// Where the repository is not to be seen, nothing is said about its tags.
	if err := find("acme/gone", "v1"); !errors.As(err, &gone) || errors.Is(err, watch.ErrNoTag) {
		t.Errorf("a tag of a repository that is gone: %v", err)
	}
	s.rest = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/git/") {
			notFound(w)
		} else {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return true
	}
	if err := find("acme/zoo", "v1.0.0"); err == nil || errors.Is(err, watch.ErrNoTag) {
		t.Errorf("a tag of a repository of which nothing is known: %v", err)
	}
}

// An older GitHub answers with everything that begins with the name.
func TestFindAmongOthers(t *testing.T) {
	t.Parallel()
	s, host := newHub(t, ListGraphQL, zoo())
	var body string
	s.rest = func(w http.ResponseWriter, r *http.Request) bool {
		list := strings.Contains(r.URL.Path, "/git/ref/")
		if list {
			_, _ = w.Write([]byte(body))
		}
		return list
	}
	ref := func(name string, n int) string {
		return `{"ref":"refs/tags/` + name + `","object":{"type":"commit","sha":"` + oid(n) + `"}}`
	}
	for _, test := range []struct {
		body string
		want string
	}{
		{"[" + ref("v1.10", 1) + "," + ref("v1", 2) + "]", oid(2)},
		{" [" + ref("v1.10", 1) + "]", ""},
		{"[]", ""},
		{ref("v1.10", 1), ""},
		{ref("v1", 3), oid(3)},
	} {
		body = test.body
		got, err := host.Find(t.Context(), watch.Repo{Name: "acme/zoo"}, "v1")
		if test.want == "" && !errors.Is(err, watch.ErrNoTag) || test.want != "" && (err != nil || got.Commit != test.want) {
			t.Errorf("%s gives %v, %v", test.body, got, err)
		}
	}
	for _, body = range []string{`"v1"`, `null`, `{}`, `{"message":"fine"}`, `[{}]`, `{"ref":"refs/tags/v1"}`, `{"ref":"refs/tags/v1","object":{"sha":"x","type":"commit"}}`} {
		if got, err := host.Find(t.Context(), watch.Repo{Name: "acme/zoo"}, "v1"); err == nil || errors.Is(err, watch.ErrNoTag) {
			t.Errorf("%s gives %v, %v", body, got, err)
		}
	}
}

func TestFindEndsWhereTagsLeadNowhere(t *testing.T) {
	t.Parallel()
	loop := hubTag{"loop", []hubObject{{"tag", oid(1)}, {"tag", oid(1)}}}
	repo := &hubRepo{id: 1, names: []string{"acme/web"}, tags: []hubTag{annotated("deep", nestedMost+1, 5), loop, annotated("cut", 2, 9)}}
	s, host := newHub(t, ListGraphQL, repo)
	for _, tag := range []string{"deep", "loop"} {
		unfit := new(watch.UnfitError)
		if got, err := host.Find(t.Context(), watch.Repo{Name: "acme/web"}, tag); !errors.As(err, &unfit) {
			t.Errorf("%s gives %v, %v", tag, got, err)
		}
	}
	s.rest = func(w http.ResponseWriter, r *http.Request) bool {
		other := strings.Contains(r.URL.Path, "/git/tags/")
		if other {
			writeJSON(w, map[string]any{"sha": oid(77), "object": map[string]any{"type": "commit", "sha": oid(1)}})
		}
		return other
	}
	if got, err := host.Find(t.Context(), watch.Repo{Name: "acme/web"}, "cut"); err == nil {
		t.Errorf("another tag object's commit is taken: %v", got)
	}
}
