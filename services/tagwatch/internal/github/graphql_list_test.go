package github

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// outcome is what a host says about one ask.
type outcome struct {
	listing watch.Listing
	err     error
}

// listed lists, and checks that every ask is answered once.
func listed(t *testing.T, host *Host, asks ...watch.Ask) []outcome {
	t.Helper()
	outcomes := make([]outcome, len(asks))
	times := make([]int, len(asks))
	host.List(t.Context(), asks, func(i int, listing watch.Listing, err error) {
		times[i]++
		outcomes[i] = outcome{listing, err}
	})
	for i, n := range times {
		if n != 1 {
			t.Fatalf("%v is answered %d times", asks[i].Repo, n)
		}
	}
	return outcomes
}

func asking(names ...string) (asks []watch.Ask) {
	for _, name := range names {
		asks = append(asks, watch.Ask{Repo: watch.Repo{Name: name}})
	}
	return asks
}

// wanted is what a listing of a repository has to say.
func (r *hubRepo) wanted() (tags []watch.Tag) {
	for _, t := range r.tags {
		tag := watch.Tag{Name: t.name, Object: t.chain[0].id}
		if len(t.chain) <= 4 {
			tag.Commit = t.chain[len(t.chain)-1].id
		}
		tags = append(tags, tag)
	}
	return tags
}

func byName(tags []watch.Tag) []watch.Tag {
	tags = slices.Clone(tags)
	slices.SortFunc(tags, func(a, b watch.Tag) int { return strings.Compare(a.Name, b.Name) })
	return tags
}

// complete checks that a listing has everything that the repository has.
func complete(t *testing.T, o outcome, repo *hubRepo) {
	t.Helper()
	if o.err != nil {
		t.Errorf("%s: %v", repo.names[0], o.err)
		return
	}
	if want := (watch.Repo{Name: repo.names[0], ID: strconv.FormatInt(repo.id, 10)}); o.listing.Repo != want {
		t.Errorf("it is %v, want %v", o.listing.Repo, want)
	}
	if diff := cmp.Diff(byName(repo.wanted()), byName(o.listing.Tags)); diff != "" || o.listing.Unchanged {
		t.Errorf("%s, unchanged %v (-want +got):\n%s", repo.names[0], o.listing.Unchanged, diff)
	}
}

func zoo() *hubRepo {
	return &hubRepo{id: 7, names: []string{"acme/zoo"}, tags: []hubTag{
		light("v1.0.0", 1), annotated("v1.1.0", 1, 2), annotated("app/v2", 3, 3), annotated("deep", 4, 4),
		{"blob", []hubObject{{"blob", oid(5)}}}, {"tagged-tree", []hubObject{{"tag", oid(60)}, {"tree", oid(6)}}},
		light("v1#2", 7), light("a;b", 8), light("$(id)", 9), light("v1%20", 10), light("жук", 11), light(strings.Repeat("x", 200), 12),
	}}
}

func TestGraphQLListsTags(t *testing.T) {
	t.Parallel()
	big := &hubRepo{id: 8, names: []string{"acme/big"}, tags: manyTags(250)}
	full := &hubRepo{id: 9, names: []string{"other/full"}, tags: manyTags(100)}
	none := &hubRepo{id: 10, names: []string{"acme/none"}}
	s, host := newHub(t, ListGraphQL, zoo(), big, full, none)
	got := listed(t, host, asking("acme/zoo", "acme/big", "acme/gone", "other/full", "acme/none")...)
	complete(t, got[0], zoo())
	complete(t, got[1], big)
	complete(t, got[3], full)
	complete(t, got[4], none)
	if gone := new(watch.GoneError); !errors.As(got[2].err, &gone) || !strings.Contains(gone.Reason, "acme/gone") {
		t.Errorf("a repository that is not there: %v", got[2].err)
	}
	if len(s.queries) != 4 || len(s.queries[0]) != 5 || len(s.queries[1]) != 1 {
		t.Errorf("asked %v", s.queries)
	}
}

func TestGraphQLSweepsManyInFewQueries(t *testing.T) {
	t.Parallel()
	var repos []*hubRepo
	var names []string
	for i := range 1000 {
		repo := &hubRepo{id: int64(i + 1), names: []string{fmt.Sprintf("acme/r%d", i)}, tags: []hubTag{light("v1", i)}}
		repos, names = append(repos, repo), append(names, repo.names[0])
	}
	s, host := newHub(t, ListGraphQL, repos...)
	for i, o := range listed(t, host, asking(names...)...) {
		complete(t, o, repos[i])
	}
	if len(s.queries) < 10 || len(s.queries) > 20 { // 50 in each, or more where answers are quick
		t.Errorf("%d queries for 1000 repositories", len(s.queries))
	}
}

func TestGraphQLUnchanged(t *testing.T) {
	t.Parallel()
	small, big := zoo(), &hubRepo{id: 8, names: []string{"acme/big"}, tags: manyTags(250)}
	s, host := newHub(t, ListGraphQL, small, big)
	asks := asking("acme/zoo", "acme/big")
	again := func() []outcome {
		t.Helper()
		got := listed(t, host, asks...)
		for i := range got {
			if got[i].err != nil || got[i].listing.Mark == "" {
				t.Fatalf("%v: mark %q, %v", asks[i], got[i].listing.Mark, got[i].err)
			}
			asks[i] = watch.Ask{Repo: got[i].listing.Repo, Mark: got[i].listing.Mark}
		}
		return got
	}
	again()
	queries := len(s.queries)
	for i, o := range again() {
		if !o.listing.Unchanged || o.listing.Tags != nil {
			t.Errorf("%v: unchanged %v, %d tags", asks[i], o.listing.Unchanged, len(o.listing.Tags))
		}
	}
	if len(s.queries) != queries+1 {
		t.Errorf("%d queries to find that nothing changed", len(s.queries)-queries)
	}
	for _, change := range []func(r *hubRepo){
		func(r *hubRepo) { r.tags = append(r.tags, light("new", 3000)) },
		func(r *hubRepo) { r.tags[len(r.tags)-1] = light("new", 3001) },
		func(r *hubRepo) { r.tags = r.tags[:len(r.tags)-1] },
	} {
		change(small)
		change(big)
		got := again()
		complete(t, got[0], small)
		complete(t, got[1], big)
	}
	// A tag that the first page does not show is found when every page is due.
	big.tags[0] = light("v1.0.0", 4000)
	if got := again(); !got[1].listing.Unchanged {
		t.Fatal("the first page shows an old tag; the test is wrong")
	}
	mark, _ := parseFirstMark(asks[1].Mark)
	mark.read = mark.read.Add(-relist)
	asks[1].Mark = mark.String()
	complete(t, again()[1], big)
}

// The pages after the first come from a copy that lags behind: what it lacks must
// not be taken for known.
func TestGraphQLMarksNoListingThatLags(t *testing.T) {
	t.Parallel()
	for name, lag := range map[string]func(tags []hubTag) []hubTag{
		"a tag is missing": func(tags []hubTag) []hubTag { return tags[:len(tags)-1] },
		"a tag has moved": func(tags []hubTag) []hubTag {
			return append(tags[:len(tags)-1:len(tags)-1], light(tags[len(tags)-1].name, 9000))
		},
		"nothing lags": func(tags []hubTag) []hubTag { return tags },
	} {
		big := &hubRepo{id: 8, names: []string{"acme/big"}, tags: manyTags(150)}
		s, host := newHub(t, ListGraphQL, big)
		lags := lag(big.tags)
		s.graphql = func(_ http.ResponseWriter, asked []hubAsk) bool {
			if asked[0].field == "ALPHABETICAL" {
				big.tags = lags
			}
			return false
		}
		o := listed(t, host, asking("acme/big")...)[0]
		if o.err != nil || len(o.listing.Tags) != len(lags) || (o.listing.Mark == "") != (name != "nothing lags") {
			t.Errorf("%s: %d tags, mark %q, %v", name, len(o.listing.Tags), o.listing.Mark, o.err)
		}
	}
}

// A repository is the one with the ID, whatever has its name.
func TestGraphQLFollowsRenames(t *testing.T) {
	t.Parallel()
	renamed := &hubRepo{id: 1, names: []string{"acme/new", "acme/old"}, tags: []hubTag{light("v1", 1)}}
	replaced := &hubRepo{id: 2, names: []string{"other/moved", "acme/taken"}, tags: manyTags(150)}
	thief := &hubRepo{id: 3, names: []string{"acme/taken"}, tags: []hubTag{light("evil", 3)}}
	unknown := &hubRepo{id: 4, names: []string{"acme/d"}, tags: []hubTag{light("v4", 4)}}
	_, host := newHub(t, ListGraphQL, renamed, replaced, thief, unknown)
	got := listed(t, host,
		watch.Ask{Repo: watch.Repo{Name: "acme/old"}},
		watch.Ask{Repo: watch.Repo{Name: "acme/taken", ID: "2"}},
		watch.Ask{Repo: watch.Repo{Name: "acme/taken"}},
		watch.Ask{Repo: watch.Repo{Name: "acme/nobody", ID: "4"}},
		watch.Ask{Repo: watch.Repo{Name: "acme/taken", ID: "99"}})
	complete(t, got[0], renamed)
	complete(t, got[1], replaced)
	complete(t, got[2], thief)
	complete(t, got[3], unknown)
	if gone := new(watch.GoneError); !errors.As(got[4].err, &gone) || !strings.Contains(gone.Reason, "repo_id: 3") {
		t.Errorf("a repository whose name is another's: %v", got[4].err)
	}
}

// Of a batch only those fail that GitHub says fail, and a batch that it does not
// manage is asked for in parts.
func TestGraphQLMisbehaves(t *testing.T) {
	t.Parallel()
	var repos []*hubRepo
	var names []string
	for i := range 30 {
		repo := &hubRepo{id: int64(i + 1), names: []string{fmt.Sprintf("acme/r%d", i)}, tags: []hubTag{light("v1", i)}}
		repos, names = append(repos, repo), append(names, repo.names[0])
	}
	bad := func(asked []hubAsk) bool {
		return slices.ContainsFunc(asked, func(a hubAsk) bool { return a.name == "acme/r13" })
	}
	// The shapes in which GitHub does not answer about one repository.
	spoiled := func(text string, status int) func(http.ResponseWriter, []hubAsk) bool {
		return func(w http.ResponseWriter, asked []hubAsk) bool {
			if bad(asked) {
				w.WriteHeader(status)
				_, _ = w.Write([]byte(text))
			}
			return bad(asked)
		}
	}
	edited := func(s **hub, edit func(page map[string]any)) func(http.ResponseWriter, []hubAsk) bool {
		return func(w http.ResponseWriter, asked []hubAsk) bool {
			data := map[string]any{}
			for i, ask := range asked {
				page := (*s).named(ask.name).page(ask)
				if ask.name == "acme/r13" {
					edit(page)
				}
				data["r"+strconv.Itoa(i)] = page
			}
			writeJSON(w, map[string]any{"data": data})
			return true
		}
	}
	refs := func(edit func(refs map[string]any)) func(map[string]any) {
		return func(page map[string]any) { edit(page["refs"].(map[string]any)) }
	}
	var s *hub
	for name, test := range map[string]func(http.ResponseWriter, []hubAsk) bool{
		"bad gateway":     spoiled("<html>Bad Gateway</html>", http.StatusBadGateway),
		"gateway timeout": spoiled("", http.StatusGatewayTimeout),
		"a page of HTML":  spoiled("<html>Unicorn!</html>", http.StatusOK),
		"cut off":         spoiled(`{"data":{"r0":{"databaseId":1,"nameWith`, http.StatusOK),
		"no path":         spoiled(`{"data":{"r0":null},"errors":[{"message":"Something went wrong while executing your query. This may be the result of a timeout."}]}`, http.StatusOK),
		"a named error": func(w http.ResponseWriter, asked []hubAsk) bool {
			data, problems := map[string]any{}, []any{}
			for i, ask := range asked {
				alias := "r" + strconv.Itoa(i)
				data[alias] = s.named(ask.name).page(ask)
				if ask.name == "acme/r13" {
					problems = append(problems, map[string]any{"type": "INTERNAL", "message": "oops", "path": []any{alias, "refs", "nodes", 0}})
				}
			}
			writeJSON(w, map[string]any{"data": data, "errors": problems})
			return true
		},
		"nothing about it": edited(&s, func(page map[string]any) { page["refs"] = nil }),
		"an empty answer":  edited(&s, func(page map[string]any) { page["refs"] = map[string]any{} }),
		"a null node":      edited(&s, refs(func(r map[string]any) { r["nodes"] = []any{nil} })),
		"a null target":    edited(&s, refs(func(r map[string]any) { r["nodes"] = []any{map[string]any{"name": "v1", "target": nil}} })),
		"no object id": edited(&s, refs(func(r map[string]any) {
			r["nodes"] = []any{map[string]any{"name": "v1", "target": map[string]any{"__typename": "Commit", "oid": "master"}}}
		})),
		"a wrong count":      edited(&s, refs(func(r map[string]any) { r["totalCount"] = 2 })),
		"fewer than counted": edited(&s, refs(func(r map[string]any) { r["nodes"] = []any{} })),
		"twice": edited(&s, refs(func(r map[string]any) {
			r["totalCount"] = 2
			r["nodes"] = append(r["nodes"].([]any), r["nodes"].([]any)...)
		})),
		"pages without end": edited(&s, refs(func(r map[string]any) {
			r["totalCount"] = 5
			r["pageInfo"] = map[string]any{"hasNextPage": true, "endCursor": "1"}
		})),
	} {
		var host *Host
		s, host = newHub(t, ListGraphQL, repos...)
		s.graphql = test
		for i, o := range listed(t, host, asking(names...)...) {
			switch {
			case i == 13 && o.err == nil:
				t.Errorf("%s: it is taken for %v", name, o.listing)
			case i != 13 && o.err != nil:
				t.Errorf("%s: %s fails too: %v", name, names[i], o.err)
			case i != 13:
				complete(t, o, repos[i])
			}
		}
		if len(s.queries) > 30 {
			t.Errorf("%s: %d queries", name, len(s.queries))
		}
	}
}

// Tags come and go while the pages are read: the listing is of one moment, or is read again.
func TestGraphQLPagesChangeMeanwhile(t *testing.T) {
	t.Parallel()
	big := &hubRepo{id: 8, names: []string{"acme/big"}, tags: manyTags(350)}
	s, host := newHub(t, ListGraphQL, big)
	changes := 1
	s.graphql = func(_ http.ResponseWriter, asked []hubAsk) bool {
		if asked[0].after > "v1.0.2" && changes > 0 {
			changes--
			big.tags = append(big.tags, light("v0.9", 900+len(big.tags)))
		}
		return false
	}
	complete(t, listed(t, host, asking("acme/big")...)[0], big)

	changes = 100
	s.graphql = func(_ http.ResponseWriter, asked []hubAsk) bool {
		if asked[0].after > "v1.0.2" {
			big.tags = append(big.tags, light(fmt.Sprintf("v0.%d", len(big.tags)), 900+len(big.tags)))
		}
		return false
	}
	s.queries = nil
	if got := listed(t, host, asking("acme/big")...)[0]; got.err == nil {
		t.Error("a list that changes all the time is complete")
	}
	if len(s.queries) > triesMost*4+1 {
		t.Errorf("%d queries", len(s.queries))
	}
}

func TestGraphQLLimitEndsTheSweep(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 2000 {
		names = append(names, fmt.Sprintf("acme/r%d", i))
	}
	s, host := newHub(t, ListGraphQL)
	s.graphql = func(w http.ResponseWriter, _ []hubAsk) bool {
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
		writeJSON(w, map[string]any{"errors": []any{map[string]any{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}}})
		return true
	}
	for i, o := range listed(t, host, asking(names...)...) {
		if limit := new(watch.LimitError); !errors.As(o.err, &limit) {
			t.Fatalf("%s: %v", names[i], o.err)
		}
	}
	if len(s.queries) > queriesAtOnce {
		t.Errorf("GitHub was asked %d times", len(s.queries))
	}
}

// An older Enterprise server may not know what the query asks for.
func TestGraphQLQueryThatIsNotTaken(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprintf("acme/r%d", i))
	}
	s, host := newHub(t, ListGraphQL)
	s.graphql = func(w http.ResponseWriter, _ []hubAsk) bool {
		writeJSON(w, map[string]any{"errors": []any{map[string]any{"path": []any{"query", "r0", "refs"},
			"extensions": map[string]any{"code": "undefinedField"}, "message": "Field 'refs' doesn't exist on type 'Repository'"}}})
		return true
	}
	for i, o := range listed(t, host, asking(names...)...) {
		if o.err == nil || !strings.Contains(o.err.Error(), "'refs' doesn't exist") {
			t.Fatalf("%s: %v", names[i], o.err)
		}
	}
	if len(s.queries) > queriesAtOnce {
		t.Errorf("GitHub was asked %d times", len(s.queries))
	}
}

func TestThoseThatFailedComeLast(t *testing.T) {
	t.Parallel()
	_, host := newHub(t, ListGraphQL)
	asks := asking("acme/a", "acme/b", "acme/c", "acme/d")
	asks[0].Failing, asks[2].Failing = true, true
	for _, lookups := range host.byClient(t.Context(), asks, nil) {
		var names []string
		for _, l := range lookups {
			names = append(names, l.name)
		}
		if want := []string{"acme/b", "acme/d", "acme/a", "acme/c"}; !slices.Equal(names, want) {
			t.Errorf("asked for as %v, want %v", names, want)
		}
	}
}

// taken reads an answer as a sweep does, for one repository.
func taken(body []byte) (watch.Listing, bool, error) {
	var answer struct{ Data tagsAnswer }
	if err := json.Unmarshal(body, &answer); err != nil {
		return watch.Listing{}, true, err
	}
	page := answer.Data["r0"]
	if page == nil || page.Refs == nil {
		return watch.Listing{}, true, errors.New("nothing about it")
	}
	l := &lookup{name: "acme/web"}
	return l.take(page, time.Unix(1_700_000_000, 0))
}

func FuzzGraphQLAnswer(f *testing.F) {
	for _, tags := range [][]hubTag{nil, zoo().tags, manyTags(101)} {
		page := (&hubRepo{id: 1, names: []string{"acme/web"}, tags: tags}).page(hubAsk{})
		body, err := json.Marshal(map[string]any{"data": map[string]any{"rateLimit": map[string]any{"cost": 1}, "r0": page}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"data":{"r0":{"databaseId":1,"nameWithOwner":"a/b","refs":{"totalCount":-1,"nodes":[null]}}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		listing, done, err := taken(body)
		if err != nil || !done {
			if len(listing.Tags) > 0 {
				t.Errorf("an unfinished listing has tags: %v", listing)
			}
			return
		}
		checkTags(t, listing.Tags)
	})
}

// checkTags checks what holds for every listing.
func checkTags(t *testing.T, tags []watch.Tag) {
	t.Helper()
	names := map[string]bool{}
	for _, tag := range tags {
		if tag.Name == "" || names[tag.Name] || !objectID(tag.Object) || tag.Commit != "" && !objectID(tag.Commit) {
			t.Errorf("%v is no tag", tag)
		}
		names[tag.Name] = true
	}
}

// BenchmarkGraphQLAnswer reads the answer to a full query: 50 repositories with 100 tags each.
func BenchmarkGraphQLAnswer(b *testing.B) {
	data := map[string]any{}
	for i := range batchUsual {
		repo := &hubRepo{id: int64(i + 1), names: []string{fmt.Sprintf("acme/r%d", i)}}
		for n := range pageMost {
			repo.tags = append(repo.tags, annotated(fmt.Sprintf("v1.%d.0", n), 1, n))
		}
		data["r"+strconv.Itoa(i)] = repo.page(hubAsk{})
	}
	body, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var answer struct{ Data tagsAnswer }
		if err := json.Unmarshal(body, &answer); err != nil {
			b.Fatal(err)
		}
		for _, page := range answer.Data {
			l := &lookup{name: page.Name}
			if listing, done, err := l.take(page, time.Unix(0, 0)); !done || err != nil || len(listing.Tags) != pageMost {
				b.Fatal(listing.Repo, done, err)
			}
		}
	}
}
