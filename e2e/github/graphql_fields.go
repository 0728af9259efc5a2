package github

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// What fields belong to, besides *Repo and *Owner.
type (
	root    struct{}
	refNode struct {
		repo *Repo
		name string // full
	}
	gitNode struct {
		repo   *Repo
		object *Object
	}
	// plain has its fields at hand.
	plain struct {
		kind   string
		fields fields
	}
)

// typeName is what GraphQL calls the type of a value.
func typeName(value any) string {
	switch v := value.(type) {
	case root:
		return "Query"
	case *Repo:
		return "Repository"
	case *Owner:
		if v.User {
			return "User"
		}
		return "Organization"
	case refNode:
		return "Ref"
	case gitNode:
		return strings.ToUpper(v.object.Type[:1]) + v.object.Type[1:]
	case plain:
		return v.kind
	default:
		panic(fmt.Sprintf("github: no type of GraphQL for %T", value))
	}
}

// field is one field of a value: nil, a scalar, another value, or a list as []any.
func (q *query) field(value any, name string, args map[string]any, path []any) any {
	switch v := value.(type) {
	case root:
		return q.rootField(name, args, path)
	case *Repo:
		return q.repoField(v, name, args, path)
	case *Owner:
		return q.ownerField(v, name, args, path)
	case refNode:
		return refField(v, name)
	case gitNode:
		return gitField(v, name)
	default:
		return value.(plain).fields[name]
	}
}

func (q *query) rootField(name string, args map[string]any, path []any) any {
	text := func(arg string) string { s, _ := args[arg].(string); return s }
	switch name {
	case "repository":
		return q.repository(text("owner"), text("name"), args["followRenames"] != false, path)
	case "node":
		return q.node(text("id"), path)
	case "nodes":
		ids, _ := args["ids"].([]any)
		if len(ids) > maxIDs {
			q.fail("ARGUMENT_LIMIT", path, fmt.Sprintf("You may not provide more than %d node ids; you provided %d.", maxIDs, len(ids)))
			return nil
		}
		list := make([]any, len(ids))
		for i, id := range ids {
			list[i] = q.node(fmt.Sprint(id), append(path[:len(path):len(path)], i))
		}
		return list
	case "organization", "user", "repositoryOwner":
		owner := q.sim.owners[strings.ToLower(text("login"))]
		kind := map[string]string{"organization": "an Organization", "user": "a User", "repositoryOwner": "a RepositoryOwner"}[name]
		if owner == nil || name == "organization" && owner.User || name == "user" && !owner.User {
			q.fail("NOT_FOUND", path, fmt.Sprintf("Could not resolve to %s with the login of '%s'.", kind, text("login")))
			return nil
		}
		return owner
	case "viewer":
		login := q.token.login
		if login == "" {
			login = fmt.Sprintf("app-%d[bot]", q.token.installation.app.id)
		}
		return &Owner{Login: login, ID: 1, User: true}
	default: // rateLimit
		if !q.sim.limits.on {
			return nil
		}
		return plain{"RateLimit", fields{
			"cost": q.cost, "limit": q.bucket.limit, "remaining": q.bucket.left(), "used": q.bucket.used,
			"resetAt": iso(q.bucket.reset.Add(q.sim.opts.Skew)), "nodeCount": q.nodes,
		}}
	}
}

// repository finds a repository by name.
func (q *query) repository(owner, name string, follow bool, path []any) any {
	key := strings.ToLower(owner + "/" + name)
	r := q.sim.names[key]
	if r == nil && follow {
		r = q.sim.former[key]
	}
	if !q.readable(r) {
		q.fail("NOT_FOUND", path, fmt.Sprintf("Could not resolve to a Repository with the name '%s/%s'.", owner, name))
		return nil
	}
	return q.whole(r, path)
}

// node finds what an id names.
func (q *query) node(id string, path []any) any {
	if number, is := nodeNumber("R", id); is {
		if r := q.sim.ids[number]; q.readable(r) {
			return q.whole(r, path)
		}
	}
	if number, is := nodeNumber("O", id); is {
		for _, owner := range q.sim.owners {
			if owner.ID == number {
				return owner
			}
		}
	}
	q.fail("NOT_FOUND", path, fmt.Sprintf("Could not resolve to a node with the global id of '%s'", id))
	return nil
}

// readable tells whether the repository is there for who asks.
func (q *query) readable(r *Repo) bool {
	if r == nil || r.deleted {
		return false
	}
	visible, _ := q.token.sees(r)
	return visible && (!r.private || q.token.may("contents", "read"))
}

// whole is the repository, or nothing where a fault leaves it out.
func (q *query) whole(r *Repo, path []any) any {
	if q.sim.partial(r) {
		q.errors = append(q.errors, fields{
			"path":    path,
			"message": "Something went wrong while executing your query. This may be the result of a timeout, or it could be a GitHub bug.",
		})
		return nil
	}
	return r
}

func (q *query) repoField(r *Repo, name string, args map[string]any, path []any) any {
	switch name {
	case "id":
		return r.NodeID()
	case "databaseId":
		return r.id
	case "name":
		return r.name
	case "nameWithOwner":
		return r.fullName()
	case "owner":
		return r.owner
	case "isArchived":
		return r.archived
	case "isDisabled":
		return r.disabled
	case "isEmpty":
		return len(r.refs) == 0
	case "isFork":
		return false
	case "isPrivate":
		return r.private
	case "createdAt":
		return iso(r.created)
	case "pushedAt":
		return iso(r.pushed)
	case "updatedAt":
		return iso(r.updated)
	case "url":
		return q.sim.Git() + r.fullName()
	case "defaultBranchRef":
		return r.node(defaultBranch)
	case "ref":
		qualified, _ := args["qualifiedName"].(string)
		for _, full := range []string{qualified, "refs/heads/" + qualified, "refs/tags/" + qualified} {
			if ref := r.node(full); ref != nil {
				return ref
			}
		}
		return nil
	case "refs":
		return q.refs(r, args, path)
	default: // object
		rev, _ := args["expression"].(string)
		if oid, is := args["oid"].(string); is {
			rev = oid
		}
		return r.expression(rev)
	}
}

// node is a ref as GraphQL has it; nil if there is none.
func (r *Repo) node(name string) any {
	if !strings.HasPrefix(name, "refs/") || r.visible()[name] == nil {
		return nil
	}
	return refNode{r, name}
}

// expression finds what a revision names, or the path in it after a colon.
func (r *Repo) expression(text string) any {
	rev, path, inside := strings.Cut(text, ":")
	o := r.resolve(rev)
	if o != nil && inside {
		if o = o.peel(); o.Type == TypeCommit {
			o = o.Target
		}
		if path != "" {
			o = o.find(path)
		}
	}
	if o == nil {
		return nil
	}
	return gitNode{r, o}
}

// refs is a list of refs.
func (q *query) refs(r *Repo, args map[string]any, path []any) any {
	prefix, _ := args["refPrefix"].(string)
	names := r.refNames(prefix)
	slices.Sort(names)
	order, _ := args["orderBy"].(map[string]any)
	if order["field"] == "TAG_COMMIT_DATE" {
		slices.SortStableFunc(names, func(a, b string) int { return r.visible()[a].date(r).Compare(r.visible()[b].date(r)) })
	}
	if order["direction"] == "DESC" || args["direction"] == "DESC" {
		slices.Reverse(names)
	}
	if q.sim.opts.Unordered && order["field"] == "TAG_COMMIT_DATE" {
		// The same each time, as an index that is wrong would be: every third is late.
		var late []string
		for i := 0; i < len(names); i += 2 {
			late = append(late, names[i])
			names = slices.Delete(names, i, i+1)
		}
		names = append(names, late...)
	}
	if want, _ := args["query"].(string); want != "" {
		names = slices.DeleteFunc(names, func(name string) bool { return !strings.Contains(name, want) })
	}
	nodes := make([]any, len(names))
	for i, name := range names {
		nodes[i] = refNode{r, name}
	}
	return q.connection("Ref", "refs", nodes, args, path)
}

// date is what tags are ordered by: the tagger's, or the commit's.
func (o *Object) date(r *Repo) time.Time {
	if o.Type == TypeTag || o.Type == TypeCommit {
		return o.Date
	}
	return r.created
}

func (q *query) ownerField(o *Owner, name string, args map[string]any, path []any) any {
	switch name {
	case "id":
		return nodeID("O", o.ID)
	case "databaseId":
		return o.ID
	case "login":
		return o.Login
	case "url":
		return q.sim.Git() + o.Login
	case "repository":
		short, _ := args["name"].(string)
		return q.repository(o.Login, short, args["followRenames"] != false, path)
	default: // repositories
		repos := slices.DeleteFunc(q.sim.ownedBy(o, q.token), func(r *Repo) bool {
			archived, asked := args["isArchived"].(bool)
			return !q.readable(r) || asked && r.archived != archived || args["isFork"] == true
		})
		order, _ := args["orderBy"].(map[string]any)
		field, _ := order["field"].(string)
		sortRepos(repos, field, order["direction"] == "DESC")
		nodes := make([]any, len(repos))
		for i, r := range repos {
			nodes[i] = r
		}
		return q.connection("Repository", "repositories", nodes, args, path)
	}
}

// sortRepos orders repositories by a field, and by when they were made where it is the same.
func sortRepos(repos []*Repo, field string, descending bool) {
	slices.SortFunc(repos, func(a, b *Repo) int {
		if descending {
			a, b = b, a
		}
		c := 0
		switch field {
		case "PUSHED_AT":
			c = a.pushed.Compare(b.pushed)
		case "UPDATED_AT":
			c = a.updated.Compare(b.updated)
		case "NAME":
			c = strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name))
		}
		if c == 0 {
			c = int(a.id - b.id)
		}
		return c
	})
}

// connection is the page of a list that the arguments ask for; nil if they ask for too much.
func (q *query) connection(kind, name string, nodes []any, args map[string]any, path []any) any {
	first, last := number(args["first"]), number(args["last"])
	if args["first"] == nil && args["last"] == nil {
		q.fail("MISSING_PAGINATION_BOUNDARIES", path, fmt.Sprintf("You must provide a `first` or `last` value to properly paginate the `%s` connection.", name))
		return nil
	}
	if max(first, last) > maxFirst {
		q.fail("EXCESSIVE_PAGINATION", path, fmt.Sprintf("Requesting %d records on the `%s` connection exceeds the `first` limit of %d records.", max(first, last), name, maxFirst))
		return nil
	}
	from, to := 0, len(nodes)
	for arg, bound := range map[string]*int{"after": &from, "before": &to} {
		cursor, is := args[arg].(string)
		if !is {
			continue
		}
		i, ok := readCursor(cursor)
		if !ok {
			q.fail("INVALID_CURSOR_ARGUMENTS", path, fmt.Sprintf("`%s` does not appear to be a valid cursor.", cursor))
			return nil
		}
		*bound = min(i, len(nodes))
		if arg == "before" {
			*bound = max(0, *bound-1)
		}
	}
	to = max(from, to)
	if args["first"] != nil {
		to = min(to, from+first)
	} else {
		from = max(from, to-last)
	}
	info := fields{"hasNextPage": to < len(nodes), "hasPreviousPage": from > 0, "startCursor": nil, "endCursor": nil}
	if from < to {
		info["startCursor"], info["endCursor"] = cursorOf(from+1), cursorOf(to)
	}
	edges := make([]any, 0, to-from)
	for i, node := range nodes[from:to] {
		edges = append(edges, plain{kind + "Edge", fields{"cursor": cursorOf(from + i + 1), "node": node}})
	}
	return plain{kind + "Connection", fields{
		"totalCount": len(nodes), "pageInfo": plain{"PageInfo", info}, "nodes": slices.Clone(nodes[from:to]), "edges": edges,
	}}
}

// cursorOf names the place after the first n nodes.
func cursorOf(n int) string {
	return base64.StdEncoding.EncodeToString([]byte("cursor:v2:" + strconv.Itoa(n)))
}

func readCursor(cursor string) (n int, ok bool) {
	text, err := base64.StdEncoding.DecodeString(cursor)
	digits, is := strings.CutPrefix(string(text), "cursor:v2:")
	if err != nil || !is {
		return 0, false
	}
	n, err = strconv.Atoi(digits)
	return n, err == nil && n >= 0
}

func refField(ref refNode, name string) any {
	slash := strings.Index(strings.TrimPrefix(ref.name, "refs/"), "/") + len("refs/") + 1
	switch name {
	case "id":
		return nodeID("REF", ref.repo.id) + base64.RawURLEncoding.EncodeToString([]byte(ref.name))
	case "name":
		return ref.name[slash:]
	case "prefix":
		return ref.name[:slash]
	case "repository":
		return ref.repo
	default: // target
		return gitNode{ref.repo, ref.repo.visible()[ref.name]}
	}
}

func gitField(node gitNode, name string) any {
	o := node.object
	switch name {
	case "id":
		return nodeID("G", node.repo.id) + o.ID
	case "oid":
		return o.ID
	case "abbreviatedOid":
		return o.ID[:7]
	case "repository":
		return node.repo
	case "committedDate", "authoredDate":
		return iso(o.Date)
	case "message":
		return o.Message
	case "name":
		return o.Name
	case "tree", "target":
		return gitNode{node.repo, o.Target}
	case "tagger":
		return plain{"GitActor", fields{"date": iso(o.Date), "name": authorName, "email": authorEmail}}
	case "byteSize":
		return len(o.content)
	case "isBinary":
		return !utf8.ValidString(o.content)
	default: // text
		return o.content
	}
}
