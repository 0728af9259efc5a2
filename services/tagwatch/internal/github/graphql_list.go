package github

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

const (
	// queriesAtOnce is how many queries one credential has under way. GitHub counts
	// the time that it works on them, and gives no more than a minute per minute.
	queriesAtOnce = 4
	// pageMost is how many tags GitHub gives in one page.
	pageMost = 100
	// tagsMost is how many tags a repository may have.
	tagsMost = 1_000_000
	// triesMost is how often a repository is listed anew whose pages contradict each other.
	triesMost = 3
)

// tagsQuery is the query for one page of tags of each of n repositories, by
// their names. GitHub follows renames by itself. Tags that are nested deeper
// than the query goes have no commit in the answer.
func tagsQuery(n int) string {
	var q strings.Builder
	q.WriteString("query(")
	for i := range n {
		fmt.Fprintf(&q, "$o%[1]d:String!,$n%[1]d:String!,$a%[1]d:String,$b%[1]d:RefOrder! ", i)
	}
	q.WriteString("){rateLimit{cost}")
	for i := range n {
		fmt.Fprintf(&q, "\nr%[1]d:repository(owner:$o%[1]d,name:$n%[1]d){databaseId nameWithOwner "+
			"refs(refPrefix:\"refs/tags/\",first:%[2]d,after:$a%[1]d,orderBy:$b%[1]d){...page}}", i, pageMost)
	}
	q.WriteString("}\nfragment page on RefConnection{totalCount pageInfo{hasNextPage endCursor} nodes{name target{...object " +
		"... on Tag{target{...object ... on Tag{target{...object ... on Tag{target{...object}}}}}}}}}" +
		"\nfragment object on GitObject{__typename oid}")
	return q.String()
}

// variables fills [tagsQuery] for a batch.
func variables(batch []*lookup) map[string]any {
	vars := make(map[string]any, 4*len(batch))
	for i, l := range batch {
		n := strconv.Itoa(i)
		owner, name, _ := strings.Cut(l.name, "/")
		vars["o"+n], vars["n"+n] = owner, name
		vars["a"+n], vars["b"+n] = l.after()
	}
	return vars
}

// refOrder is an order of references.
type refOrder struct {
	Field     string `json:"field"`
	Direction string `json:"direction"`
}

// tagsAnswer is the data of an answer, by the aliases of the query. What is not
// a repository in it, the cost, reads as an empty page that nobody looks at.
type tagsAnswer map[string]*tagsPage

// tagsPage is one repository with a page of its tags.
type tagsPage struct {
	ID   int64  `json:"databaseId"`
	Name string `json:"nameWithOwner"`
	Refs *struct {
		Total *int `json:"totalCount"`
		Page  struct {
			More bool   `json:"hasNextPage"`
			End  string `json:"endCursor"`
		} `json:"pageInfo"`
		Nodes []*refNode `json:"nodes"`
	} `json:"refs"`
}

// refNode is one reference.
type refNode struct {
	Name   string     `json:"name"`
	Target *refTarget `json:"target"`
}

// refTarget is what a reference, or a tag object, names.
type refTarget struct {
	Type   string     `json:"__typename"`
	ID     string     `json:"oid"`
	Target *refTarget `json:"target"`
}

// tag checks a reference and peels it as far as the answer goes.
func (n *refNode) tag() (watch.Tag, error) {
	if n == nil || n.Name == "" || n.Target == nil || !objectID(n.Target.ID) {
		return watch.Tag{}, errors.New("has a tag without a name or an object")
	}
	end := n.Target
	for end.Type == "Tag" && end.Target != nil {
		end = end.Target
	}
	tag := watch.Tag{Name: n.Name, Object: n.Target.ID}
	switch {
	case end.Type == "Tag": // nested deeper than the query goes
	case !objectID(end.ID):
		return watch.Tag{}, fmt.Errorf("has the tag %q on %.100q, which is no object id", n.Name, end.ID)
	default:
		tag.Commit = end.ID
	}
	return tag, nil
}

// objectID tells whether s is an object id: of SHA-1 or SHA-256.
func objectID(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}

// lookup is one repository on its way to a listing.
type lookup struct {
	i    int // in the asks
	ask  watch.Ask
	name string // what the repository is asked for as
	// followed says that the name was looked up by the ID.
	followed bool
	// halved says that it was in a batch that failed.
	halved bool

	first  firstMark   // of the first page; its total is 0 where that does not count
	newest []watch.Tag // the tags of that page
	whole  bool        // every page is being read
	pages  pages
	tries  int // how often pages contradicted each other
}

// after tells what page to ask for: the cursor, nil for the first, and the order.
// The newest come first where one page must show that there is something new;
// where every page is read the order must stand still, which that by date does not.
func (l *lookup) after() (cursor *string, order refOrder) {
	if !l.whole {
		return nil, refOrder{Field: "TAG_COMMIT_DATE", Direction: "DESC"}
	}
	if l.pages.end != "" {
		cursor = &l.pages.end
	}
	return cursor, refOrder{Field: "ALPHABETICAL", Direction: "ASC"}
}

// take takes the page that was asked for. It is done with a listing or an error;
// otherwise there is another page to ask for.
func (l *lookup) take(page *tagsPage, now time.Time) (listing watch.Listing, done bool, err error) {
	id := strconv.FormatInt(page.ID, 10)
	repo := watch.Repo{Name: page.Name, ID: id}
	complete, err := l.pages.add(page)
	switch {
	case err != nil:
		if l.tries++; l.tries >= triesMost {
			return watch.Listing{}, true, fmt.Errorf("GitHub's list of the tags of %s is not to be relied on, it %w; it is asked for again", page.Name, err)
		}
		l.restart()
		return watch.Listing{}, false, nil
	case !l.whole && !complete:
		l.first = firstMark{id: id, total: l.pages.total, digest: digestOf(l.pages.tags)}
		if before, ok := parseFirstMark(l.ask.Mark); ok && before.same(l.first) && !before.due(now) {
			return watch.Listing{Repo: repo, Unchanged: true, Mark: l.ask.Mark}, true, nil
		}
		l.newest = l.pages.tags
		l.restart()
		return watch.Listing{}, false, nil
	case !complete:
		return watch.Listing{}, false, nil
	case l.first.total == 0:
		mark := wholeMark(id, l.pages.tags)
		if mark == l.ask.Mark {
			return watch.Listing{Repo: repo, Unchanged: true, Mark: mark}, true, nil
		}
		return watch.Listing{Repo: repo, Mark: mark, Tags: l.pages.tags}, true, nil
	case !l.consistent(): // so that the next listing reads every page too
		return watch.Listing{Repo: repo, Tags: l.pages.tags}, true, nil
	default:
		l.first.read = now
		return watch.Listing{Repo: repo, Mark: l.first.String(), Tags: l.pages.tags}, true, nil
	}
}

// consistent tells whether the first page is of the listing that was read after
// it: that may come from a copy that lags behind, and lack what is new.
func (l *lookup) consistent() bool {
	if l.pages.total != l.first.total {
		return false
	}
	listed := make(map[watch.Tag]struct{}, len(l.pages.tags))
	for _, tag := range l.pages.tags {
		listed[tag] = struct{}{}
	}
	for _, tag := range l.newest {
		if _, same := listed[tag]; !same {
			return false
		}
	}
	return true
}

// restart begins to read every page.
func (l *lookup) restart() {
	l.whole, l.pages = true, pages{}
}

// pages gathers the tags of one repository. What contradicts the pages before is an error.
type pages struct {
	id    int64
	total int
	tags  []watch.Tag
	names map[string]struct{}
	end   string // the cursor of the last page
}

// add adds the next page, and tells whether it was the last.
func (p *pages) add(page *tagsPage) (complete bool, err error) {
	refs := page.Refs
	if refs.Total == nil { // an answer that says nothing is not one that there are no tags
		return false, errors.New("has no count")
	}
	total := *refs.Total
	if p.names == nil {
		p.id, p.total, p.names = page.ID, total, make(map[string]struct{}, len(refs.Nodes))
	}
	switch {
	case page.ID != p.id:
		return false, errors.New("goes on with another repository")
	case total != p.total:
		return false, fmt.Errorf("counts %d tags first and %d then", p.total, total)
	case total < 0 || total > tagsMost:
		return false, fmt.Errorf("counts %d tags, expected at most %d", total, tagsMost)
	case len(refs.Nodes) > pageMost:
		return false, fmt.Errorf("has a page of %d tags, expected at most %d", len(refs.Nodes), pageMost)
	case refs.Page.More && (len(refs.Nodes) == 0 || refs.Page.End == "" || refs.Page.End == p.end):
		return false, errors.New("has a page that leads nowhere")
	}
	for _, node := range refs.Nodes {
		tag, err := node.tag()
		if err != nil {
			return false, err
		}
		if _, twice := p.names[tag.Name]; twice {
			return false, fmt.Errorf("has the tag %q twice", tag.Name)
		}
		p.names[tag.Name] = struct{}{}
		p.tags = append(p.tags, tag)
	}
	p.end = refs.Page.End
	switch {
	case refs.Page.More && len(p.tags) < p.total:
		return false, nil
	case refs.Page.More || len(p.tags) != p.total:
		return false, fmt.Errorf("counts %d tags and has %d", p.total, len(p.tags))
	}
	return true, nil
}

// graphQLSweep lists repositories of one credential by GraphQL.
type graphQLSweep struct {
	c     *client
	queue *queue
	tell  func(l *lookup, listing watch.Listing, err error)
}

// run lists everything in the queue.
func (s *graphQLSweep) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range queriesAtOnce {
		workers.Go(func() {
			for batch := s.queue.take(); batch != nil; batch = s.queue.take() {
				s.query(ctx, batch)
			}
		})
	}
	workers.Wait()
}

// query asks for the next page of each of a batch.
func (s *graphQLSweep) query(ctx context.Context, batch []*lookup) {
	answer, asked := tagsAnswer{}, time.Now()
	problems, err := s.c.graphql(ctx, tagsQuery(len(batch)), variables(batch), &answer)
	took := time.Since(asked)
	var byAlias map[string]*gqlError
	if err == nil {
		byAlias, err = attribute(problems)
	}
	switch {
	case ctx.Err() != nil:
		s.giveUp(s.queue.stop(batch), context.Cause(ctx))
	case concernsAll(err):
		s.giveUp(s.queue.stop(batch), err)
	case err != nil:
		s.giveUp(s.queue.failed(batch), err)
	default:
		var more []*lookup
		for i, l := range batch {
			alias := "r" + strconv.Itoa(i)
			if s.settle(ctx, l, answer[alias], byAlias[alias]) {
				more = append(more, l)
			}
		}
		s.queue.answered(batch, more, took)
	}
}

// concernsAll tells whether an error says that no query will do for now, however small.
func concernsAll(err error) bool {
	var (
		limit       *watch.LimitError
		host        *watch.HostError
		gone        *watch.GoneError // here the credential must not ask
		credentials *credentialsError
		query       *queryError
	)
	return errors.As(err, &limit) || errors.As(err, &host) || errors.As(err, &gone) || errors.As(err, &credentials) || errors.As(err, &query)
}

// queryError says that GitHub does not take a query: an older Enterprise server
// may not know what it asks for.
type queryError struct{ reason string }

func (e *queryError) Error() string { return "GitHub does not take the query: " + e.reason }

// attribute sorts errors by the alias of what they are about. One that is about
// nothing in particular spoils the whole answer.
func attribute(problems gqlErrors) (map[string]*gqlError, error) {
	byAlias := map[string]*gqlError{}
	for i, problem := range problems {
		switch {
		case problem.Extensions.Code != "" || problem.Type == "INSUFFICIENT_SCOPES":
			return nil, &queryError{reason: excerpt(problem.Message)}
		case len(problem.Path) == 0:
			return nil, &heavyError{reason: "GitHub answered: " + excerpt(problem.Message)}
		}
		alias, _ := problem.Path[0].(string)
		if byAlias[alias] == nil {
			byAlias[alias] = &problems[i]
		}
	}
	return byAlias, nil
}

// settle takes the answer about one repository, and tells whether there is more
// to ask about it. Problem is nil if there was none.
func (s *graphQLSweep) settle(ctx context.Context, l *lookup, page *tagsPage, problem *gqlError) (more bool) {
	fail := func(err error) bool {
		s.tell(l, watch.Listing{}, err)
		return false
	}
	switch {
	case l.isElsewhere(page, problem):
		if l.followed {
			return fail(fmt.Errorf("%s is called %s, and cannot be found by that name; is it being renamed?", l.ask.Repo.ID, l.name))
		}
		return s.follow(ctx, l)
	case problem != nil:
		return fail(problem.about(l.name))
	case page == nil || page.ID <= 0 || !repositoryName.MatchString(page.Name) || page.Refs == nil:
		return fail(fmt.Errorf("GitHub's answer has nothing about %s", l.name))
	}
	listing, done, err := l.take(page, time.Now())
	if done {
		l.pages = pages{} // or the tags of all would be in memory at the end of a sweep
		s.tell(l, listing, err)
	}
	return !done
}

// about is the error that a problem with one repository is.
func (e *gqlError) about(name string) error {
	switch e.Type {
	case "NOT_FOUND", "FORBIDDEN":
		return &watch.GoneError{Reason: fmt.Sprintf("%s is not there, or the credentials may not read it: %s", name, excerpt(e.Message))}
	default:
		return fmt.Errorf("GitHub answered about %s: %s", name, excerpt(e.Message))
	}
}

// follow finds out what a repository is called now that its name is another's, or nobody's.
func (s *graphQLSweep) follow(ctx context.Context, l *lookup) (more bool) {
	now, err := s.c.repository(ctx, l.ask.Repo)
	if err != nil {
		s.tell(l, watch.Listing{}, err)
		return false
	}
	l.name, l.followed = now.Name, true
	l.whole, l.pages = false, pages{}
	return true
}

// isElsewhere tells whether the answer is that the repository does not have the
// name any more: nobody has it, or another.
func (l *lookup) isElsewhere(page *tagsPage, problem *gqlError) bool {
	switch {
	case l.ask.Repo.ID == "":
		return false
	case problem != nil:
		return problem.Type == "NOT_FOUND"
	}
	return page != nil && l.ask.Repo.ID != strconv.FormatInt(page.ID, 10)
}

func (s *graphQLSweep) giveUp(lookups []*lookup, err error) {
	for _, l := range lookups {
		s.tell(l, watch.Listing{}, err)
	}
}
