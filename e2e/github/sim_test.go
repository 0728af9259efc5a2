package github_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/google/go-github/v57/github"

	"github.com/tagship/tagship/e2e/github"
)

// start starts a GitHub that ends with the test.
func start(t *testing.T, opts github.Options) *github.Sim {
	t.Helper()
	sim, err := github.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return sim
}

// connect is go-github, as whoever has the token.
func connect(t *testing.T, sim *github.Sim, token string) *client.Client {
	t.Helper()
	c := client.NewClient(nil)
	if token != "" {
		c = c.WithAuthToken(token)
	}
	base, err := url.Parse(sim.API())
	if err != nil {
		t.Fatal(err)
	}
	c.BaseURL = base
	return c
}

// get makes a request without go-github; headers are names and values in turn.
func get(t *testing.T, address, token string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	return do(t, http.MethodGet, address, token, nil, headers...)
}

func do(t *testing.T, method, address, token string, body any, headers ...string) (*http.Response, []byte) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, answer
}

// reply is an answer of GraphQL.
type reply struct {
	Data   map[string]any
	Errors []struct {
		Type, Message string
		Path          []any
	}
}

// ask asks GraphQL.
func ask(t *testing.T, sim *github.Sim, token, query string, vars map[string]any) (reply, *http.Response) {
	t.Helper()
	resp, body := do(t, http.MethodPost, sim.GraphQL(), token, map[string]any{"query": query, "variables": vars})
	var r reply
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &r); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
	}
	return r, resp
}

// dig walks into decoded JSON by keys and indexes.
func dig(t *testing.T, value any, path ...any) any {
	t.Helper()
	for i, step := range path {
		switch v := value.(type) {
		case map[string]any:
			key, _ := step.(string)
			value = v[key]
		case []any:
			index, _ := step.(int)
			if index >= len(v) {
				t.Fatalf("%v: there are only %d", path[:i+1], len(v))
			}
			value = v[index]
		default:
			t.Fatalf("%v: there is %T", path[:i+1], value)
		}
	}
	return value
}

// git runs git, and returns what it prints.
func git(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = t.TempDir()
	// What git is told by whoever runs the tests is not for this one.
	own := slices.DeleteFunc(cmd.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "GIT_") })
	cmd.Env = append(own, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// call is what a webhook received.
type call struct {
	event, guid string
	header      http.Header
	body        []byte
	payload     map[string]any
}

// receiver takes webhooks.
type receiver struct {
	url    string
	calls  chan call
	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request)
}

// answers sets what calls are answered with.
func (r *receiver) answers(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{calls: make(chan call, 1000), answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
			return
		}
		text := body
		if form, err := url.ParseQuery(string(body)); err == nil && strings.Contains(req.Header.Get("Content-Type"), "form") {
			text = []byte(form.Get("payload"))
		}
		c := call{event: req.Header.Get("X-GitHub-Event"), guid: req.Header.Get("X-GitHub-Delivery"), header: req.Header, body: body}
		if err := json.Unmarshal(text, &c.payload); err != nil {
			t.Errorf("%v in %.200s", err, body)
		}
		r.calls <- c
		r.mu.Lock()
		answer := r.answer
		r.mu.Unlock()
		answer(w, req)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// next waits for so many calls.
func (r *receiver) next(t *testing.T, n int) []call {
	t.Helper()
	var got []call
	deadline := time.After(10 * time.Second)
	for len(got) < n {
		select {
		case c := <-r.calls:
			got = append(got, c)
		case <-deadline:
			t.Fatalf("%d of %d webhooks came: %v", len(got), n, events(got))
		}
	}
	return got
}

func events(calls []call) []string {
	var list []string
	for _, c := range calls {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %v", c.event, c.payload["ref"])))
	}
	return list
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// A client of REST, GraphQL and git are told of the same tags.
func TestOneState(t *testing.T) {
	t.Parallel()
	for _, enterprise := range []bool{false, true} {
		sim := start(t, github.Options{Enterprise: enterprise})
		token := sim.PersonalToken("alice").Value()
		r := sim.Repo("acme/web")
		c := r.Commit(github.Files{"README.md": "hello", "cmd/main.go": "package main"})
		r.Tag("v1.0.0", c)
		tag := r.TagAnnotated("v1.1.0", c)
		nested := r.TagNested("v1.2.0", c)
		want := map[string][2]string{"v1.0.0": {c.ID, c.ID}, "v1.1.0": {tag.ID, c.ID}, "v1.2.0": {nested.ID, c.ID}}

		refs, _, err := connect(t, sim, token).Git.ListMatchingRefs(t.Context(), "acme", "web", &client.ReferenceListOptions{Ref: "tags"})
		if err != nil {
			t.Fatal(err)
		}
		if len(refs) != len(want) {
			t.Errorf("matching refs: %v", refs)
		}
		for _, ref := range refs {
			if name := strings.TrimPrefix(ref.GetRef(), "refs/tags/"); ref.Object.GetSHA() != want[name][0] {
				t.Errorf("matching refs: %s is %s, want %s", name, ref.Object.GetSHA(), want[name][0])
			}
		}
		tags, _, err := connect(t, sim, token).Repositories.ListTags(t.Context(), "acme", "web", nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(tags) != len(want) || tags[0].GetName() != "v1.2.0" {
			t.Errorf("tags: %v", tags)
		}
		for _, one := range tags {
			if one.Commit.GetSHA() != c.ID {
				t.Errorf("tags: %s is %s, want the commit %s", one.GetName(), one.Commit.GetSHA(), c.ID)
			}
		}
		answer, _ := ask(t, sim, token, tagsQuery, map[string]any{"ids": []string{r.NodeID()}})
		nodes, _ := dig(t, answer.Data, "nodes", 0, "refs", "nodes").([]any)
		if len(nodes) != len(want) {
			t.Errorf("GraphQL: %v", answer)
		}
		for _, node := range nodes {
			name, _ := dig(t, node, "name").(string)
			if oid := dig(t, node, "target", "oid"); oid != want[name][0] {
				t.Errorf("GraphQL: %s is %s, want %s", name, oid, want[name][0])
			}
		}
		out, err := git(t, "ls-remote", "--tags", r.CloneURL())
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for name, ids := range want {
			if !strings.Contains(out, ids[0]+"\trefs/tags/"+name+"\n") {
				t.Errorf("git: %s is not %s in\n%s", name, ids[0], out)
			}
			if ids[0] != ids[1] && !strings.Contains(out, ids[1]+"\trefs/tags/"+name+"^{}\n") {
				t.Errorf("git: %s does not lead to %s in\n%s", name, ids[1], out)
			}
		}
	}
}

// tagsQuery asks for the tags of many repositories.
const tagsQuery = `query($ids:[ID!]!){ rateLimit{cost remaining resetAt limit used} nodes(ids:$ids){ __typename ... on Repository {
	databaseId nameWithOwner isArchived
	refs(refPrefix:"refs/tags/", first:100, orderBy:{field:TAG_COMMIT_DATE,direction:DESC}){ totalCount pageInfo{hasNextPage endCursor}
		nodes{ name target{ __typename oid ... on Tag { tagger{date} target{ __typename oid ... on Tag { target{ __typename oid } } } } ... on Commit { committedDate } } } } } } }`

func writeFile(t *testing.T, path string, body []byte) {
	t.Helper()
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
}
