package github

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// repoRoutes are about repositories and what they contain.
func repoRoutes() []route {
	return []route{
		{pattern: "GET /repos/{owner}/{repo}", permission: "metadata", level: "read", repo: func(_ *call, r *Repo) answer {
			a := ok(r.json())
			a.modified = r.updated
			return a
		}},
		{pattern: "GET /repos/{owner}/{repo}/tags", permission: "contents", level: "read", repo: listTags},
		{pattern: "GET /repos/{owner}/{repo}/contents/{path...}", permission: "contents", level: "read", repo: getContents},
		{pattern: "GET /repos/{owner}/{repo}/commits/{ref...}", permission: "contents", level: "read", repo: getCommit},
		{pattern: "GET /repos/{owner}/{repo}/tarball/{ref...}", permission: "contents", level: "read", repo: archiveLink},
		{pattern: "GET /repos/{owner}/{repo}/tarball", permission: "contents", level: "read", repo: archiveLink},
		{pattern: "GET /orgs/{org}/repos", serve: func(c *call) answer { return listRepos(c, c.PathValue("org"), "orgs", false) }},
		{pattern: "GET /users/{user}/repos", serve: func(c *call) answer { return listRepos(c, c.PathValue("user"), "users", true) }},
		{pattern: "GET /users/{user}", serve: func(c *call) answer { return getOwner(c, c.PathValue("user"), true) }},
		{pattern: "GET /orgs/{org}", serve: func(c *call) answer { return getOwner(c, c.PathValue("org"), false) }},
		{pattern: "GET /user", serve: getUser},
		{pattern: "GET /rate_limit", free: true, serve: getRateLimit},
	}
}

// listTags lists tags as if by version, descending, with their commits. It says
// nothing of tag objects.
func listTags(c *call, r *Repo) answer {
	var names []string
	for _, name := range r.refNames("refs/tags/") {
		if r.visible()[name].peel().Type == TypeCommit {
			names = append(names, name)
		}
	}
	slices.Reverse(names)
	a := ok(nil)
	a.modified = r.updated
	from, to := c.page(&a, len(names), fmt.Sprintf("repositories/%d/tags", r.id))
	list := []fields{}
	for _, name := range names[from:to] {
		short, commit := strings.TrimPrefix(name, "refs/tags/"), r.visible()[name].peel()
		list = append(list, fields{
			"name": short, "node_id": nodeID("REF", r.id) + base64.RawURLEncoding.EncodeToString([]byte(name)),
			"commit":      fields{"sha": commit.ID, "url": r.url() + "/commits/" + commit.ID},
			"tarball_url": r.url() + "/tarball/" + name, "zipball_url": r.url() + "/zipball/" + name,
		})
	}
	a.body = list
	return a
}

// getContents gives a file, or a folder's list.
func getContents(c *call, r *Repo) answer {
	commit := r.resolve(c.URL.Query().Get("ref"))
	if commit == nil || commit.peel().Type != TypeCommit {
		return problem(http.StatusNotFound, "No commit found for the ref "+c.URL.Query().Get("ref"))
	}
	path := c.PathValue("path")
	found := commit.peel().Target
	if path != "" {
		found = found.find(path)
	}
	switch {
	case found == nil:
		return notFound()
	case found.Type == TypeTree:
		list := []fields{}
		for _, e := range found.entries {
			if e.object != nil {
				list = append(list, e.object.contentJSON(r, strings.TrimPrefix(path+"/"+e.name, "/")))
			}
		}
		return ok(list)
	case strings.Contains(c.Header.Get("Accept"), "raw"):
		a := ok(nil)
		a.raw = []byte(found.content)
		a.header.Set("Content-Type", "application/vnd.github.raw; charset=utf-8")
		return a
	default:
		f := found.contentJSON(r, path)
		f["encoding"], f["content"] = "base64", base64.StdEncoding.EncodeToString([]byte(found.content))
		return ok(f)
	}
}

func (o *Object) contentJSON(r *Repo, path string) fields {
	kind := "file"
	if o.Type == TypeTree {
		kind = "dir"
	}
	return fields{
		"type": kind, "size": len(o.content), "path": path, "name": path[strings.LastIndex(path, "/")+1:], "sha": o.ID,
		"url": r.url() + "/contents/" + path, "git_url": r.url() + "/git/" + o.Type + "s/" + o.ID,
	}
}

// getCommit gives the commit that a revision means.
func getCommit(c *call, r *Repo) answer {
	o := r.resolve(c.PathValue("ref"))
	if o == nil || o.peel().Type != TypeCommit {
		return problem(http.StatusUnprocessableEntity, "No commit found for SHA: "+c.PathValue("ref"))
	}
	o = o.peel()
	if strings.Contains(c.Header.Get("Accept"), "sha") {
		a := ok(nil)
		a.raw = []byte(o.ID)
		a.header.Set("Content-Type", "application/vnd.github.sha; charset=utf-8")
		return a
	}
	f := o.commitJSON(r)
	return ok(fields{
		"sha": o.ID, "node_id": f["node_id"], "url": r.url() + "/commits/" + o.ID, "commit": f, "parents": f["parents"],
		"author": r.sim.owner(authorLogin).senderJSON(r.sim), "committer": r.sim.owner(authorLogin).senderJSON(r.sim),
	})
}

// listRepos lists the repositories of an owner, by name.
func listRepos(c *call, login, path string, person bool) answer {
	owner := c.sim.owners[strings.ToLower(login)]
	if owner == nil || !person && owner.User {
		return notFound()
	}
	repos := c.sim.ownedBy(owner, c.token)
	slices.SortFunc(repos, func(a, b *Repo) int {
		if c.URL.Query().Get("sort") == "pushed" {
			return b.pushed.Compare(a.pushed)
		}
		return strings.Compare(a.fullName(), b.fullName())
	})
	a := ok(nil)
	from, to := c.page(&a, len(repos), path+"/"+login+"/repos")
	list := []fields{}
	for _, r := range repos[from:to] {
		list = append(list, r.json())
	}
	a.body = list
	return a
}

// ownedBy are the repositories of an owner that a token sees, in no order.
func (s *Sim) ownedBy(owner *Owner, t *Token) []*Repo {
	var repos []*Repo
	for _, r := range s.ids {
		if visible, _ := t.sees(r); visible && r.owner == owner {
			repos = append(repos, r)
		}
	}
	return repos
}

func getOwner(c *call, login string, person bool) answer {
	owner := c.sim.owners[strings.ToLower(login)]
	if owner == nil || !person && owner.User {
		return notFound()
	}
	return ok(owner.json(c.sim))
}

// getUser tells a person who they are.
func getUser(c *call) answer {
	switch {
	case c.token == nil:
		return problem(http.StatusUnauthorized, "Requires authentication")
	case c.token.login == "":
		return problem(http.StatusForbidden, "Resource not accessible by integration")
	}
	return ok(c.sim.owner(c.token.login).senderJSON(c.sim))
}

func getRateLimit(c *call) answer {
	if !c.sim.limits.on {
		return problem(http.StatusNotFound, "Rate limiting is not enabled.")
	}
	core := c.sim.bucket(c.token, "core").json(c.sim.opts.Skew)
	return ok(fields{
		"resources": fields{"core": core, "graphql": c.sim.bucket(c.token, "graphql").json(c.sim.opts.Skew)},
		"rate":      core,
	})
}
