package github_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/e2e/github"
)

func Test17GraphQL(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{Unordered: true, Heavy: 1000})
	token := sim.PersonalToken("alice")
	repos := sim.Fleet("acme", "app", 60, github.Files{".tagship.yaml": "build: {}"}, "v1.0.0", "v1.1.0")
	repos[1].Delete()
	repos[2].Private(true)
	repos[2].Shut(token)
	ids := make([]string, len(repos))
	for i, r := range repos {
		ids[i] = r.NodeID()
	}
	answer, resp := ask(t, sim, token.Value(), tagsQuery, map[string]any{"ids": ids})
	if resp.StatusCode != http.StatusOK || len(answer.Errors) != 2 {
		t.Fatalf("%d, errors %+v", resp.StatusCode, answer.Errors)
	}
	for i, e := range answer.Errors {
		if e.Type != "NOT_FOUND" || fmt.Sprint(e.Path) != fmt.Sprintf("[nodes %d]", i+1) || dig(t, answer.Data, "nodes", i+1) != nil {
			t.Errorf("error %+v", e)
		}
	}
	if got := dig(t, answer.Data, "nodes", 59, "refs", "totalCount"); got != 2.0 {
		t.Errorf("%v tags, want 2", got)
	}
	if cost := dig(t, answer.Data, "rateLimit", "cost"); cost != 1.0 || sim.Points("graphql") != 1 {
		t.Errorf("cost %v, %d points", cost, sim.Points("graphql"))
	}

	// A repository that the host gives up on is no repository without tags.
	partial := sim.Misbehave(github.Fault{Partial: true, Repo: "acme/app-00005", Times: 1})
	answer, _ = ask(t, sim, token.Value(), tagsQuery, map[string]any{"ids": ids[3:]})
	if len(answer.Errors) != 1 || dig(t, answer.Data, "nodes", 2) != nil || dig(t, answer.Data, "nodes", 3) == nil || partial.Seen() != 1 {
		t.Errorf("partial: %+v", answer.Errors)
	}

	// 10 s are not enough: an error that costs extra.
	before := sim.Points("graphql")
	slow := sim.Misbehave(github.Fault{Route: github.RouteGraphQL, Status: http.StatusGatewayTimeout, Points: 5, Times: 1})
	if _, resp := ask(t, sim, token.Value(), "{viewer{login}}", nil); resp.StatusCode != http.StatusGatewayTimeout || slow.Seen() != 1 {
		t.Errorf("too slow: %d", resp.StatusCode)
	}
	heavy := `{organization(login:"acme"){repositories(first:100){nodes{refs(refPrefix:"refs/tags/",first:1){nodes{repository{refs(refPrefix:"refs/heads/",first:100){totalCount}}}}}}}}`
	if r, resp := ask(t, sim, token.Value(), heavy, nil); resp.StatusCode != http.StatusOK {
		t.Errorf("201 connections: %d %v", resp.StatusCode, r)
	}
	heavy = strings.ReplaceAll(heavy, "first:1)", "first:10)")
	if _, resp := ask(t, sim, token.Value(), heavy, nil); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("1101 connections: %d, want 502", resp.StatusCode)
	}
	if got := sim.Points("graphql") - before; got != 5+2+22 {
		t.Errorf("%d points, want 5 for the first, 2 for the second, 22 for the third", got)
	}

	// Dates do not order: the newest is not first.
	r := sim.Repo("acme/web")
	long := time.Now().AddDate(-1, 0, 0)
	names := []string{"v1", "v1.0.0", "v2", "v2.0.0"}
	for i, name := range names {
		r.Tag(name, r.CommitAt(long.AddDate(0, i, 0), github.Files{"a": name}))
	}
	sorted := sortedTags(t, sim, token.Value(), "TAG_COMMIT_DATE")
	if slices.Equal(sorted, []string{"v2.0.0", "v2", "v1.0.0", "v1"}) || len(sorted) != 4 {
		t.Errorf("by date: %v, want any other order", sorted)
	}
}

func sortedTags(t *testing.T, sim *github.Sim, token, field string) []string {
	t.Helper()
	answer, _ := ask(t, sim, token, `{repository(owner:"acme",name:"web"){refs(refPrefix:"refs/tags/",first:100,orderBy:{field:`+field+`,direction:DESC}){nodes{name}}}}`, nil)
	nodes, _ := dig(t, answer.Data, "repository", "refs", "nodes").([]any)
	var names []string
	for _, node := range nodes {
		names = append(names, fmt.Sprint(dig(t, node, "name")))
	}
	return names
}

// An annotated tag counts by its own date, a lightweight one by its commit's.
func TestGraphQLOrder(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r := sim.Repo("acme/web")
	old := r.CommitAt(time.Now().AddDate(-2, 0, 0), github.Files{"a": "1"})
	newer := r.CommitAt(time.Now().AddDate(-1, 0, 0), github.Files{"a": "2"})
	r.Tag("light-old", old)
	r.Tag("light-new", newer)
	r.TagAnnotated("annotated-old", old)
	token := sim.PersonalToken("alice").Value()
	if got := sortedTags(t, sim, token, "TAG_COMMIT_DATE"); !slices.Equal(got, []string{"annotated-old", "light-new", "light-old"}) {
		t.Errorf("by date: %v", got)
	}
	if got := sortedTags(t, sim, token, "ALPHABETICAL"); !slices.Equal(got, []string{"light-old", "light-new", "annotated-old"}) {
		t.Errorf("by name: %v", got)
	}
}

func TestGraphQLRefusals(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	sim.Repo("acme/web").Commit(github.Files{"a": "b"})
	token := sim.PersonalToken("alice").Value()
	repo := func(selection string) string { return `{repository(owner:"acme",name:"web"){` + selection + `}}` }
	ids := make([]string, 101)
	for i := range ids {
		ids[i] = `"x"`
	}
	for query, want := range map[string]string{
		repo(`refs(refPrefix:"refs/tags/",first:101){totalCount}`):           "EXCESSIVE_PAGINATION",
		repo(`refs(refPrefix:"refs/tags/"){totalCount}`):                     "MISSING_PAGINATION_BOUNDARIES",
		repo(`refs(first:1){totalCount}`):                                    `argument "refPrefix" of type "String!" is required`,
		repo(`nonsense`):                                                     `Cannot query field "nonsense" on type "Repository"`,
		repo(`refs(refPrefix:"refs/tags/",first:1)`):                         "must have a selection of subfields",
		repo(`ref(qualifiedName:"main"){target{tagger{date}}}`):              `Cannot query field "tagger" on type "GitObject"`,
		`{repository(owner:"acme"`:                                           "Expected",
		`{nodes(ids:[` + strings.Join(ids, ",") + `]){id}}`:                  "ARGUMENT_LIMIT",
		`{organization(login:"nobody"){id}}`:                                 "NOT_FOUND",
		repo(`refs(refPrefix:"refs/tags/",first:1,after:"zzz"){totalCount}`): "INVALID_CURSOR_ARGUMENTS",
		`query($id:ID!){node(id:$id){id}}`:                                   "must be defined",
		`{organization(login:"acme"){repositories(first:100){nodes{a:refs(refPrefix:"x",first:100){nodes{repository{refs(refPrefix:"x",first:100){totalCount}}}}}}}}`: "MAX_NODE_LIMIT_EXCEEDED",
	} {
		answer, resp := ask(t, sim, token, query, nil)
		if len(answer.Errors) == 0 || !strings.Contains(answer.Errors[0].Type+" "+answer.Errors[0].Message, want) || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %+v, want %s", query, resp.StatusCode, answer.Errors, want)
		}
	}
	for _, secret := range []string{"", "made up"} {
		if _, resp := ask(t, sim, secret, "{viewer{login}}", nil); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("as %q: %d, want 401", secret, resp.StatusCode)
		}
	}
}

// Everything else that a client of tags may ask.
func TestGraphQLFields(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{Enterprise: true})
	r := sim.Repo("acme/web")
	c := r.Commit(github.Files{".tagship.yaml": "build: {}", "dir/x": "y"})
	nested := r.TagNested("v1.0.0", c)
	empty := sim.Repo("acme/empty")
	archived := sim.Repo("acme/old")
	archived.Archive(true)
	sim.User("bob")
	token := sim.PersonalToken("alice").Value()
	r.Rename("site")
	answer, _ := ask(t, sim, token, `
		query($owner:String!, $with:Boolean=true) {
			rateLimit { cost }
			r: repository(owner:$owner, name:"web") { ...about owner{login} url
				tag: ref(qualifiedName:"refs/tags/v1.0.0") { ...tag }
				none: ref(qualifiedName:"refs/tags/v9") { name }
				recipe: object(expression:"HEAD:.tagship.yaml") { __typename ... on Blob { byteSize text isBinary } }
				missing: object(expression:"HEAD:nothing") { oid }
				dir: object(expression:"HEAD:dir") { __typename }
				defaultBranchRef { name target { oid ... on Commit { committedDate } } }
			}
			strict: repository(owner:$owner, name:"web", followRenames:false) { id }
			organization(login:$owner) { repositories(first:2, orderBy:{field:NAME,direction:ASC}, ownerAffiliations:[OWNER]) @include(if:$with) { totalCount pageInfo{hasNextPage endCursor} nodes{name} } }
			active: repositoryOwner(login:$owner) { __typename ... on Organization { databaseId } repositories(first:100, isArchived:false) { totalCount } }
			user(login:"bob") { login repositories(first:1) { totalCount nodes{id} } }
			skipped: viewer @skip(if:$with) { login }
		}
		fragment about on Repository { id databaseId nameWithOwner isArchived isDisabled isEmpty createdAt pushedAt updatedAt }
		fragment tag on Ref { name prefix target { __typename oid ... on Tag { name tagger { date } target { __typename oid ... on Tag { target { oid } } } } } }`,
		map[string]any{"owner": "acme"})
	if len(answer.Errors) != 1 || answer.Errors[0].Type != "NOT_FOUND" || fmt.Sprint(answer.Errors[0].Path) != "[strict]" {
		t.Errorf("errors %+v, want that the old name is not found if renames are not followed", answer.Errors)
	}
	for path, want := range map[string]any{
		"rateLimit": nil, // there are no limits
		"r id":      r.NodeID(), "r databaseId": float64(r.ID()), "r nameWithOwner": "acme/site", "r isArchived": false, "r isEmpty": false,
		"r owner login": "acme", "r url": sim.Git() + "acme/site",
		"r tag name": "v1.0.0", "r tag prefix": "refs/tags/", "r tag target __typename": "Tag", "r tag target oid": nested.ID, "r tag target target target oid": c.ID,
		"r none": nil, "r missing": nil, "r recipe text": "build: {}", "r recipe byteSize": 9.0, "r dir __typename": "Tree",
		"r defaultBranchRef target oid": c.ID, "r defaultBranchRef name": "main",
		"organization repositories totalCount": 3.0, "organization repositories pageInfo hasNextPage": true,
		"active __typename": "Organization", "active repositories totalCount": 2.0,
		"user login": "bob", "user repositories totalCount": 0.0, "skipped": nil,
	} {
		var steps []any
		for _, step := range strings.Fields(path) {
			steps = append(steps, step)
		}
		if got := dig(t, answer.Data, steps...); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	cursor := dig(t, answer.Data, "organization", "repositories", "pageInfo", "endCursor")
	answer, _ = ask(t, sim, token, `query($first:Int!,$after:String){organization(login:"acme"){repositories(first:$first,after:$after,orderBy:{field:NAME,direction:ASC}){pageInfo{hasNextPage} nodes{name isEmpty}}}}`, map[string]any{"first": 2, "after": cursor})
	if got := dig(t, answer.Data, "organization", "repositories", "nodes", 0, "name"); got != "site" {
		t.Errorf("second page: %v after %v (%s is first)", got, cursor, empty.Name())
	}
}

// The repositories of an organisation by last push tell which to look at.
func TestGraphQLPushedAt(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	repos := sim.Fleet("acme", "app", 250, github.Files{"a": "b"}, "v1.0.0")
	token := sim.PersonalToken("alice").Value()
	sim.Advance(time.Minute)
	repos[123].Tag("v1.1.0", repos[123].Tags()["v1.0.0"])
	answer, _ := ask(t, sim, token, `{organization(login:"acme"){repositories(first:100,orderBy:{field:PUSHED_AT,direction:DESC}){totalCount nodes{databaseId pushedAt}}}}`, nil)
	if id := dig(t, answer.Data, "organization", "repositories", "nodes", 0, "databaseId"); id != float64(repos[123].ID()) {
		t.Errorf("%v was pushed last, want %d", id, repos[123].ID())
	}
}
