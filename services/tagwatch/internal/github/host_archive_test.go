package github

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
)

func TestArchiveOfATag(t *testing.T) {
	const linked = "/acme-web/legacy.tar.gz"
	body := tarball(t, 6, someSource("acme-web-0123456/")...)
	codeload := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" {
			t.Errorf("the host of archives gets %q", r.Header)
		}
		if r.URL.Path != linked {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		sendsBody(body)(w, r)
	}))
	defer codeload.Close()
	repo := watch.Repo{Name: "acme/web", ID: "4"}
	base := "/repositories/4"
	there := says(200, `{"id":4,"full_name":"acme/web"}`)
	object := fmt.Sprintf(`{"sha":%q}`, archivedCommit)
	link := func(path string) func(http.ResponseWriter) {
		return says(302, "", "Location", codeload.URL+path)
	}
	for name, test := range map[string]struct {
		repo    watch.Repo
		answers map[string]func(http.ResponseWriter) // by path; 404 for any other
		want    string                               // in the error
		gone    bool
		unfit   bool
	}{
		"by its ID": {repo, map[string]func(http.ResponseWriter){base + "/tarball/" + archivedCommit: link(linked)}, "", false, false},
		"renamed, before its ID is known": {watch.Repo{Name: "acme/old"}, map[string]func(http.ResponseWriter){
			"/repos/acme/old/tarball/" + archivedCommit: says(301, "{}", "Location", base+"/tarball/"+archivedCommit),
			base + "/tarball/" + archivedCommit:         link(linked),
		}, "", false, false},
		"no repository": {repo, nil, "shows no acme/web", true, false},
		"no commit":     {repo, map[string]func(http.ResponseWriter){base: there}, "has no commit " + archivedCommit, false, false},
		"a commit without an archive": {repo, map[string]func(http.ResponseWriter){
			base:                                    there,
			base + "/git/commits/" + archivedCommit: says(200, object),
		}, "no archive of it", false, false},
		"a link to nothing": {repo, map[string]func(http.ResponseWriter){
			base:                                  there,
			base + "/tarball/" + archivedCommit:   link("/nothing"),
			base + "/git/trees/" + archivedCommit: says(200, `{"sha":"`+strings.Repeat("b", 40)+`"}`),
		}, "has no commit", false, false},
		"a file": {repo, map[string]func(http.ResponseWriter){
			base:                                  there,
			base + "/git/blobs/" + archivedCommit: says(200, object),
		}, "names a blob", false, true},
		"a folder": {repo, map[string]func(http.ResponseWriter){
			base:                                  there,
			base + "/git/trees/" + archivedCommit: says(200, object),
		}, "names a tree", false, true},
		"not to be read": {repo, map[string]func(http.ResponseWriter){
			base + "/tarball/" + archivedCommit: says(403, `{"message":"Resource not accessible by integration"}`),
		}, "Contents: read", true, false},
		"no link": {repo, map[string]func(http.ResponseWriter){
			base + "/tarball/" + archivedCommit: says(200, `{}`),
		}, "answered 200 where the link", false, false},
		"down": {repo, map[string]func(http.ResponseWriter){
			base + "/tarball/" + archivedCommit: says(502, `<html>`),
		}, "answered 502", false, false},
		"elsewhere": {repo, map[string]func(http.ResponseWriter){
			base + "/tarball/" + archivedCommit: says(302, "", "Location", "http://elsewhere.example.org/?token=s3cret"),
		}, "archive_hosts", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer t0ken" {
					t.Errorf("%s without the token", r.URL.Path)
				}
				if answer := test.answers[r.URL.Path]; answer != nil {
					answer(w)
					return
				}
				says(404, `{"message":"Not Found"}`)(w)
			}))
			defer api.Close()
			h, err := Open(Settings{
				Name: "ghe.example.org", API: api.URL, Token: "t0ken", Spool: t.TempDir(), MaxArchive: 1 << 20, Timeout: time.Minute,
				ArchiveHosts: []string{strings.TrimPrefix(codeload.URL, "http://")},
			}, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			archive, err := h.Archive(t.Context(), test.repo, watch.Tag{Name: "v1", Commit: archivedCommit})
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := archive.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Fatalf("got %v, want an error about %q", err, test.want)
			}
			var gone *watch.GoneError
			var unfit *watch.UnfitError
			if errors.As(err, &gone) != test.gone || errors.As(err, &unfit) != test.unfit {
				t.Errorf("got %T, want gone: %v, unfit: %v", err, test.gone, test.unfit)
			}
		})
	}
}

func TestArchiveOfNoCommit(t *testing.T) {
	h := hostOver(t, Settings{Token: "t0ken"}, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked for %s", r.URL)
	})
	for _, commit := range []string{"", "main", "v1#2", "../../user"} {
		if _, err := h.Archive(t.Context(), watch.Repo{Name: "acme/web"}, watch.Tag{Name: "v1", Commit: commit}); err == nil {
			t.Errorf("%q was asked for", commit)
		}
	}
}
