package github

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/go-github/v57/github"
)

// client asks GitHub with one credential. Every request passes the credential's
// limiter, which makes the errors of limits of every way: a [*watch.LimitError].
// It is safe for concurrent use.
type client struct {
	// name says whose budget it is: "token", "app 12 acme" or "anonymous".
	name string
	// rest is for REST. It never blocks by itself. Its errors go through [client.explain].
	rest *github.Client
	// http sends to the API only, with the credential.
	http    *http.Client
	address *url.URL // of GraphQL
}

// gqlErrors are the errors in an answer of GraphQL, which stand beside data that may be there in part.
type gqlErrors []gqlError

// gqlError is one of them.
type gqlError struct {
	Type    string `json:"type"` // such as NOT_FOUND, FORBIDDEN; empty for some
	Path    []any  `json:"path"` // where in the data: names, and float64 for indexes
	Message string `json:"message"`
}

// graphql asks a query and reads the answer's data into into, a pointer. Errors
// that GitHub reports beside data, also where the data is null, are returned as
// they are. The error is a [*heavyError] if the query, or a smaller one, may
// succeed later. A query that asks for rateLimit{cost} is accounted with what it
// cost, another with one point.
func (c *client) graphql(ctx context.Context, query string, variables map[string]any, into any) (gqlErrors, error) {
	return nil, nil
}
