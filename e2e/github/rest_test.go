package github_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	client "github.com/google/go-github/v57/github"

	"github.com/tagship/tagship/e2e/github"
)

func Test10ListOfTags(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r := sim.Repo("acme/web")
	c := r.Commit(github.Files{"a": "b"})
	names := []string{"workflow_dispatch_tag", "v2.1.0", "v2.1.0.post0", "v2.0.1-preview", "v2.0.0-preview.1", "v1.10", "v1.9"}
	for _, name := range slices.Backward(names) {
		r.TagAnnotated(name, c)
	}
	api := connect(t, sim, sim.PersonalToken("alice").Value())
	tags, _, err := api.Repositories.ListTags(t.Context(), "acme", "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, tag := range tags {
		if tag.GetName() != names[i] || tag.Commit.GetSHA() != c.ID {
			t.Errorf("%d. tag: %s of %s, want %s of the commit", i, tag.GetName(), tag.Commit.GetSHA(), names[i])
		}
	}

	many := sim.Repo("acme/many")
	var refs []github.Ref
	for i := range 205 {
		refs = append(refs, github.Ref{Name: fmt.Sprintf("v1.%d.0", i), Object: c})
	}
	many.Push(refs...)
	seen := map[string]int{}
	opts := &client.ListOptions{PerPage: 1000}
	for pages := 1; ; pages++ {
		page, resp, err := api.Repositories.ListTags(t.Context(), "acme", "many", opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range page {
			seen[tag.GetName()]++
		}
		if pages == 1 {
			if len(page) != 100 || page[0].GetName() != "v1.204.0" || resp.LastPage != 3 {
				t.Errorf("first of %d pages: %d tags from %s", resp.LastPage, len(page), page[0].GetName())
			}
			if want := fmt.Sprintf("%srepositories/%d/tags?", sim.API(), many.ID()); !strings.Contains(resp.Header.Get("Link"), want) {
				t.Errorf("Link: %s, want %s", resp.Header.Get("Link"), want)
			}
			// One that is pushed now moves the others to later places.
			many.Tag("v2.0.0", c)
		}
		if resp.NextPage == 0 {
			break
		}
		opts.Page = resp.NextPage
	}
	if seen["v1.105.0"] != 2 || seen["v2.0.0"] != 0 || len(seen) != 205 {
		t.Errorf("%d tags, v1.105.0 %d times, v2.0.0 %d times; want 205, 2, 0", len(seen), seen["v1.105.0"], seen["v2.0.0"])
	}
	byID, body := get(t, fmt.Sprintf("%srepositories/%d/tags?page=2", sim.API(), many.ID()), "")
	var page []client.RepositoryTag
	if err := json.Unmarshal(body, &page); err != nil || byID.StatusCode != http.StatusOK || len(page) != 30 {
		t.Errorf("by id: %d, %d tags, %v", byID.StatusCode, len(page), err)
	}
}

func Test11MatchingRefs(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r := sim.Repo("acme/web")
	api := connect(t, sim, "")
	address := sim.API() + "repos/acme/web/git/matching-refs/"
	if resp, _ := get(t, address+"tags", ""); resp.StatusCode != http.StatusConflict {
		t.Errorf("empty repository: %d, want 409", resp.StatusCode)
	}
	c := r.Commit(github.Files{"a": "b"})
	if resp, body := get(t, address+"tags", ""); resp.StatusCode != http.StatusOK || string(body) != "[]" {
		t.Errorf("no tags: %d %s", resp.StatusCode, body)
	}
	if resp, _ := get(t, sim.API()+"repos/acme/web/git/refs/tags", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("no tags, the old way: %d, want 404", resp.StatusCode)
	}
	for i := range 40 {
		r.Tag(fmt.Sprintf("v1.%d.0", i), c)
	}
	r.TagAnnotated("v10", c)
	r.TagBlob("data", "nothing")
	r.Tag("tree", c.Target)
	resp, body := get(t, address+"tags?per_page=1&page=2", "")
	var refs []client.Reference
	if err := json.Unmarshal(body, &refs); err != nil {
		t.Fatal(err)
	}
	if len(refs) != 43 || resp.Header.Get("Link") != "" || resp.Header.Get("X-Poll-Interval") != "300" {
		t.Errorf("%d refs, Link %q, poll interval %q", len(refs), resp.Header.Get("Link"), resp.Header.Get("X-Poll-Interval"))
	}
	types := map[string]string{}
	for _, ref := range refs {
		types[strings.TrimPrefix(ref.GetRef(), "refs/tags/")] = ref.Object.GetType()
	}
	for name, want := range map[string]string{"v1.0.0": "commit", "v10": "tag", "data": "blob", "tree": "tree"} {
		if types[name] != want {
			t.Errorf("%s is a %s, want %s", name, types[name], want)
		}
	}
	matching, _, err := api.Git.ListMatchingRefs(t.Context(), "acme", "web", &client.ReferenceListOptions{Ref: "tags/v1"})
	if err != nil || len(matching) != 41 || matching[0].GetRef() != "refs/tags/v1.0.0" || matching[40].GetRef() != "refs/tags/v10" {
		t.Errorf("tags/v1: %d refs, %v", len(matching), err)
	}
	if one, _, err := api.Git.GetRef(t.Context(), "acme", "web", "tags/v1.3.0"); err != nil || one.Object.GetSHA() != c.ID {
		t.Errorf("one ref: %v %v", one, err)
	}
	if _, resp, err := api.Git.GetRef(t.Context(), "acme", "web", "tags/v1"); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the beginning of a ref: %v, want 404", err)
	}
	if _, body := get(t, sim.API()+"repos/acme/web/git/refs/tags/v1.1", ""); !strings.HasPrefix(string(body), "[") {
		t.Errorf("the beginning of a ref, the old way: %s, want a list", body)
	}
}

func Test12TagObjects(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r := sim.Repo("acme/web")
	c := r.Commit(github.Files{"a": "b"})
	nested := r.TagNested("v1.0.0", c)
	api := connect(t, sim, "")
	outer, _, err := api.Git.GetTag(t.Context(), "acme", "web", nested.ID)
	if err != nil || outer.Object.GetType() != "tag" || outer.GetTag() != "v1.0.0" || outer.Verification.GetReason() != "unsigned" {
		t.Fatalf("outer tag: %v %v", outer, err)
	}
	inner, _, err := api.Git.GetTag(t.Context(), "acme", "web", outer.Object.GetSHA())
	if err != nil || inner.Object.GetType() != "commit" || inner.Object.GetSHA() != c.ID {
		t.Fatalf("inner tag: %v %v", inner, err)
	}
	if _, resp, err := api.Git.GetTag(t.Context(), "acme", "web", c.ID); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("a commit as a tag: %v, want 404", err)
	}
	signed := r.TagAnnotated("v1.1.0", c)
	r.Sign(signed, "gpgverify_unavailable", "valid")
	for i, want := range []string{"gpgverify_unavailable", "valid", "valid"} {
		tag, _, err := api.Git.GetTag(t.Context(), "acme", "web", signed.ID)
		if err != nil || tag.Verification.GetReason() != want || tag.Verification.GetVerified() != (want == "valid") {
			t.Errorf("%d. check: %v %v, want %s", i, tag.GetVerification(), err, want)
		}
		if tag.Verification.Signature == nil {
			t.Errorf("%d. check: there is no signature", i)
		}
	}
	commit, _, err := api.Git.GetCommit(t.Context(), "acme", "web", c.ID)
	if err != nil || commit.Tree.GetSHA() != c.Target.ID || commit.Verification.GetVerified() {
		t.Errorf("commit: %v %v", commit, err)
	}
}

func Test13ConditionalRequests(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r := sim.Repo("acme/web")
	c := r.Commit(github.Files{"a": "b"})
	alice, bob := sim.PersonalToken("alice").Value(), sim.PersonalToken("bob").Value()
	address := sim.API() + "repos/acme/web/git/matching-refs/tags"
	resp, _ := get(t, address, alice)
	tag, left := resp.Header.Get("ETag"), resp.Header.Get("X-RateLimit-Remaining")
	if !strings.HasPrefix(tag, `W/"`) {
		t.Fatalf("ETag of a 200: %s, want a weak one", tag)
	}
	for _, known := range []string{tag, strings.TrimPrefix(tag, "W/"), `"other", ` + tag} {
		resp, body := get(t, address, alice, "If-None-Match", known)
		if resp.StatusCode != http.StatusNotModified || len(body) != 0 || resp.Header.Get("X-RateLimit-Remaining") != left {
			t.Errorf("%s: %d with %s left, want 304 and %s", known, resp.StatusCode, resp.Header.Get("X-RateLimit-Remaining"), left)
		}
		if got := resp.Header.Get("ETag"); got != strings.TrimPrefix(tag, "W/") {
			t.Errorf("ETag of a 304: %s, want a strong one", got)
		}
	}
	if resp, _ := get(t, address, bob, "If-None-Match", tag); resp.StatusCode != http.StatusOK {
		t.Errorf("another token's ETag: %d, want 200", resp.StatusCode)
	}
	modified := resp.Header.Get("Last-Modified")
	if resp, _ := get(t, address, bob, "If-Modified-Since", modified); resp.StatusCode != http.StatusNotModified {
		t.Errorf("not modified since %s: %d, want 304", modified, resp.StatusCode)
	}
	sim.Advance(2 * time.Second)
	r.Tag("v1.0.0", c)
	for _, header := range []string{"If-None-Match", "If-Modified-Since"} {
		known := map[string]string{"If-None-Match": tag, "If-Modified-Since": modified}[header]
		if resp, _ := get(t, address, alice, header, known); resp.StatusCode != http.StatusOK {
			t.Errorf("%s after a push: %d, want 200", header, resp.StatusCode)
		}
	}
	if n := sim.Answered(http.StatusNotModified); n != 4 {
		t.Errorf("%d answers were 304, want 4", n)
	}

	// go-github hands a 304 out as an error.
	api := connect(t, sim, alice)
	req, err := api.NewRequest(http.MethodGet, "repos/acme/web/tags", nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := api.Do(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-None-Match", first.Header.Get("ETag"))
	var unchanged *client.ErrorResponse
	if _, err := api.Do(t.Context(), req, nil); !errors.As(err, &unchanged) || unchanged.Response.StatusCode != http.StatusNotModified {
		t.Errorf("go-github says %v, want a 304", err)
	}
}

func Test14TokensExpire(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	app, err := sim.App()
	if err != nil {
		t.Fatal(err)
	}
	r := sim.Repo("acme/web").Private(true)
	r.Commit(github.Files{"a": "b"})
	installation := app.Install("acme")
	apps := connect(t, sim, signJWT(t, app, time.Now())).Apps
	token := func() string {
		issued, _, err := apps.CreateInstallationToken(t.Context(), installation.ID(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if in := issued.GetExpiresAt().Sub(sim.Now()); in > time.Hour || in < 59*time.Minute {
			t.Errorf("the token expires in %s, want an hour", in)
		}
		return issued.GetToken()
	}
	old := token()
	address := sim.API() + "repos/acme/web/tags"
	resp, _ := get(t, address, old)
	tag := resp.Header.Get("ETag")
	if resp, _ := get(t, address, old, "If-None-Match", tag); resp.StatusCode != http.StatusNotModified {
		t.Errorf("with the same token: %d, want 304", resp.StatusCode)
	}
	sim.Advance(time.Hour)
	if resp, body := get(t, address, old); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), "Bad credentials") {
		t.Errorf("after an hour: %d %s, want 401", resp.StatusCode, body)
	}
	if resp, _ := get(t, address, token(), "If-None-Match", tag); resp.StatusCode != http.StatusOK {
		t.Errorf("with a new token: %d, want 200", resp.StatusCode)
	}
	if installation.Tokens() != 2 {
		t.Errorf("%d tokens were issued, want 2", installation.Tokens())
	}
}

func Test15PrimaryLimit(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusForbidden, http.StatusTooManyRequests} {
		sim := start(t, github.Options{LowerCase: true})
		sim.Repo("acme/web").Commit(github.Files{"a": "b"})
		sim.Budget("core", 2, time.Hour)
		sim.Budget("graphql", 1, time.Hour)
		sim.SayLimits(github.LimitForm{Status: status}, github.LimitForm{})
		token := sim.PersonalToken("alice").Value()
		api := connect(t, sim, token)
		list := func(c *client.Client) error {
			_, _, err := c.Repositories.ListTags(t.Context(), "acme", "web", nil)
			return err
		}
		resp, _ := get(t, sim.API()+"repos/acme/web/tags", token)
		if err := list(api); err != nil {
			t.Fatal(err)
		}
		// go-github knows that none is left, and asks no more.
		var limit *client.RateLimitError
		if err := list(api); !errors.As(err, &limit) {
			t.Errorf("with none left: %v, want a RateLimitError", err)
		}
		var plain *client.ErrorResponse
		err := list(connect(t, sim, token))
		if status == http.StatusForbidden && !errors.As(err, &limit) {
			t.Errorf("403: %v, want a RateLimitError", err)
		}
		if status == http.StatusTooManyRequests && (!errors.As(err, &plain) || plain.Response.Header.Get("X-RateLimit-Remaining") != "0") {
			t.Errorf("429: %v, want an ErrorResponse with nothing left", err)
		}
		if resp, _ := get(t, sim.API()+"repos/acme/web/tags", token, "If-None-Match", resp.Header.Get("ETag")); resp.StatusCode != http.StatusNotModified {
			t.Errorf("a free request with none left: %d, want 304", resp.StatusCode)
		}
		limits, _, err := connect(t, sim, token).RateLimit.Get(t.Context())
		if err != nil || limits.Core.Remaining != 0 || limits.GraphQL.Remaining != 1 {
			t.Errorf("limits: %v %v", limits, err)
		}
		if r, _ := ask(t, sim, token, "{viewer{login}}", nil); len(r.Errors) != 0 {
			t.Errorf("GraphQL: %v", r.Errors)
		}
		if r, resp := ask(t, sim, token, "{viewer{login}}", nil); len(r.Errors) != 1 || r.Errors[0].Type != "RATE_LIMITED" || resp.StatusCode != http.StatusOK {
			t.Errorf("GraphQL with none left: %d %+v", resp.StatusCode, r)
		}
		if raw := rawGet(t, sim.Host(), "/rate_limit"); !strings.Contains(raw, "\nx-ratelimit-remaining: ") {
			t.Errorf("headers are not in lower case:\n%s", raw)
		}
		sim.Advance(time.Hour)
		if err := list(connect(t, sim, token)); err != nil {
			t.Errorf("in the next window: %v", err)
		}
		if got := sim.Points("core"); got != 3 {
			t.Errorf("%d points were used, want 3", got)
		}
	}
}

// rawGet is an answer as it comes over the wire.
func rawGet(t *testing.T, host, path string) string {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestLimitOfInstallationGrows(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{20: 5000, 30: 5500, 400: 12500} {
		sim := start(t, github.Options{})
		sim.Fleet("acme", "app", n, github.Files{"a": "b"})
		app, err := sim.App()
		if err != nil {
			t.Fatal(err)
		}
		installation := app.Install("acme")
		token, _, err := connect(t, sim, signJWT(t, app, time.Now())).Apps.CreateInstallationToken(t.Context(), installation.ID(), nil)
		if err != nil {
			t.Fatal(err)
		}
		limits, _, err := connect(t, sim, token.GetToken()).RateLimit.Get(t.Context())
		if err != nil || limits.Core.Limit != want {
			t.Errorf("%d repositories: limit %v %v, want %d", n, limits.GetCore(), err, want)
		}
	}
}

func Test16SecondaryLimit(t *testing.T) {
	t.Parallel()
	const route = "GET /repos/{owner}/{repo}/tags"
	forms := []struct {
		name string
		form github.LimitForm
		want any // what go-github says
	}{
		{"403 with Retry-After", github.LimitForm{RetryAfter: 30 * time.Second}, &client.AbuseRateLimitError{}},
		{"403 without", github.LimitForm{NoRetryAfter: true}, &client.AbuseRateLimitError{}},
		{"403 in words only", github.LimitForm{BodyOnly: true}, &client.ErrorResponse{}},
		{"429 with Retry-After", github.LimitForm{Status: http.StatusTooManyRequests}, &client.ErrorResponse{}},
	}
	for _, test := range forms {
		sim := start(t, github.Options{})
		sim.Repo("acme/web").Commit(github.Files{"a": "b"})
		fault := sim.Misbehave(github.Fault{Route: route, Times: 1, Secondary: &test.form})
		api := connect(t, sim, sim.PersonalToken("alice").Value())
		_, resp, err := api.Repositories.ListTags(t.Context(), "acme", "web", nil)
		if fmt.Sprintf("%T", err) != fmt.Sprintf("%T", test.want) {
			t.Errorf("%s: %T %v, want a %T", test.name, err, err, test.want)
		}
		if left := resp.Header.Get("X-RateLimit-Remaining"); left == "" || left == "0" || fault.Seen() != 1 {
			t.Errorf("%s: %q left, seen %d times", test.name, left, fault.Seen())
		}
		var abuse *client.AbuseRateLimitError
		if test.form.NoRetryAfter && errors.As(err, &abuse) && abuse.GetRetryAfter() < 50*time.Minute {
			t.Errorf("%s: go-github waits for %s, want the time until the reset", test.name, abuse.GetRetryAfter())
		}
	}

	sim := start(t, github.Options{Secondary: true})
	sim.Repo("acme/web").Commit(github.Files{"a": "b"})
	alice, bob := sim.PersonalToken("alice").Value(), sim.PersonalToken("bob").Value()
	for i := range 901 {
		resp, _ := get(t, sim.API()+"repos/acme/web/tags", alice)
		if want := map[bool]int{true: http.StatusForbidden, false: http.StatusOK}[i == 900]; resp.StatusCode != want {
			t.Fatalf("%d. request in a minute: %d, want %d", i+1, resp.StatusCode, want)
		}
	}
	if _, resp := ask(t, sim, alice, "{viewer{login}}", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("GraphQL counts by itself: %d", resp.StatusCode)
	}
	sim.Advance(time.Minute)
	commit := sim.Repo("acme/web").Commit(github.Files{"a": "c"}).ID
	for i := range 81 {
		resp, _ := do(t, http.MethodPost, sim.API()+"repos/acme/web/statuses/"+commit, alice, map[string]string{"state": "success"})
		if want := map[bool]int{true: http.StatusForbidden, false: http.StatusCreated}[i == 80]; resp.StatusCode != want {
			t.Fatalf("%d. status in a minute: %d, want %d", i+1, resp.StatusCode, want)
		}
	}
	sim.Advance(time.Minute)
	if resp, _ := get(t, sim.API()+"repos/acme/web/tags", alice); resp.StatusCode != http.StatusOK {
		t.Errorf("a minute later: %d", resp.StatusCode)
	}
	hang := sim.Misbehave(github.Fault{Route: route, Times: 100, Hang: true})
	for range 100 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, sim.API()+"repos/acme/web/tags", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+bob)
		go func() {
			if resp, err := http.DefaultClient.Do(req); err == nil {
				resp.Body.Close()
			}
		}()
	}
	eventually(t, "100 requests are under way", func() bool { return hang.Seen() == 100 })
	if resp, _ := get(t, sim.API()+"repos/acme/web", bob); resp.StatusCode != http.StatusForbidden || resp.Header.Get("Retry-After") == "" {
		t.Errorf("101 at once: %d", resp.StatusCode)
	}
}

func Test18RepositoriesChange(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	token := sim.PersonalToken("alice")
	r := sim.Repo("acme/web")
	r.Tag("v1.0.0", r.Commit(github.Files{"a": "b"}))
	api := connect(t, sim, token.Value())
	tags := func(owner, name string) (int, error) {
		list, resp, err := api.Repositories.ListTags(t.Context(), owner, name, nil)
		if err != nil && resp == nil {
			return 0, err
		}
		return len(list), err
	}

	r.Rename("site")
	r.Transfer("globex")
	resp, _ := get(t, sim.API()+"repos/acme/web/tags?page=1", token.Value())
	if want := fmt.Sprintf("%srepositories/%d/tags?page=1", sim.API(), r.ID()); resp.StatusCode != http.StatusMovedPermanently || resp.Header.Get("Location") != want {
		t.Errorf("renamed: %d to %s, want %s", resp.StatusCode, resp.Header.Get("Location"), want)
	}
	if n, err := tags("acme", "web"); n != 1 || err != nil {
		t.Errorf("renamed: %d tags, %v", n, err)
	}
	if repo, _, err := api.Repositories.GetByID(t.Context(), r.ID()); err != nil || repo.GetFullName() != "globex/site" {
		t.Errorf("by id: %v %v", repo.GetFullName(), err)
	}
	other := sim.Reuse("acme/web")
	if repo, _, err := api.Repositories.Get(t.Context(), "acme", "web"); err != nil || repo.GetID() != other.ID() || other.ID() == r.ID() {
		t.Errorf("name used again: %v %v", repo.GetID(), err)
	}
	r.Archive(true)
	if repo, _, err := api.Repositories.Get(t.Context(), "globex", "site"); err != nil || !repo.GetArchived() {
		t.Errorf("archived: %v %v", repo.GetArchived(), err)
	}
	r.Shut(token)
	var gone *client.ErrorResponse
	if _, err := tags("globex", "site"); !errors.As(err, &gone) || gone.Response.StatusCode != http.StatusNotFound {
		t.Errorf("lost access: %v, want 404", err)
	}
	r.Open(token)
	r.Private(true)
	if resp, _ := get(t, sim.API()+"repos/globex/site", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("private, to anybody: %d, want 404", resp.StatusCode)
	}
	other.Delete()
	if resp, _ := get(t, sim.API()+"repos/acme/web", token.Value()); resp.StatusCode != http.StatusNotFound {
		t.Errorf("deleted: %d, want 404", resp.StatusCode)
	}

	var syntax *json.SyntaxError
	for name, test := range map[string]struct {
		fault github.Fault
		is    func(error) bool
	}{
		"502": {github.Fault{Status: http.StatusBadGateway}, func(err error) bool {
			return errors.As(err, &gone) && gone.Response.StatusCode == http.StatusBadGateway
		}},
		"HTML":      {github.Fault{Status: http.StatusOK}, func(err error) bool { return errors.As(err, &syntax) }},
		"truncated": {github.Fault{Truncate: true}, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"cut":       {github.Fault{Cut: true}, func(err error) bool { return err != nil }},
		"reset":     {github.Fault{Reset: true}, func(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }},
	} {
		// Go tries a request anew whose connection was reset, if it had been used before.
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		test.fault.Repo = "globex/site"
		fault := sim.Misbehave(test.fault)
		if _, err := tags("globex", "site"); !test.is(err) {
			t.Errorf("%s: %v", name, err)
		}
		fault.Stop()
	}
	skip := sim.Misbehave(github.Fault{Status: http.StatusServiceUnavailable, Skip: 1, Times: 1})
	var got []int
	for range 3 {
		resp, _ := get(t, sim.API()+"repos/globex/site", token.Value())
		got = append(got, resp.StatusCode)
	}
	if !slices.Equal(got, []int{200, 503, 200}) || skip.Seen() != 1 {
		t.Errorf("skip one and fail once: %v", got)
	}
}

// What is pushed may be heard of before the API knows.
func TestLagAndSkew(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{Skew: time.Hour})
	r, c, _, in := watch(t, sim)
	r.Tag("v1", c)
	in.next(t, 2)
	sim.Lag(time.Minute)
	ahead := r.Commit(github.Files{"a": "c"})
	r.MoveTag("v1", ahead)
	r.Tag("v2", ahead)
	in.next(t, 4)
	api := connect(t, sim, "")
	seen := func(name string) string {
		ref, _, err := api.Git.GetRef(t.Context(), "acme", "web", "tags/"+name)
		if err != nil {
			return ""
		}
		return ref.Object.GetSHA()
	}
	if seen("v1") != c.ID || seen("v2") != "" {
		t.Errorf("at once: v1 is %s, v2 is %s", seen("v1"), seen("v2"))
	}
	sim.Advance(time.Minute)
	if seen("v1") != ahead.ID || seen("v2") != ahead.ID {
		t.Errorf("later: v1 is %s, v2 is %s", seen("v1"), seen("v2"))
	}
	resp, _ := get(t, sim.API()+"rate_limit", "")
	date, err := http.ParseTime(resp.Header.Get("Date"))
	reset, numErr := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil || numErr != nil || date.Sub(sim.Now()) < 59*time.Minute || time.Unix(reset, 0).Sub(sim.Now()) < 118*time.Minute {
		t.Errorf("Date %s, reset %d, want an hour ahead", date, reset)
	}
}

// Answers take time if they are told to, and what was counted is forgotten.
func TestLatencyAndCounts(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r := sim.Repo("acme/web")
	r.Commit(github.Files{"a": "b"})
	sim.Latency(30 * time.Millisecond)
	begin := time.Now()
	get(t, fmt.Sprintf("%srepositories/%d", sim.API(), r.ID()), "")
	if took := time.Since(begin); took < 30*time.Millisecond {
		t.Errorf("it took %s", took)
	}
	sim.Latency(0)
	r.Disable(true)
	if resp, _ := get(t, sim.API()+"repos/acme/web", ""); resp.StatusCode != http.StatusForbidden {
		t.Errorf("disabled: %d, want 403", resp.StatusCode)
	}
	if n := sim.Requests(""); n != 2 || sim.Routes()["GET /repos/{owner}/{repo}"] != 2 {
		t.Errorf("%d requests, %v, want 2", n, sim.Routes())
	}
	sim.ResetCounts()
	if n := sim.Requests(""); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// Files and owners' repositories, as a client that looks for recipes wants them.
func TestContentsAndOwners(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{Enterprise: true})
	sim.Fleet("acme", "app", 35, github.Files{".tagship.yaml": "build: {}"}, "v1.0.0")
	api := connect(t, sim, sim.PersonalToken("alice").Value())
	file, _, _, err := api.Repositories.GetContents(t.Context(), "acme", "app-00007", ".tagship.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := file.GetContent(); err != nil || text != "build: {}" {
		t.Errorf("content %q %v", text, err)
	}
	if _, _, resp, err := api.Repositories.GetContents(t.Context(), "acme", "app-00007", "other", nil); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("no such file: %v", err)
	}
	repos, resp, err := api.Repositories.ListByOrg(t.Context(), "acme", nil)
	if err != nil || len(repos) != 30 || resp.NextPage != 2 {
		t.Errorf("repositories of an organisation: %d, next page %d, %v", len(repos), resp.NextPage, err)
	}
	sim.User("bob")
	if _, resp, err := api.Repositories.ListByOrg(t.Context(), "bob", nil); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("repositories of a person as an organisation: %v, want 404", err)
	}
	if user, _, err := api.Users.Get(t.Context(), "bob"); err != nil || user.GetType() != "User" {
		t.Errorf("a person: %v %v", user, err)
	}
	if org, _, err := api.Organizations.Get(t.Context(), "acme"); err != nil || org.GetType() != "Organization" {
		t.Errorf("an organisation: %v %v", org, err)
	}
	if _, list, _, err := api.Repositories.GetContents(t.Context(), "acme", "app-00007", "", nil); err != nil || len(list) != 1 || list[0].GetPath() != ".tagship.yaml" {
		t.Errorf("the root: %v %v", list, err)
	}
	if repos, _, err := api.Repositories.ListByUser(t.Context(), "bob", nil); err != nil || len(repos) != 0 {
		t.Errorf("repositories of a person: %v %v", repos, err)
	}
	sha, _, err := api.Repositories.GetCommitSHA1(t.Context(), "acme", "app-00007", "v1.0.0", "")
	if err != nil || len(sha) != 40 {
		t.Errorf("commit of a tag: %s %v", sha, err)
	}
	if n := sim.Requests("GET /repos/{owner}/{repo}/contents/{path...}"); n != 3 {
		t.Errorf("%d requests for contents, want 3", n)
	}
}
