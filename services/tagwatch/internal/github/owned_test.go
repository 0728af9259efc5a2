package github

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// estate is what acme has: of n repositories one third has a recipe, with one of
// them archived, and another is archived.
func estate(n int) (repos []*hubRepo, want []string) {
	for i := range n {
		r := &hubRepo{id: int64(100 + i), names: []string{fmt.Sprintf("acme/r%d", i)}, created: i, pushed: i, archived: i == 6 || i%3 == 1}
		if i%3 == 0 {
			r.recipe = events.RecipeFile
			if !r.archived {
				want = append(want, r.names[0])
			}
		}
		repos = append(repos, r)
	}
	return append(repos, &hubRepo{id: 1, names: []string{"other/web"}, recipe: events.RecipeFile}), want
}

func namesOf(owned []watch.Owned) (names []string) {
	for _, o := range owned {
		names = append(names, o.Name)
	}
	return names
}

func TestOwned(t *testing.T) {
	t.Parallel()
	repos, want := estate(105)
	for _, list := range []string{ListGraphQL, ListREST} {
		_, host := newHub(t, list, repos...)
		owned, err := host.Owned(t.Context(), "acme")
		if err != nil {
			t.Fatalf("%s: %v", list, err)
		}
		if diff := cmp.Diff(want, namesOf(owned)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", list, diff)
		}
		if o := owned[1]; o.ID != "103" || o.Created.Format("15:04:05") != "00:00:03" {
			t.Errorf("%s: %+v", list, o)
		}
		if len(host.sweeps.owners["acme"]) != 1 {
			t.Errorf("%s: it cost %v", list, host.sweeps.owners)
		}
		gone := new(watch.GoneError)
		if owned, err := host.Owned(t.Context(), "nobody"); !errors.As(err, &gone) {
			t.Errorf("%s: an owner that is not there has %v, %v", list, owned, err)
		}
	}
}

func TestOwnedByGraphQLIsCompleteOrAnError(t *testing.T) {
	t.Parallel()
	repos, want := estate(120)
	s, host := newHub(t, ListGraphQL, repos...)
	// GitHub does not manage pages of more than ten.
	s.graphql = func(w http.ResponseWriter, asked []hubAsk) bool {
		if len(asked[0].field) > 1 {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}
	if owned, err := host.Owned(t.Context(), "acme"); err != nil || !slices.Equal(namesOf(owned), want) {
		t.Errorf("in small pages: %v, %v", namesOf(owned), err)
	}
	// A repository goes away while the list is read, once and then every time.
	for _, times := range []int{1, 100} {
		left := times
		s.graphql = func(_ http.ResponseWriter, asked []hubAsk) bool {
			if asked[0].after == "50" && left > 0 {
				left--
				s.repos = s.repos[1:]
			}
			return false
		}
		owned, err := host.Owned(t.Context(), "acme")
		if times == 1 && (err != nil || !slices.Equal(namesOf(owned), want[1:])) {
			t.Errorf("one that goes away: %v, %v", namesOf(owned), err)
		}
		if times > 1 && err == nil {
			t.Errorf("ever others: %v", namesOf(owned))
		}
	}
	for _, answer := range []string{
		`{"data":{"repositoryOwner":{"repositories":{"totalCount":1,"nodes":[null]}}},
			"errors":[{"type":"FORBIDDEN","path":["repositoryOwner","repositories","nodes",0],"message":"single sign-on"}]}`,
		`{"data":{"repositoryOwner":{"repositories":{"totalCount":1,"nodes":[null]}}}}`,
		`{"data":{"repositoryOwner":{"repositories":{"totalCount":1,"nodes":[]}}}}`,
		`{"data":{"repositoryOwner":{"repositories":{}}}}`,
		`{"data":{"repositoryOwner":{}}}`,
		`{"data":{}}`,
	} {
		s.graphql = func(w http.ResponseWriter, _ []hubAsk) bool {
			_, _ = w.Write([]byte(answer))
			return true
		}
		if owned, err := host.Owned(t.Context(), "acme"); err == nil {
			t.Errorf("%s gives %v", answer, owned)
		}
	}
}

func TestOwnedByREST(t *testing.T) {
	t.Parallel()
	repos, want := estate(30)
	repos = append(repos, &hubRepo{id: 2, names: []string{"user1/web"}, recipe: events.RecipeFile})
	s, host := newHub(t, ListREST, repos...)
	looks := func() (n int) {
		for _, path := range s.paths {
			if strings.Contains(path, "/contents/") {
				n++
			}
		}
		s.paths = nil
		return n
	}
	owned := func(owner string) []string {
		t.Helper()
		owned, err := host.Owned(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		return namesOf(owned)
	}
	owned("acme")
	looks()
	if got := owned("acme"); !slices.Equal(got, want) || looks() != 0 {
		t.Errorf("nobody pushed: %v, and it looked again", got)
	}
	repos[2].recipe, repos[2].pushed = events.RecipeFile, 900
	repos[3].recipe, repos[3].pushed = "", 900
	want = append([]string{"acme/r0", "acme/r2"}, want[2:]...)
	if got, n := owned("acme"), looks(); !slices.Equal(got, want) || n != 2 {
		t.Errorf("somebody pushed to two: %v after %d looks, want %v", got, n, want)
	}
	if got := owned("user1"); !slices.Equal(got, []string{"user1/web"}) {
		t.Errorf("a user has %v", got)
	}
	s.rest = func(w http.ResponseWriter, r *http.Request) bool {
		if fails := r.Method == http.MethodHead; fails {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}
	repos[5].pushed = 901
	if owned, err := host.Owned(t.Context(), "acme"); err == nil {
		t.Errorf("where GitHub does not say: %v", namesOf(owned))
	}
}

func TestHasRecipe(t *testing.T) {
	t.Parallel()
	repos, _ := estate(9)
	repos[3].names = append([]string{"acme/renamed"}, repos[3].names...)
	s, host := newHub(t, ListGraphQL, repos...)
	for repo, want := range map[watch.Repo]bool{
		{Name: "acme/r0"}:            true,
		{Name: "acme/r0", ID: "100"}: true,
		{Name: "acme/r3", ID: "103"}: true,
		{Name: "acme/r2"}:            false, // no recipe
		{Name: "acme/r6"}:            false, // archived
	} {
		owned, has, err := host.HasRecipe(t.Context(), repo)
		if err != nil || has != want || owned.ID == "" || owned.Created.IsZero() {
			t.Errorf("%v: %+v, %t, %v; want %t", repo, owned, has, err, want)
		}
		if repo.ID == "103" && owned.Name != "acme/renamed" {
			t.Errorf("a repository that was renamed is called %s", owned.Name)
		}
	}
	gone := new(watch.GoneError)
	if _, has, err := host.HasRecipe(t.Context(), watch.Repo{Name: "acme/none"}); has || !errors.As(err, &gone) {
		t.Errorf("a repository that is not there: %t, %v", has, err)
	}
	s.rest = func(w http.ResponseWriter, r *http.Request) bool {
		if fails := r.Method == http.MethodHead; fails {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}
	repos[5].pushed = 901
	if _, has, err := host.HasRecipe(t.Context(), watch.Repo{Name: "acme/r5"}); has || err == nil {
		t.Errorf("where GitHub does not say: %t, %v", has, err)
	}
}
