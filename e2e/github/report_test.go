package github_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	client "github.com/google/go-github/v57/github"

	"github.com/tagship/tagship/e2e/github"
)

func TestStatuses(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r := sim.Repo("acme/web")
	c := r.Commit(github.Files{"a": "b"})
	tag := r.TagAnnotated("v1.0.0", c)
	token := sim.PersonalToken("alice")
	api := connect(t, sim, token.Value()).Repositories
	status := &client.RepoStatus{State: client.String("pending"), Context: client.String("tagship/v1.0.0"), Description: client.String("is built"), TargetURL: client.String("https://example.com/log")}
	if made, _, err := api.CreateStatus(t.Context(), "acme", "web", c.ID, status); err != nil || made.GetID() == 0 {
		t.Fatalf("status: %v %v", made, err)
	}
	for name, test := range map[string]struct {
		sha    string
		status client.RepoStatus
	}{
		"of a tag object": {tag.ID, *status},
		"unknown state":   {c.ID, client.RepoStatus{State: client.String("fine")}},
		"long":            {c.ID, client.RepoStatus{State: client.String("success"), Description: client.String(strings.Repeat("x", 141))}},
	} {
		if _, resp, err := api.CreateStatus(t.Context(), "acme", "web", test.sha, &test.status); err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s: %v, want 422", name, err)
		}
	}
	listed, _, err := api.ListStatuses(t.Context(), "acme", "web", c.ID, nil)
	if err != nil || len(listed) != 1 || listed[0].GetContext() != "tagship/v1.0.0" {
		t.Errorf("listed: %v %v", listed, err)
	}
	if got := r.Statuses(); len(got) != 1 || got[0].State != "pending" || got[0].Commit != c.ID || got[0].TargetURL != "https://example.com/log" {
		t.Errorf("on record: %+v", got)
	}
	token.Permit(map[string]string{"contents": "write", "statuses": "read"})
	if _, resp, err := api.CreateStatus(t.Context(), "acme", "web", c.ID, status); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("without permission: %v, want 403", err)
	}
}

func TestDeployments(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r := sim.Repo("acme/web")
	c := r.Commit(github.Files{"a": "b"})
	r.Tag("v1.0.0", c)
	r.Tag("v1.1.0", c)
	r.Commit(github.Files{"a": "ahead"})
	api := connect(t, sim, sim.PersonalToken("alice").Value()).Repositories
	var accepted *client.AcceptedError
	if _, _, err := api.CreateDeployment(t.Context(), "acme", "web", &client.DeploymentRequest{Ref: client.String("v1.0.0")}); !errors.As(err, &accepted) {
		t.Errorf("with auto_merge: %v, want it accepted and merged", err)
	}
	if _, _, err := api.CreateStatus(t.Context(), "acme", "web", c.ID, &client.RepoStatus{State: client.String("pending")}); err != nil {
		t.Fatal(err)
	}
	if _, resp, err := api.CreateDeployment(t.Context(), "acme", "web", &client.DeploymentRequest{Ref: client.String("v1.0.0"), AutoMerge: client.Bool(false)}); err == nil || resp.StatusCode != http.StatusConflict {
		t.Errorf("waiting for contexts: %v, want 409", err)
	}
	deploy := func(ref string) int64 {
		d, _, err := api.CreateDeployment(t.Context(), "acme", "web", &client.DeploymentRequest{Ref: client.String(ref), AutoMerge: client.Bool(false), RequiredContexts: &[]string{}})
		if err != nil || d.GetRef() != ref || d.GetSHA() != c.ID {
			t.Fatalf("%s: %v %v", ref, d, err)
		}
		for _, state := range []string{"in_progress", "success"} {
			if _, _, err := api.CreateDeploymentStatus(t.Context(), "acme", "web", d.GetID(), &client.DeploymentStatusRequest{State: client.String(state), EnvironmentURL: client.String("https://example.com")}); err != nil {
				t.Fatal(err)
			}
		}
		return d.GetID()
	}
	deploy("v1.0.0")
	id := deploy("v1.1.0")
	if _, resp, err := api.CreateDeployment(t.Context(), "acme", "web", &client.DeploymentRequest{Ref: client.String("v9")}); err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("no such ref: %v, want 422", err)
	}
	listed, _, err := api.ListDeployments(t.Context(), "acme", "web", &client.DeploymentsListOptions{Ref: "v1.1.0"})
	if err != nil || len(listed) != 1 || listed[0].GetID() != id {
		t.Errorf("listed: %v %v", listed, err)
	}
	statuses, _, err := api.ListDeploymentStatuses(t.Context(), "acme", "web", id, nil)
	if err != nil || len(statuses) != 2 || statuses[0].GetState() != "success" {
		t.Errorf("statuses: %v %v", statuses, err)
	}
	got := r.Deployments()
	if len(got) != 2 || len(got[0].Statuses) != 3 || got[0].Statuses[2].State != "inactive" || got[1].Statuses[1].EnvironmentURL != "https://example.com" {
		t.Errorf("on record: %+v", got)
	}
}
