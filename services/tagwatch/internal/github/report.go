package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-github/v57/github"
	"github.com/tagship/tagship/services/tagwatch/internal/report"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// Reporter shows what became of a version as commit statuses and deployments. The
// credential's limiter keeps it to what GitHub allows to be made, which is a small
// part of what may be asked. It is safe for concurrent use.
type Reporter struct{ host *Host }

var _ report.Forge = (*Reporter)(nil)

// NewReporter reports to a GitHub.
func NewReporter(h *Host) *Reporter { return &Reporter{host: h} }

// Status makes a commit status.
func (r *Reporter) Status(ctx context.Context, repo report.Repo, s report.Status) error {
	return r.call(ctx, http.MethodPost, repo, "statuses/"+url.PathEscape(s.Commit), &github.RepoStatus{
		State:       github.String(string(s.State)),
		Context:     github.String(s.Context),
		Description: github.String(s.Description),
		TargetURL:   optional(s.Link),
	}, nil)
}

// payload is what a deployment carries, by which it is found again.
type payload struct {
	Tagship string `json:"tagship"`
}

// Deploy makes a deployment, unless there is one with the marker. GitHub has no
// way to make it only once: whoever calls it for the same marker at the same time
// may make two.
func (r *Reporter) Deploy(ctx context.Context, repo report.Repo, d report.Deployment) (int64, error) {
	id, err := r.deployment(ctx, repo, d)
	if id != 0 || err != nil {
		return id, err
	}
	var made github.Deployment
	err = r.call(ctx, http.MethodPost, repo, "deployments", &github.DeploymentRequest{
		Ref:         github.String(d.Ref),
		Environment: github.String(d.Environment),
		Description: github.String(d.Description),
		Payload:     payload{d.Marker},
		// Else GitHub merges the default branch into the tag, or waits for statuses.
		AutoMerge:        github.Bool(false),
		RequiredContexts: &[]string{},
	}, &made)
	if err != nil {
		return 0, err
	}
	if made.GetID() == 0 {
		return 0, errors.New("make the deployment: GitHub's answer has no id")
	}
	return made.GetID(), nil
}

// deployment finds a deployment by its marker among the newest of its ref and
// environment; 0 if there is none.
func (r *Reporter) deployment(ctx context.Context, repo report.Repo, d report.Deployment) (int64, error) {
	query := url.Values{"ref": {d.Ref}, "environment": {d.Environment}, "per_page": {"100"}}
	var found []*github.Deployment
	if err := r.call(ctx, http.MethodGet, repo, "deployments?"+query.Encode(), nil, &found); err != nil {
		return 0, fmt.Errorf("look for the deployment: %w", err)
	}
	for _, f := range found {
		if marker(f.Payload) == d.Marker {
			return f.GetID(), nil
		}
	}
	return 0, nil
}

// marker reads a deployment's payload, which anybody makes: an object, or a
// string with an object in it. It is empty for all others.
func marker(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	var p payload
	if json.Unmarshal(raw, &p) != nil {
		return ""
	}
	return p.Tagship
}

// DeploymentStatus makes a deployment status. Success makes GitHub call the
// environment's earlier deployments inactive.
func (r *Reporter) DeploymentStatus(ctx context.Context, repo report.Repo, id int64, s report.DeploymentStatus) error {
	return r.call(ctx, http.MethodPost, repo, "deployments/"+strconv.FormatInt(id, 10)+"/statuses", &github.DeploymentStatusRequest{
		State:       github.String(string(s.State)),
		Description: github.String(s.Description),
		LogURL:      optional(s.Link),
	}, nil)
}

// call asks about a repository. Its errors are those of [report.Forge].
func (r *Reporter) call(ctx context.Context, method string, repo report.Repo, path string, body, into any) error {
	where := watch.Repo{Name: repo.Name, ID: repo.ID}
	c, err := r.host.client(ctx, owner(where))
	if err != nil {
		return reportError(err)
	}
	base, err := repositoryPath(where)
	if err != nil {
		return err
	}
	request, err := c.rest.NewRequest(method, base+"/"+path, body)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	if _, err := c.rest.Do(ctx, request, into); err != nil {
		return c.explainReport(repo.Name, path, err)
	}
	return nil
}

// explainReport says what an error of a call about a part of a repository means for reports.
func (c *client) explainReport(repo, path string, err error) error {
	var accepted *github.AcceptedError
	if errors.As(err, &accepted) {
		return &report.UnfitError{Reason: c.host + " merged branches rather than make a deployment"}
	}
	switch status := statusOf(err); {
	case status == http.StatusConflict || status == http.StatusUnprocessableEntity:
		return &report.UnfitError{Reason: wording(err)}
	case status == http.StatusNotFound && strings.HasPrefix(path, "deployments/"): // it was made before, by this credential
		return &report.UnfitError{Reason: "somebody has deleted the deployment"}
	case status == http.StatusNotFound: // so says GitHub of a private repository, and of any to a token that lacks a scope
		return &report.DeniedError{Reason: fmt.Sprintf("%s shows no %s to %s, or does not let it report there: check that %s", c.host, repo, c.who(), c.mayWrite())}
	}
	return reportError(c.explain(repo, err))
}

// reportError turns the errors of every call into those of reports.
func reportError(err error) error {
	var limit *watch.LimitError
	var gone *watch.GoneError
	switch {
	case errors.As(err, &limit):
		return &report.LimitError{Until: limit.Until, Reason: limit.Reason}
	case errors.As(err, &gone):
		return &report.DeniedError{Reason: gone.Reason}
	}
	return err
}

// wording is what GitHub says is wrong with a request.
func wording(err error) string {
	var answered *github.ErrorResponse
	if !errors.As(err, &answered) {
		return excerpt(err.Error())
	}
	words := []string{answered.Message}
	for _, e := range answered.Errors {
		if e.Message != "" {
			words = append(words, e.Message)
		}
	}
	return excerpt(strings.Join(words, ": "))
}

// optional leaves out what is empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
