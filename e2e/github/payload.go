package github

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// fields is a JSON object.
type fields = map[string]any

// iso writes a time as the API does.
func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (o *Owner) json(s *Sim) fields {
	kind := "Organization"
	if o.User {
		kind = "User"
	}
	return fields{
		"login": o.Login, "id": o.ID, "node_id": nodeID("O", o.ID), "type": kind, "site_admin": false,
		"url": s.API() + "users/" + o.Login, "html_url": s.Git() + o.Login, "avatar_url": s.Git() + o.Login + ".png",
	}
}

// senderJSON is the owner as the person who did something.
func (o *Owner) senderJSON(s *Sim) fields {
	f := o.json(s)
	f["type"] = "User"
	return f
}

// url is the address of the repository in the API.
func (r *Repo) url() string { return r.sim.API() + "repos/" + r.fullName() }

// json is the repository as REST and most events have it.
func (r *Repo) json() fields {
	html := r.sim.Git() + r.fullName()
	visibility := "public"
	if r.private {
		visibility = "private"
	}
	return fields{
		"id": r.id, "node_id": nodeID("R", r.id), "name": r.name, "full_name": r.fullName(), "owner": r.owner.json(r.sim),
		"private": r.private, "visibility": visibility, "archived": r.archived, "disabled": r.disabled, "fork": false,
		"html_url": html, "url": r.url(), "clone_url": html + ".git", "git_url": html + ".git",
		"tags_url": r.url() + "/tags", "git_tags_url": r.url() + "/git/tags{/sha}", "git_refs_url": r.url() + "/git/refs{/sha}",
		"archive_url": r.url() + "/{archive_format}{/ref}", "statuses_url": r.url() + "/statuses/{sha}", "deployments_url": r.url() + "/deployments",
		"description": nil, "size": 1, "default_branch": strings.TrimPrefix(defaultBranch, "refs/heads/"),
		"created_at": iso(r.created), "updated_at": iso(r.updated), "pushed_at": iso(r.pushed),
	}
}

// pushJSON is the repository as push events have it: times are numbers.
func (r *Repo) pushJSON() fields {
	f := r.json()
	f["created_at"], f["pushed_at"] = r.created.Unix(), r.pushed.Unix()
	owner := r.owner.json(r.sim)
	owner["name"], owner["email"] = r.owner.Login, nil
	f["owner"] = owner
	f["master_branch"] = f["default_branch"]
	return f
}

// envelope adds what every payload of the repository has.
func (r *Repo) envelope(h *Hook, payload fields) fields {
	body := maps.Clone(payload)
	if body == nil {
		body = fields{}
	}
	if body["repository"] == nil {
		body["repository"] = r.json()
	}
	body["sender"] = r.sim.owner(authorLogin).senderJSON(r.sim)
	if !r.owner.User {
		body["organization"] = r.owner.json(r.sim)
	}
	if i := r.sim.installation(h.config.App, r); i != nil {
		body["installation"] = fields{"id": i.id, "node_id": nodeID("I", i.id)}
	}
	return body
}

// shortRef is a ref as create and delete have it, and its type.
func shortRef(name string) (short, kind string) {
	if tag, is := strings.CutPrefix(name, "refs/tags/"); is {
		return tag, "tag"
	}
	return strings.TrimPrefix(name, "refs/heads/"), "branch"
}

func (r *Repo) createPayload(name string) fields {
	short, kind := shortRef(name)
	return fields{
		"ref": short, "ref_type": kind, "master_branch": strings.TrimPrefix(defaultBranch, "refs/heads/"),
		"description": nil, "pusher_type": "user",
	}
}

func (r *Repo) deletePayload(name string) fields {
	short, kind := shortRef(name)
	return fields{"ref": short, "ref_type": kind, "pusher_type": "user"}
}

func (r *Repo) pushPayload(name string, was, is *Object) fields {
	before, after := zeroID, zeroID
	var head any
	commits := []fields{}
	forced := false
	var baseRef any
	if was != nil {
		before = was.ID
	}
	if is != nil {
		after = is.ID
		if c := is.peel(); c.Type == TypeCommit {
			head = c.pushJSON(r)
			if strings.HasPrefix(name, "refs/heads/") {
				commits = append(commits, c.pushJSON(r))
			} else if isAncestor(c, r.refs[defaultBranch]) {
				baseRef = defaultBranch
			}
		}
	}
	if was != nil && is != nil {
		forced = was.Type != TypeCommit || is.Type != TypeCommit || !isAncestor(was, is)
	}
	short, _ := shortRef(name)
	return fields{
		"ref": name, "before": before, "after": after,
		"created": was == nil, "deleted": is == nil, "forced": forced,
		"base_ref": baseRef, "compare": r.sim.Git() + r.fullName() + "/compare/" + short,
		"commits": commits, "head_commit": head, "repository": r.pushJSON(),
		"pusher": fields{"name": authorLogin, "email": authorEmail},
	}
}

// pushJSON is a commit as push events have it.
func (o *Object) pushJSON(r *Repo) fields {
	person := fields{"name": authorName, "email": authorEmail, "username": authorLogin}
	return fields{
		"id": o.ID, "tree_id": o.Target.ID, "distinct": true, "message": o.Message, "timestamp": iso(o.Date),
		"url": r.sim.Git() + r.fullName() + "/commit/" + o.ID, "author": person, "committer": person,
		"added": []string{}, "removed": []string{}, "modified": []string{},
	}
}

func (r *Repo) releaseJSON(release Release, draft bool) fields {
	target := strings.TrimPrefix(defaultBranch, "refs/heads/")
	if release.Target != nil {
		target = release.Target.ID
	}
	var published any
	page := "untagged-" + fmt.Sprintf("%x", release.Tag)
	if !draft {
		published, page = iso(r.sim.now()), release.Tag
	}
	return fields{
		"id": r.id, "tag_name": release.Tag, "target_commitish": target, "name": release.Tag,
		"draft": draft, "prerelease": release.Prerelease, "immutable": false,
		"url": r.url() + "/releases/" + fmt.Sprint(r.id), "html_url": r.sim.Git() + r.fullName() + "/releases/tag/" + page,
		"created_at": iso(r.sim.now()), "published_at": published, "author": r.sim.owner(authorLogin).senderJSON(r.sim),
		"assets": []string{}, "body": "",
	}
}

// json is the hook as the API lists it. The secret is hidden.
func (h *Hook) json() fields {
	kind, content := "Repository", "json"
	if h.config.Org != "" {
		kind = "Organization"
	} else if h.config.App != nil {
		kind = "App"
	}
	if h.config.Form {
		content = "form"
	}
	events := slices.Clone(h.config.Events)
	if len(events) == 0 {
		events = []string{"*"}
	}
	return fields{
		"type": kind, "id": h.id, "name": "web", "active": true, "events": events,
		"config": fields{"content_type": content, "insecure_ssl": "0", "url": h.config.URL, "secret": "********"},
	}
}
