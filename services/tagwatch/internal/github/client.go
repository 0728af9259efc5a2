package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-github/v57/github"
)

// credential is what kind of credential a client has.
type credential int

const (
	credentialNone credential = iota
	credentialToken
	credentialApp          // of the App itself
	credentialInstallation // of an App at one owner
)

// client asks GitHub with one credential. Every request passes the credential's
// limiter, which makes the errors of limits of every way: a [*watch.LimitError].
// It is safe for concurrent use.
type client struct {
	// name says whose budget it is: "token", "app 12 acme" or "anonymous".
	name       string
	credential credential
	host       string // for people, such as github.com
	// rest is for REST. It never blocks by itself. Its errors go through [client.explain].
	rest *github.Client
	// http sends to the API only, with the credential.
	http    *http.Client
	address *url.URL // of GraphQL
	limiter *limiter
}

// newClient makes a client. Authorize puts the credential into requests that it
// sends by the limiter; nil for none.
func (h *Host) newClient(name string, kind credential, authorize func(*limiter) http.RoundTripper) *client {
	l := newLimiter(name, h.graphql.Path, !ofGitHub(h.settings.Name), &confined{api: h.api, next: h.transport}, h.log)
	sender := &http.Client{Transport: l, CheckRedirect: h.checkRedirect}
	if authorize != nil {
		sender.Transport = authorize(l)
	}
	rest := github.NewClient(sender)
	rest.BaseURL = h.api
	rest.UserAgent = h.settings.UserAgent
	return &client{
		name:       name,
		credential: kind,
		host:       h.settings.Name,
		rest:       rest,
		http:       sender,
		address:    h.graphql,
		limiter:    l,
	}
}

// ofGitHub tells whether a host is GitHub's own, which always has limits.
func ofGitHub(host string) bool { return host == "github.com" || strings.HasSuffix(host, ".ghe.com") }

// gqlErrors are the errors in an answer of GraphQL, which stand beside data that may be there in part.
type gqlErrors []gqlError

// gqlError is one of them.
type gqlError struct {
	Type    string `json:"type"` // such as NOT_FOUND, FORBIDDEN; empty for some
	Path    []any  `json:"path"` // where in the data: names, and float64 for indexes
	Message string `json:"message"`
	// Extensions say by a code that the query itself is wrong.
	Extensions struct {
		Code string `json:"code"`
	} `json:"extensions"`
}

// graphql asks a query and reads the answer's data into into, a pointer. Errors
// that GitHub reports beside data, also where the data is null, are returned as
// they are. The error is a [*heavyError] if the query, or a smaller one, may
// succeed later. A query that asks for rateLimit{cost} is accounted with what it
// cost, another with one point.
func (c *client) graphql(ctx context.Context, query string, variables map[string]any, into any) (gqlErrors, error) {
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return nil, fmt.Errorf("encode the query: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.address.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.rest.UserAgent)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain("", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 500 {
		return nil, &heavyError{reason: fmt.Sprintf("POST %s: %s answered %d", c.address.Path, c.host, resp.StatusCode)}
	}
	if err := github.CheckResponse(resp); err != nil {
		return nil, c.explain("", err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return c.decode(ctx, text, into)
}

// decode reads an answer of GraphQL.
func (c *client) decode(ctx context.Context, text []byte, into any) (gqlErrors, error) {
	var answer struct {
		Data   json.RawMessage `json:"data"`
		Errors gqlErrors       `json:"errors"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, c.explain("", err)
	}
	if len(answer.Data) == 0 || string(answer.Data) == "null" {
		return c.decodeNothing(answer.Errors)
	}
	var paid struct {
		RateLimit struct {
			Cost int `json:"cost"`
		} `json:"rateLimit"`
	}
	if err := errors.Join(json.Unmarshal(answer.Data, &paid), json.Unmarshal(answer.Data, into)); err != nil {
		return nil, fmt.Errorf("decode the answer to a query: %w", err)
	}
	if cost := paid.RateLimit.Cost; cost > 1 {
		c.limiter.cost(ctx, cost)
	}
	return answer.Errors, nil
}

// decodeNothing is decode for an answer without data.
func (c *client) decodeNothing(reported gqlErrors) (gqlErrors, error) {
	if len(reported) == 0 {
		return nil, &heavyError{reason: fmt.Sprintf("POST %s: %s answered with neither data nor an error", c.address.Path, c.host)}
	}
	for _, e := range reported {
		if e.Type == "" && e.Extensions.Code == "" { // so it says that something went wrong, or took too long
			return nil, &heavyError{reason: fmt.Sprintf("POST %s: %s", c.address.Path, excerpt(e.Message))}
		}
	}
	return reported, nil
}
