package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-github/v57/github"
)

// plainLoop lists the tags of repositories as a user of go-github does: one
// repository after another, page by page. It tells what that has cost.
func plainLoop(ctx context.Context, f *fleet, names []string) (cost, error) {
	sender := &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	defer sender.CloseIdleConnections()
	client, err := github.NewClient(sender).WithAuthToken(f.token.Value()).WithEnterpriseURLs(f.sim.API(), f.sim.API())
	if err != nil {
		return cost{}, fmt.Errorf("make a client of GitHub: %w", err)
	}
	before, began := f.spent(), time.Now()
	for _, name := range names {
		owner, repo, _ := strings.Cut(name, "/")
		for page := 1; page != 0; {
			_, answer, err := client.Repositories.ListTags(ctx, owner, repo, &github.ListOptions{Page: page, PerPage: 100})
			if err != nil {
				return cost{}, fmt.Errorf("list the tags of %s: %w", name, err)
			}
			page = answer.NextPage
		}
	}
	return f.since(before, time.Since(began)), nil
}
