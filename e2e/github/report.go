package github

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Status is what somebody reported about a commit.
type Status struct {
	ID          int64
	Commit      string
	State       string `json:"state"`
	Context     string `json:"context"`
	Description string `json:"description"`
	TargetURL   string `json:"target_url"`
	At          time.Time
}

// Deployment is something that somebody says to be deployed.
type Deployment struct {
	ID          int64
	Ref         string `json:"ref"`
	Commit      string
	Task        string `json:"task"`
	Environment string `json:"environment"`
	Description string `json:"description"`
	Payload     json.RawMessage
	At          time.Time
	Statuses    []DeploymentStatus // oldest first
}

// DeploymentStatus is how far a deployment is.
type DeploymentStatus struct {
	ID             int64
	State          string `json:"state"`
	LogURL         string `json:"log_url"`
	EnvironmentURL string `json:"environment_url"`
	Environment    string `json:"environment"`
	Description    string `json:"description"`
	At             time.Time
}

// The bounds of what is reported.
const (
	maxStatuses    = 1000 // per commit and context
	maxDescription = 140  // characters
)

// Statuses are the statuses of the repository's commits, oldest first.
func (r *Repo) Statuses() []Status {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	return slices.Clone(r.statuses)
}

// Deployments are the deployments of the repository, oldest first.
func (r *Repo) Deployments() []Deployment {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	list := make([]Deployment, len(r.deploys))
	for i, d := range r.deploys {
		list[i] = *d
		list[i].Statuses = slices.Clone(d.Statuses)
	}
	return list
}

// reportRoutes are what others report about commits and tags.
func reportRoutes() []route {
	return []route{
		{pattern: "POST /repos/{owner}/{repo}/statuses/{sha}", permission: "statuses", level: "write", repo: createStatus},
		{pattern: "GET /repos/{owner}/{repo}/statuses/{sha}", permission: "statuses", level: "read", repo: listStatuses},
		{pattern: "GET /repos/{owner}/{repo}/commits/{sha}/statuses", permission: "statuses", level: "read", repo: listStatuses},
		{pattern: "POST /repos/{owner}/{repo}/deployments", permission: "deployments", level: "write", repo: createDeployment},
		{pattern: "GET /repos/{owner}/{repo}/deployments", permission: "deployments", level: "read", repo: listDeployments},
		{pattern: "POST /repos/{owner}/{repo}/deployments/{id}/statuses", permission: "deployments", level: "write", repo: createDeploymentStatus},
		{pattern: "GET /repos/{owner}/{repo}/deployments/{id}/statuses", permission: "deployments", level: "read", repo: listDeploymentStatuses},
	}
}

// invalid is an answer to a field that is wrong.
func invalid(resource, field, message string) answer {
	a := problem(http.StatusUnprocessableEntity, "Validation Failed")
	a.body.(fields)["errors"] = []fields{{"resource": resource, "field": field, "code": "custom", "message": message}}
	return a
}

func createStatus(c *call, r *Repo) answer {
	sha := c.PathValue("sha")
	if o := r.objects[sha]; o == nil || o.Type != TypeCommit {
		return problem(http.StatusUnprocessableEntity, "No commit found for SHA: "+sha)
	}
	st := Status{Context: "default"}
	if json.Unmarshal(c.body, &st) != nil {
		return problem(http.StatusBadRequest, "Problems parsing JSON")
	}
	if !slices.Contains([]string{"error", "failure", "pending", "success"}, st.State) {
		return invalid("Status", "state", "state is not included in the list")
	}
	if len([]rune(st.Description)) > maxDescription {
		return invalid("Status", "description", "description is too long (maximum is 140 characters)")
	}
	same := 0
	for _, old := range r.statuses {
		if old.Commit == sha && old.Context == st.Context {
			same++
		}
	}
	if same >= maxStatuses {
		return invalid("Status", "", "This SHA and context has reached the maximum number of statuses.")
	}
	st.ID, st.Commit, st.At = r.sim.id(), sha, r.sim.now()
	r.statuses = append(r.statuses, st)
	return created(st.json(r))
}

func (st Status) json(r *Repo) fields {
	return fields{
		"id": st.ID, "node_id": nodeID("SC", st.ID), "state": st.State, "context": st.Context, "description": st.Description,
		"target_url": st.TargetURL, "url": r.url() + "/statuses/" + st.Commit, "created_at": iso(st.At), "updated_at": iso(st.At),
		"creator": r.sim.owner(authorLogin).senderJSON(r.sim),
	}
}

func listStatuses(c *call, r *Repo) answer {
	all := []fields{}
	for _, st := range slices.Backward(r.statuses) {
		if st.Commit == c.PathValue("sha") {
			all = append(all, st.json(r))
		}
	}
	a := ok(nil)
	from, to := c.page(&a, len(all), fmt.Sprintf("repositories/%d/statuses/%s", r.id, c.PathValue("sha")))
	a.body = all[from:to]
	return a
}

func createDeployment(c *call, r *Repo) answer {
	d := &Deployment{Task: "deploy", Environment: "production"}
	wanted := struct {
		*Deployment
		AutoMerge        *bool     `json:"auto_merge"`
		RequiredContexts *[]string `json:"required_contexts"`
	}{Deployment: d}
	if json.Unmarshal(c.body, &wanted) != nil {
		return problem(http.StatusBadRequest, "Problems parsing JSON")
	}
	o := r.resolve(d.Ref)
	if o == nil || o.peel().Type != TypeCommit {
		return problem(http.StatusUnprocessableEntity, "No ref found for: "+d.Ref)
	}
	d.Commit = o.peel().ID
	head := r.visible()[defaultBranch]
	if (wanted.AutoMerge == nil || *wanted.AutoMerge) && head != nil && !isAncestor(head, o.peel()) {
		a := ok(fields{"message": "Auto-merged main into " + d.Ref + " on deployment."})
		a.status = http.StatusAccepted
		return a
	}
	if missing := r.missingContexts(d.Commit, wanted.RequiredContexts); len(missing) > 0 {
		return problem(http.StatusConflict, fmt.Sprintf("Conflict: Commit status checks failed for %s", strings.Join(missing, ", ")))
	}
	d.ID, d.At = r.sim.id(), r.sim.now()
	r.deploys = append(r.deploys, d)
	return created(d.json(r))
}

// missingContexts are the statuses that a deployment waits for: those named, or all
// that the commit has.
func (r *Repo) missingContexts(commit string, required *[]string) []string {
	states := map[string]string{}
	for _, st := range r.statuses {
		if st.Commit == commit {
			states[st.Context] = st.State
		}
	}
	names := slices.Sorted(maps.Keys(states))
	if required != nil {
		names = *required
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return states[name] == "success" })
}

func (d *Deployment) json(r *Repo) fields {
	url := fmt.Sprintf("%s/deployments/%d", r.url(), d.ID)
	return fields{
		"id": d.ID, "node_id": nodeID("DE", d.ID), "sha": d.Commit, "ref": d.Ref, "task": d.Task, "environment": d.Environment,
		"original_environment": d.Environment, "description": d.Description, "payload": fields{}, "url": url,
		"statuses_url": url + "/statuses", "repository_url": r.url(), "created_at": iso(d.At), "updated_at": iso(d.At),
		"creator": r.sim.owner(authorLogin).senderJSON(r.sim), "transient_environment": false, "production_environment": d.Environment == "production",
	}
}

func listDeployments(c *call, r *Repo) answer {
	query := c.URL.Query()
	all := []fields{}
	for _, d := range slices.Backward(r.deploys) {
		wanted := true
		for key, value := range map[string]string{"ref": d.Ref, "sha": d.Commit, "environment": d.Environment, "task": d.Task} {
			wanted = wanted && (query.Get(key) == "" || query.Get(key) == value)
		}
		if wanted {
			all = append(all, d.json(r))
		}
	}
	a := ok(nil)
	from, to := c.page(&a, len(all), fmt.Sprintf("repositories/%d/deployments", r.id))
	a.body = all[from:to]
	return a
}

// deploymentInPath is the deployment that the path names; nil if there is none.
func (c *call) deploymentInPath(r *Repo) *Deployment {
	i := slices.IndexFunc(r.deploys, func(d *Deployment) bool { return strconv.FormatInt(d.ID, 10) == c.PathValue("id") })
	if i < 0 {
		return nil
	}
	return r.deploys[i]
}

func createDeploymentStatus(c *call, r *Repo) answer {
	d := c.deploymentInPath(r)
	if d == nil {
		return notFound()
	}
	st := DeploymentStatus{Environment: d.Environment}
	wanted := struct {
		*DeploymentStatus
		AutoInactive *bool `json:"auto_inactive"`
	}{DeploymentStatus: &st}
	if json.Unmarshal(c.body, &wanted) != nil {
		return problem(http.StatusBadRequest, "Problems parsing JSON")
	}
	if !slices.Contains([]string{"error", "failure", "inactive", "in_progress", "queued", "pending", "success"}, st.State) {
		return invalid("DeploymentStatus", "state", "state is not included in the list")
	}
	if len([]rune(st.Description)) > maxDescription {
		return invalid("DeploymentStatus", "description", "description is too long (maximum is 140 characters)")
	}
	st.ID, st.At = r.sim.id(), r.sim.now()
	d.Statuses = append(d.Statuses, st)
	if st.State == "success" && (wanted.AutoInactive == nil || *wanted.AutoInactive) {
		r.deactivate(d)
	}
	return created(st.json(r, d))
}

// deactivate marks earlier deployments to the same environment as no longer current.
func (r *Repo) deactivate(current *Deployment) {
	for _, d := range r.deploys {
		n := len(d.Statuses)
		if d != current && d.Environment == current.Environment && n > 0 && d.Statuses[n-1].State == "success" {
			d.Statuses = append(d.Statuses, DeploymentStatus{ID: r.sim.id(), State: "inactive", Environment: d.Environment, At: r.sim.now()})
		}
	}
}

func (st DeploymentStatus) json(r *Repo, d *Deployment) fields {
	url := fmt.Sprintf("%s/deployments/%d", r.url(), d.ID)
	return fields{
		"id": st.ID, "node_id": nodeID("DES", st.ID), "state": st.State, "description": st.Description, "environment": st.Environment,
		"log_url": st.LogURL, "target_url": st.LogURL, "environment_url": st.EnvironmentURL, "deployment_url": url, "repository_url": r.url(),
		"url": fmt.Sprintf("%s/statuses/%d", url, st.ID), "created_at": iso(st.At), "updated_at": iso(st.At),
		"creator": r.sim.owner(authorLogin).senderJSON(r.sim),
	}
}

func listDeploymentStatuses(c *call, r *Repo) answer {
	d := c.deploymentInPath(r)
	if d == nil {
		return notFound()
	}
	all := []fields{}
	for _, st := range slices.Backward(d.Statuses) {
		all = append(all, st.json(r, d))
	}
	a := ok(nil)
	from, to := c.page(&a, len(all), fmt.Sprintf("repositories/%d/deployments/%d/statuses", r.id, d.ID))
	a.body = all[from:to]
	return a
}
