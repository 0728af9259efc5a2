package git

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap/zaptest"
)

func openHost(t *testing.T, parallel int) *Host {
	t.Helper()
	program, err := FindProgram()
	if err != nil {
		t.Fatal(err)
	}
	host, err := Open(Settings{Program: program, DataDir: t.TempDir(), Timeout: time.Minute, Parallel: parallel, MaxArchive: 1 << 30}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	return host
}

func add(t *testing.T, host *Host, address string) watch.Repo {
	t.Helper()
	parsed, err := ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := host.Add(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func TestHostListsMany(t *testing.T) {
	t.Parallel()
	host := openHost(t, 2)
	var asks []watch.Ask
	for range 5 {
		u := newUpstream(t)
		u.commit("first")
		u.git("tag", "v1")
		asks = append(asks, watch.Ask{Repo: add(t, host, u.path)})
	}
	asks = append(asks, watch.Ask{Repo: add(t, host, filepath.Join(t.TempDir(), "nowhere.git"))}, watch.Ask{Repo: watch.Repo{Name: "unknown"}})
	for round := range 2 {
		answers := 0
		host.List(t.Context(), asks, func(i int, listing watch.Listing, err error) {
			answers++
			switch {
			case i >= 5:
				if err == nil {
					t.Errorf("%s was listed", asks[i].Repo.Name)
				}
			case err != nil:
				t.Error(err)
			case listing.Repo != asks[i].Repo, listing.Mark == "", listing.Unchanged != (round == 1), len(listing.Tags) != 1-round:
				t.Errorf("round %d: listed as %+v", round, listing)
			default:
				asks[i].Mark = listing.Mark
			}
		})
		if answers != len(asks) {
			t.Errorf("%d answers to %d asks", answers, len(asks))
		}
	}
}

// TestHangingRepositoriesHaveTheirOwnPlaces lists a repository that is well while
// another hangs: one whose last listing failed, or one of another server.
func TestHangingRepositoriesHaveTheirOwnPlaces(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]watch.Ask{"failed before": {Failing: true}, "another server": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listBesideOneThatHangs(t, ask)
		})
	}
}

func listBesideOneThatHangs(t *testing.T, hanging watch.Ask) {
	t.Helper()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		http.Error(w, "tired", http.StatusServiceUnavailable)
	}))
	defer server.Close()
	host := openHost(t, 1)
	u := newUpstream(t)
	well := add(t, host, u.path)
	hanging.Repo = add(t, host, server.URL+"/web.git")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var order []string
	host.List(ctx, []watch.Ask{hanging, {Repo: well}}, func(_ int, listing watch.Listing, err error) {
		if err == nil {
			order = append(order, listing.Repo.Name)
			close(release)
			return
		}
		order = append(order, "failed")
	})
	if len(order) != 2 || order[0] != well.Name || ctx.Err() != nil {
		t.Errorf("answered in the order %v", order)
	}
}

func TestRepositoriesAreToldApart(t *testing.T) {
	t.Parallel()
	host := openHost(t, 1)
	first := add(t, host, "https://git.example.org/web.git")
	if again := add(t, host, "https://git.example.org/web.git"); again != first {
		t.Errorf("the same repository is %v and %v", first, again)
	}
	other, err := ParseAddress("https://git.example.org/web.git")
	if err != nil {
		t.Fatal(err)
	}
	if other, err = other.WithCredentials("ann", "hunter2hunter2"); err != nil {
		t.Fatal(err)
	}
	second, err := host.Add(other)
	if err != nil {
		t.Fatal(err)
	}
	if second == first || host.Where(second) != host.Where(first) {
		t.Errorf("with credentials it is %v at %s, without %v at %s", second, host.Where(second), first, host.Where(first))
	}
	if _, err := host.Find(t.Context(), watch.Repo{Name: "unknown"}, "v1"); err == nil || errors.Is(err, watch.ErrNoTag) {
		t.Errorf("found a tag of a repository that was never added: %v", err)
	}
}

// TestAnEmptyAnswerIsNoEmptyRepository lists a repository whose server answers
// with nothing at all, which git takes for a repository without references.
func TestAnEmptyAnswerIsNoEmptyRepository(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	host := openHost(t, 1)
	repo := add(t, host, server.URL+"/web.git")
	host.List(t.Context(), []watch.Ask{{Repo: repo, Mark: "of a listing with tags"}}, func(_ int, listing watch.Listing, err error) {
		if err == nil {
			t.Errorf("listed as %+v: every tag would be taken for deleted", listing)
		}
	})
	u := newUpstream(t)
	u.commit("first")
	emptied := add(t, host, u.path)
	host.List(t.Context(), []watch.Ask{{Repo: emptied, Mark: "of a listing with tags"}}, func(_ int, listing watch.Listing, err error) {
		if err != nil || listing.Unchanged || len(listing.Tags) != 0 {
			t.Errorf("a repository without tags is listed as %+v, %v", listing, err)
		}
	})
}
