package github

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// hub is a GitHub with repositories and tags, as far as listing needs one. Tests
// change it under its lock.
type hub struct {
	sync.Mutex
	repos   []*hubRepo
	graphql func(w http.ResponseWriter, asked []hubAsk) (answered bool) // misbehaves, where a test wants it
	rest    func(w http.ResponseWriter, r *http.Request) (answered bool)
	queries [][]hubAsk
	paths   []string // of REST requests, as they came over the wire
	address string
}

// hubRepo is a repository of a hub. Its first name is that of today.
type hubRepo struct {
	id       int64
	names    []string
	tags     []hubTag
	empty    bool // nothing was ever pushed
	recipe   string
	archived bool
	pushed   int
	created  int
}

// hubTag is a tag on a chain of objects: none or some tag objects, then what
// they lead to.
type hubTag struct {
	name  string
	chain []hubObject
}

type hubObject struct {
	kind string // commit, tag, tree, blob
	id   string
}

// hubAsk is what a query asks of one repository.
type hubAsk struct {
	name  string
	after string
	field string
}

func oid(n int) string { return fmt.Sprintf("%040x", n+1) }

func light(name string, n int) hubTag {
	return hubTag{name, []hubObject{{"commit", oid(n)}}}
}

func annotated(name string, depth, n int) hubTag {
	tag := hubTag{name: name}
	for i := range depth {
		tag.chain = append(tag.chain, hubObject{"tag", oid(1_000_000*(i+1) + n)})
	}
	tag.chain = append(tag.chain, hubObject{"commit", oid(n)})
	return tag
}

func manyTags(n int) (tags []hubTag) {
	for i := range n {
		tags = append(tags, light(fmt.Sprintf("v1.0.%d", i), i))
	}
	return tags
}

// newHub starts a hub, and opens it as a host that lists in the given way.
func newHub(t testing.TB, list string, repos ...*hubRepo) (*hub, *Host) {
	t.Helper()
	s := &hub{repos: repos}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.address = server.URL
	host, err := Open(Settings{
		Name: "github.example", API: server.URL + "/api/v3/", Token: "secret", List: list,
		UserAgent: "test", Spool: t.TempDir(), MaxArchive: 1 << 20,
	}, zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)))
	if err != nil {
		t.Fatal(err)
	}
	return s, host
}

func (s *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.Lock()
	defer s.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if r.Header.Get("Authorization") == "" {
		http.Error(w, `{"message":"Requires authentication"}`, http.StatusUnauthorized)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/graphql") {
		s.serveGraphQL(w, r)
		return
	}
	s.paths = append(s.paths, strings.TrimPrefix(r.URL.EscapedPath(), "/api/v3"))
	if s.rest == nil || !s.rest(w, r) {
		s.serveREST(w, r)
	}
}

func (s *hub) named(name string) *hubRepo {
	for _, r := range s.repos {
		if r.names[0] == name {
			return r
		}
	}
	for _, r := range s.repos {
		if slices.Contains(r.names, name) {
			return r
		}
	}
	return nil
}

func (s *hub) serveGraphQL(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Query     string
		Variables map[string]any
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if strings.Contains(body.Query, "repositoryOwner") {
		s.serveOwned(w, body.Variables)
		return
	}
	var asked []hubAsk
	for i := 0; body.Variables[fmt.Sprintf("o%d", i)] != nil; i++ {
		n := strconv.Itoa(i)
		after, _ := body.Variables["a"+n].(string)
		asked = append(asked, hubAsk{
			name:  fmt.Sprintf("%s/%s", body.Variables["o"+n], body.Variables["n"+n]),
			after: after,
			field: body.Variables["b"+n].(map[string]any)["field"].(string),
		})
	}
	s.queries = append(s.queries, asked)
	if s.graphql == nil || !s.graphql(w, asked) {
		s.answer(w, asked)
	}
}

// answer answers a query as it should be.
func (s *hub) answer(w http.ResponseWriter, asked []hubAsk) {
	data := map[string]any{"rateLimit": map[string]any{"cost": 1}}
	var problems []any
	for i, ask := range asked {
		alias := "r" + strconv.Itoa(i)
		if repo := s.named(ask.name); repo != nil {
			data[alias] = repo.page(ask)
			continue
		}
		data[alias] = nil
		problems = append(problems, map[string]any{"type": "NOT_FOUND", "path": []any{alias},
			"message": "Could not resolve to a Repository with the name '" + ask.name + "'."})
	}
	writeJSON(w, map[string]any{"data": data, "errors": problems})
}

func writeJSON(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

// page is a page of tags as GraphQL gives it: by name they are sorted; by date the
// newest in the hub come first, and another page is of another order.
func (r *hubRepo) page(ask hubAsk) map[string]any {
	tags := slices.Clone(r.tags)
	if ask.field == "ALPHABETICAL" {
		slices.SortFunc(tags, func(a, b hubTag) int { return strings.Compare(a.name, b.name) })
	} else if ask.after == "" {
		slices.Reverse(tags)
	}
	from := 1 + slices.IndexFunc(tags, func(t hubTag) bool { return t.name == ask.after })
	to := min(from+100, len(tags))
	end := ""
	if to > from {
		end = tags[to-1].name
	}
	nodes := []any{}
	for _, tag := range tags[from:to] {
		nodes = append(nodes, map[string]any{"name": tag.name, "target": tag.target(0)})
	}
	return map[string]any{"databaseId": r.id, "nameWithOwner": r.names[0], "refs": map[string]any{
		"totalCount": len(tags), "nodes": nodes,
		"pageInfo": map[string]any{"hasNextPage": to < len(tags), "endCursor": end},
	}}
}

// target is what the query sees of a chain: four objects.
func (t hubTag) target(from int) map[string]any {
	kinds := map[string]string{"commit": "Commit", "tag": "Tag", "tree": "Tree", "blob": "Blob"}
	object := map[string]any{"__typename": kinds[t.chain[from].kind], "oid": t.chain[from].id}
	if from < 3 && from+1 < len(t.chain) {
		object["target"] = t.target(from + 1)
	}
	return object
}

func (s *hub) serveREST(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api/v3/")
	words := strings.SplitN(path, "/", 4)
	var repo *hubRepo
	var rest string
	switch {
	case words[0] == "repositories":
		words = strings.SplitN(path, "/", 3)
		for _, candidate := range s.repos {
			if strconv.FormatInt(candidate.id, 10) == words[1] {
				repo = candidate
			}
		}
		rest = strings.Join(words[2:], "")
	case words[0] == "repos" && len(words) > 2:
		repo = s.named(words[1] + "/" + words[2])
		rest = strings.Join(words[3:], "")
		if repo != nil && repo.names[0] != words[1]+"/"+words[2] {
			w.Header().Set("Location", strings.TrimSuffix(fmt.Sprintf("%s/api/v3/repositories/%d/%s", s.address, repo.id, rest), "/"))
			w.WriteHeader(http.StatusMovedPermanently)
			return
		}
	case words[0] == "orgs" || words[0] == "users":
		s.serveDirectory(w, r, words)
		return
	}
	if repo == nil {
		notFound(w)
		return
	}
	s.serveRepository(w, r, repo, rest)
}

func notFound(w http.ResponseWriter) {
	w.WriteHeader(http.StatusNotFound)
	writeJSON(w, map[string]any{"message": "Not Found"})
}

func (s *hub) serveRepository(w http.ResponseWriter, r *http.Request, repo *hubRepo, rest string) {
	ref := func(tag hubTag) map[string]any {
		return map[string]any{"ref": "refs/tags/" + tag.name, "url": s.address + "/repos/" + repo.names[0] + "/git/refs/tags/" + tag.name,
			"object": map[string]any{"type": tag.chain[0].kind, "sha": tag.chain[0].id}}
	}
	switch {
	case rest == "":
		writeJSON(w, repo.json())
	case repo.empty:
		w.WriteHeader(http.StatusConflict)
		writeJSON(w, map[string]any{"message": "Git Repository is empty."})
	case rest == "git/matching-refs/tags":
		refs := []any{}
		for _, tag := range repo.tags {
			refs = append(refs, ref(tag))
		}
		body, err := json.Marshal(refs)
		if err != nil {
			panic(err)
		}
		etag := fmt.Sprintf(`"%x"`, digestOf([]watch.Tag{{Name: string(body)}}))
		if r.Header.Get("If-None-Match") == "W/"+etag {
			w.Header().Set("ETag", etag)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", "W/"+etag)
		_, _ = w.Write(body)
	case strings.HasPrefix(rest, "git/ref/tags/"):
		for _, tag := range repo.tags {
			if tag.name == strings.TrimPrefix(rest, "git/ref/tags/") {
				writeJSON(w, ref(tag))
				return
			}
		}
		notFound(w)
	case strings.HasPrefix(rest, "git/tags/"):
		for _, tag := range repo.tags {
			for i, object := range tag.chain[:len(tag.chain)-1] {
				if object.id == strings.TrimPrefix(rest, "git/tags/") {
					next := tag.chain[i+1]
					writeJSON(w, map[string]any{"sha": object.id, "tag": tag.name, "object": map[string]any{"type": next.kind, "sha": next.id}})
					return
				}
			}
		}
		notFound(w)
	case strings.HasPrefix(rest, "contents/") && repo.recipe == strings.TrimPrefix(rest, "contents/"):
		writeJSON(w, map[string]any{"type": "file"})
	default:
		notFound(w)
	}
}

func (r *hubRepo) json() map[string]any {
	return map[string]any{"id": r.id, "full_name": r.names[0], "archived": r.archived, "default_branch": "main",
		"created_at": hubTime(r.created), "pushed_at": hubTime(r.pushed)}
}

func hubTime(n int) string { return fmt.Sprintf("2026-01-01T00:%02d:%02dZ", n/60, n%60) }

// of lists the repositories of an owner, the oldest first.
func (s *hub) of(owner string) (repos []*hubRepo) {
	for _, r := range s.repos {
		if strings.HasPrefix(r.names[0], owner+"/") {
			repos = append(repos, r)
		}
	}
	return repos
}

func (s *hub) serveOwned(w http.ResponseWriter, vars map[string]any) {
	repos := s.of(vars["owner"].(string))
	first := int(vars["first"].(float64))
	after, _ := vars["after"].(string)
	s.queries = append(s.queries, []hubAsk{{name: vars["owner"].(string), after: after, field: strconv.Itoa(first)}})
	if s.graphql != nil && s.graphql(w, s.queries[len(s.queries)-1]) {
		return
	}
	if repos == nil {
		writeJSON(w, map[string]any{"data": map[string]any{"repositoryOwner": nil}})
		return
	}
	from, _ := strconv.Atoi(after)
	to := min(from+first, len(repos))
	nodes := []any{}
	for _, r := range repos[from:to] {
		node := map[string]any{"databaseId": r.id, "nameWithOwner": r.names[0], "isArchived": r.archived, "createdAt": hubTime(r.created)}
		if "HEAD:"+r.recipe == vars["recipe"] {
			node["object"] = map[string]any{"__typename": "Blob"}
		}
		nodes = append(nodes, node)
	}
	writeJSON(w, map[string]any{"data": map[string]any{"repositoryOwner": map[string]any{"repositories": map[string]any{
		"totalCount": len(repos), "nodes": nodes,
		"pageInfo": map[string]any{"hasNextPage": to < len(repos), "endCursor": strconv.Itoa(to)}}}}})
}

func (s *hub) serveDirectory(w http.ResponseWriter, r *http.Request, words []string) {
	repos := s.of(words[1])
	if words[0] == "orgs" && (repos == nil || strings.HasPrefix(words[1], "user")) || repos == nil {
		notFound(w)
		return
	}
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	per, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	from := (max(page, 1) - 1) * per
	to := min(from+per, len(repos))
	if to < len(repos) {
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=%d&per_page=%d>; rel="next"`, s.address, r.URL.Path, max(page, 1)+1, per))
	}
	list := []any{}
	for _, repo := range repos[min(from, to):to] {
		list = append(list, repo.json())
	}
	writeJSON(w, list)
}
