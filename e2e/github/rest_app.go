package github

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// appRoutes are about Apps and where they are installed.
func appRoutes() []route {
	return []route{
		{pattern: "GET /app", serve: asApp(func(_ *call, a *App) answer {
			return ok(fields{"id": a.id, "slug": fmt.Sprintf("app-%d", a.id), "name": fmt.Sprintf("App %d", a.id), "node_id": nodeID("A", a.id)})
		})},
		{pattern: "GET /app/installations", serve: asApp(listInstallations)},
		{pattern: "GET /app/installations/{id}", serve: asApp(func(c *call, a *App) answer {
			return found(c.installationInPath(a))
		})},
		{pattern: "POST /app/installations/{id}/access_tokens", serve: asApp(issueToken)},
		{pattern: "GET /orgs/{owner}/installation", serve: asApp(ownersInstallation)},
		{pattern: "GET /users/{owner}/installation", serve: asApp(ownersInstallation)},
		{pattern: "GET /repos/{owner}/{repo}/installation", permission: "app", repo: func(c *call, r *Repo) answer {
			return asApp(func(c *call, a *App) answer { return found(c.sim.installation(a, r)) })(c)
		}},
		{pattern: "GET /installation/repositories", serve: installedRepos},
	}
}

// asApp lets only Apps in, with a JWT.
func asApp(serve func(c *call, a *App) answer) func(*call) answer {
	return func(c *call) answer {
		if c.token == nil || c.token.app == nil {
			return problem(http.StatusUnauthorized, "A JSON web token could not be decoded")
		}
		return serve(c, c.token.app)
	}
}

func found(i *Installation) answer {
	if i == nil {
		return notFound()
	}
	return ok(i.json())
}

func (c *call) installationInPath(a *App) *Installation {
	id, err := strconv.ParseInt(c.PathValue("id"), 10, 64)
	if i := c.sim.installs[id]; err == nil && i != nil && i.app == a {
		return i
	}
	return nil
}

func listInstallations(c *call, app *App) answer {
	all := c.sim.installedApps(app)
	a := ok(nil)
	from, to := c.page(&a, len(all), "app/installations")
	list := []fields{}
	for _, i := range all[from:to] {
		list = append(list, i.json())
	}
	a.body = list
	return a
}

func ownersInstallation(c *call, app *App) answer {
	for _, i := range c.sim.installedApps(app) {
		if strings.EqualFold(i.owner.Login, c.PathValue("owner")) {
			return ok(i.json())
		}
	}
	return notFound()
}

// issueToken makes a token of an installation.
func issueToken(c *call, app *App) answer {
	i := c.installationInPath(app)
	if i == nil {
		return notFound()
	}
	if i.suspended {
		return problem(http.StatusForbidden, "This installation has been suspended")
	}
	var wanted struct {
		Repositories  []string          `json:"repositories"`
		RepositoryIDs []int64           `json:"repository_ids"`
		Permissions   map[string]string `json:"permissions"`
	}
	if len(c.body) > 0 && json.Unmarshal(c.body, &wanted) != nil {
		return problem(http.StatusBadRequest, "Problems parsing JSON")
	}
	for permission, level := range wanted.Permissions {
		if has := i.permissions[permission]; has != level && has != "write" {
			return problem(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
		}
	}
	var repos map[int64]bool
	if len(wanted.Repositories)+len(wanted.RepositoryIDs) > 0 {
		repos = map[int64]bool{}
	}
	for _, name := range wanted.Repositories {
		r := c.sim.names[strings.ToLower(i.owner.Login+"/"+name)]
		if r == nil || !i.covers(r) {
			return problem(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
		}
		repos[r.id] = true
	}
	for _, id := range wanted.RepositoryIDs {
		r := c.sim.ids[id]
		if r == nil || !i.covers(r) {
			return problem(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
		}
		repos[id] = true
	}
	t := i.issue(repos, wanted.Permissions)
	permissions := i.permissions
	if t.permissions != nil {
		permissions = t.permissions
	}
	return created(fields{
		"token": t.value, "expires_at": iso(t.expires), "permissions": permissions, "repository_selection": i.json()["repository_selection"],
	})
}

func installedRepos(c *call) answer {
	if c.token == nil || c.token.installation == nil {
		return problem(http.StatusForbidden, "You must authenticate with an installation access token in order to list repositories for an installation.")
	}
	var repos []*Repo
	for _, r := range c.sim.ownedBy(c.token.installation.owner, c.token) {
		if _, member := c.token.sees(r); member {
			repos = append(repos, r)
		}
	}
	sortRepos(repos, "CREATED_AT", false)
	a := ok(nil)
	from, to := c.page(&a, len(repos), "installation/repositories")
	list := []fields{}
	for _, r := range repos[from:to] {
		list = append(list, r.json())
	}
	a.body = fields{"total_count": len(repos), "repositories": list}
	return a
}
