package github

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// gitRoutes are git's own objects and refs.
func gitRoutes() []route {
	return []route{
		{pattern: "GET /repos/{owner}/{repo}/git/matching-refs/{ref...}", permission: "contents", level: "read", repo: matchingRefs},
		{pattern: "GET /repos/{owner}/{repo}/git/ref/{ref...}", permission: "contents", level: "read", repo: getRef},
		{pattern: "GET /repos/{owner}/{repo}/git/refs/{ref...}", permission: "contents", level: "read", repo: getRefs},
		{pattern: "GET /repos/{owner}/{repo}/git/tags/{sha}", permission: "contents", level: "read", repo: getTag},
		{pattern: "GET /repos/{owner}/{repo}/git/commits/{sha}", permission: "contents", level: "read", repo: getGitCommit},
		{pattern: "GET /repos/{owner}/{repo}/git/trees/{sha}", permission: "contents", level: "read", repo: getTree},
		{pattern: "GET /repos/{owner}/{repo}/git/blobs/{sha}", permission: "contents", level: "read", repo: getBlob},
	}
}

func emptyRepository() answer { return problem(http.StatusConflict, "Git Repository is empty.") }

// matchingRefs lists all refs that begin with a prefix, in one piece.
func matchingRefs(c *call, r *Repo) answer {
	if len(r.refs) == 0 {
		return emptyRepository()
	}
	list := []fields{}
	for _, name := range r.refNames("refs/" + c.PathValue("ref")) {
		list = append(list, r.refJSON(name))
	}
	a := ok(list)
	a.modified = r.updated
	a.header.Set("X-Poll-Interval", "300")
	return a
}

// getRef gives one ref.
func getRef(c *call, r *Repo) answer {
	if len(r.refs) == 0 {
		return emptyRepository()
	}
	name := "refs/" + c.PathValue("ref")
	if r.visible()[name] == nil {
		return notFound()
	}
	a := ok(r.refJSON(name))
	a.modified = r.updated
	a.header.Set("X-Poll-Interval", "300")
	return a
}

// getRefs is the old way: one ref if there is one of that name, a list of those that
// begin like it if there is none, and nothing if the list is empty.
func getRefs(c *call, r *Repo) answer {
	if len(r.refs) == 0 {
		return emptyRepository()
	}
	if a := getRef(c, r); a.status == http.StatusOK {
		return a
	}
	names := r.refNames("refs/" + c.PathValue("ref"))
	if len(names) == 0 {
		return notFound()
	}
	return matchingRefs(c, r)
}

func (r *Repo) refJSON(name string) fields {
	o := r.visible()[name]
	return fields{
		"ref": name, "node_id": nodeID("REF", r.id), "url": r.url() + "/git/" + name,
		"object": o.refJSON(r),
	}
}

// refJSON is the object as others refer to it.
func (o *Object) refJSON(r *Repo) fields {
	return fields{"type": o.Type, "sha": o.ID, "url": r.url() + "/git/" + o.Type + "s/" + o.ID}
}

// getTag gives a tag object. A commit is none.
func getTag(c *call, r *Repo) answer {
	o := r.objects[c.PathValue("sha")]
	if o == nil || o.Type != TypeTag {
		return notFound()
	}
	return ok(fields{
		"node_id": nodeID("TO", r.id), "tag": o.Name, "sha": o.ID, "url": r.url() + "/git/tags/" + o.ID, "message": o.Message + "\n",
		"tagger": o.personJSON(), "object": o.Target.refJSON(r), "verification": o.verify(),
	})
}

// getGitCommit gives a commit object.
func getGitCommit(c *call, r *Repo) answer {
	o := r.objects[c.PathValue("sha")]
	if o == nil || o.Type != TypeCommit {
		return notFound()
	}
	return ok(o.commitJSON(r))
}

// getTree gives a tree: its own, or that of a commit.
func getTree(c *call, r *Repo) answer {
	o := r.objects[c.PathValue("sha")]
	if o != nil && o.Type == TypeCommit {
		o = o.Target
	}
	if o == nil || o.Type != TypeTree {
		return notFound()
	}
	list := []fields{}
	for _, e := range o.entries {
		kind := TypeCommit // of a submodule
		if e.object != nil {
			kind = e.object.Type
		}
		list = append(list, fields{"path": e.name, "mode": fmt.Sprintf("%06s", e.mode), "type": kind, "sha": e.id})
	}
	return ok(fields{"sha": o.ID, "url": r.url() + "/git/trees/" + o.ID, "tree": list, "truncated": false})
}

// getBlob gives the content of a file.
func getBlob(c *call, r *Repo) answer {
	o := r.objects[c.PathValue("sha")]
	if o == nil || o.Type != TypeBlob {
		return notFound()
	}
	return ok(fields{
		"sha": o.ID, "node_id": nodeID("B", r.id), "url": r.url() + "/git/blobs/" + o.ID, "size": len(o.content),
		"encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte(o.content)),
	})
}

func (o *Object) personJSON() fields {
	return fields{"name": authorName, "email": authorEmail, "date": iso(o.Date)}
}

func (o *Object) commitJSON(r *Repo) fields {
	parents := []fields{}
	if o.Parent != nil {
		parents = append(parents, fields{"sha": o.Parent.ID, "url": r.url() + "/git/commits/" + o.Parent.ID})
	}
	return fields{
		"sha": o.ID, "node_id": nodeID("C", r.id) + o.ID[:8], "url": r.url() + "/git/commits/" + o.ID, "message": o.Message,
		"author": o.personJSON(), "committer": o.personJSON(), "parents": parents,
		"tree": fields{"sha": o.Target.ID, "url": r.url() + "/git/trees/" + o.Target.ID}, "verification": o.verify(),
	}
}

// verify checks the signature, with the next answer of [Repo.Sign].
func (o *Object) verify() fields {
	reason := "unsigned"
	if len(o.reasons) > 0 {
		reason = o.reasons[0]
	}
	if len(o.reasons) > 1 {
		o.reasons = o.reasons[1:]
	}
	f := fields{"verified": reason == "valid", "reason": reason, "signature": nil, "payload": nil, "verified_at": nil}
	if reason != "unsigned" {
		f["signature"] = "-----BEGIN PGP SIGNATURE-----\n\nmade up\n-----END PGP SIGNATURE-----"
		f["payload"] = strings.TrimSpace(string(o.encode()))
	}
	if reason == "valid" {
		f["verified_at"] = iso(o.Date)
	}
	return f
}
