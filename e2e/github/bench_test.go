package github_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tagship/tagship/e2e/github"
)

// What is measured with the simulator must not be the simulator.
func BenchmarkRequests(b *testing.B) {
	sim, err := github.Start(github.Options{Enterprise: true})
	if err != nil {
		b.Fatal(err)
	}
	defer sim.Close()
	repos := sim.Fleet("acme", "app", 10_000, github.Files{".tagship.yaml": "build: {}"}, "v1.0.0", "v1.1.0")
	token := sim.PersonalToken("alice").Value()
	send := func(b *testing.B, method, address, body, etag string) *http.Response {
		b.Helper()
		req, err := http.NewRequestWithContext(b.Context(), method, address, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Git-Protocol", "version=2")
		req.Header.Set("If-None-Match", etag)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode >= http.StatusBadRequest {
			b.Fatal(resp.Status, err)
		}
		return resp
	}
	ids := make([]string, 50)
	for i := range ids {
		ids[i] = repos[i].NodeID()
	}
	query, err := json.Marshal(map[string]any{"query": tagsQuery, "variables": map[string]any{"ids": ids}})
	if err != nil {
		b.Fatal(err)
	}
	refs := sim.API() + "repos/acme/app-00007/git/matching-refs/tags"
	etag := send(b, http.MethodGet, refs, "", "").Header.Get("ETag")
	const page = `{"query":"{organization(login:\"acme\"){repositories(first:100,orderBy:{field:PUSHED_AT,direction:DESC}){nodes{databaseId pushedAt}}}}"}`
	const lsRefs = "0014command=ls-refs\n00010009peel\n001aref-prefix refs/tags/\n0000"
	for _, bench := range []struct{ name, method, address, body, etag string }{
		{"refs", http.MethodGet, refs, "", ""},
		{"unchanged", http.MethodGet, refs, "", etag},
		{"query of 50", http.MethodPost, sim.GraphQL(), string(query), ""},
		{"pushed", http.MethodPost, sim.GraphQL(), page, ""},
		{"ls-refs", http.MethodPost, repos[7].CloneURL() + "/git-upload-pack", lsRefs, ""},
		{"tarball", http.MethodGet, sim.API() + "repos/acme/app-00007/tarball/main", "", ""},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				send(b, bench.method, bench.address, bench.body, bench.etag)
			}
		})
	}
}
