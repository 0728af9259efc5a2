package github

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/google/go-github/v57/github"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// heavyError says that GitHub did not manage to answer: its own fault or that of
// a query that asks for too much at once. It may pass, and a smaller query may do.
type heavyError struct{ reason string }

func (e *heavyError) Error() string { return e.reason }

// credentialsError says that GitHub does not accept the credentials of an App at
// one owner. Others are a [*watch.HostError].
type credentialsError struct{ reason string }

func (e *credentialsError) Error() string { return e.reason }

// explain says what an error of a call about a repository means, in words that
// say what to do: a [*watch.GoneError], a [*watch.LimitError] or a
// [*watch.HostError], or an error that may pass. A nil error stays nil. Repo is owner/name, or empty for a call about none.
func (c *client) explain(repo string, err error) error {
	var (
		limit       *watch.LimitError
		gone        *watch.GoneError
		host        *watch.HostError
		heavy       *heavyError
		credentials *credentialsError
		answered    *github.ErrorResponse
		failed      *url.Error
	)
	switch {
	case err == nil:
		return nil
	// What the transport made, without what net/http put around it.
	case errors.As(err, &limit):
		return limit
	case errors.As(err, &gone):
		return gone
	case errors.As(err, &host):
		return host
	case errors.As(err, &heavy):
		return heavy
	case errors.As(err, &credentials):
		return credentials
	case errors.As(err, &answered):
		return c.explainAnswer(repo, answered)
	case errors.As(err, &failed) && c.isUnreachable(failed):
		return &watch.HostError{Reason: fmt.Sprintf("cannot reach %s: %v", c.rest.BaseURL.Host, failed.Err)}
	case errors.As(err, &failed):
		return fmt.Errorf("%s %s: %w", strings.ToUpper(failed.Op), pathOf(failed.URL), failed.Err)
	case isGarbled(err):
		return fmt.Errorf("%s answers what is not of GitHub's API, so it may not be the address of one: %w", c.rest.BaseURL.Host, err)
	}
	return err
}

// isUnreachable tells whether there was no connection to the API at all.
func (c *client) isUnreachable(failed *url.Error) bool {
	to, err := url.Parse(failed.URL)
	if err != nil || to.Host != c.rest.BaseURL.Host || errors.Is(failed.Err, context.Canceled) {
		return false // such as an archive's, which other hosts give
	}
	var (
		connection  *net.OpError
		certificate *tls.CertificateVerificationError
	)
	return errors.As(failed.Err, &connection) && (connection.Op == "dial" || connection.Op == "proxyconnect") || errors.As(failed.Err, &certificate)
}

// isGarbled tells whether an answer could not be decoded.
func isGarbled(err error) bool {
	var (
		syntax *json.SyntaxError
		shape  *json.UnmarshalTypeError
	)
	return errors.As(err, &syntax) || errors.As(err, &shape) || errors.Is(err, io.ErrUnexpectedEOF)
}

// explainAnswer is explain for what GitHub itself answered.
func (c *client) explainAnswer(repo string, e *github.ErrorResponse) error {
	resp := e.Response
	path := resp.Request.URL.Path
	asked, what := resp.Request.Method+" "+path, cmp.Or(repo, path)
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return c.unaccepted()
	case http.StatusNotFound:
		return &watch.GoneError{Reason: fmt.Sprintf("%s shows no %s to %s: check the name, and that %s", c.host, what, c.who(), c.mayRead())}
	case http.StatusUnavailableForLegalReasons:
		return &watch.GoneError{Reason: fmt.Sprintf("%s has blocked %s for legal reasons: %s", c.host, what, excerpt(e.Message))}
	case http.StatusForbidden:
		if strings.HasPrefix(resp.Header.Get("X-Github-Sso"), "required") {
			return &watch.GoneError{Reason: fmt.Sprintf("the organization of %s wants single sign-on: authorize the token for it, in the list of tokens at %s (Configure SSO)", what, c.host)}
		}
		advice := c.mayRead()
		if resp.Request.Method != http.MethodGet && path != c.address.Path {
			advice = c.mayWrite()
		}
		return &watch.GoneError{Reason: fmt.Sprintf("%s does not let %s do %s (%s): check that %s", c.host, c.who(), asked, excerpt(e.Message), advice)}
	}
	if text := excerpt(e.Message); text != "" {
		return fmt.Errorf("%s: %s answered %d: %s", asked, c.host, resp.StatusCode, text)
	}
	return fmt.Errorf("%s: %s answered %d", asked, c.host, resp.StatusCode)
}

// unaccepted is the error of a 401.
func (c *client) unaccepted() error {
	switch c.credential {
	case credentialToken:
		return &watch.HostError{Reason: fmt.Sprintf("%s does not accept the token: it is wrong, has expired or was revoked; configure a new one", c.host)}
	case credentialApp:
		return &watch.HostError{Reason: fmt.Sprintf("%s does not accept %s: check the App's id and private key, and this machine's clock", c.host, c.name)}
	case credentialInstallation:
		return &credentialsError{reason: fmt.Sprintf("%s does not accept the token it gave %s: if that stays so, check whether the App is still installed there", c.host, c.name)}
	}
	return &watch.HostError{Reason: fmt.Sprintf("%s wants credentials: configure a token or an App", c.host)}
}

// who names the client in a sentence.
func (c *client) who() string {
	switch c.credential {
	case credentialToken:
		return "the token"
	case credentialApp, credentialInstallation:
		return c.name
	}
	return "anybody without credentials"
}

// mayRead says what must be so for the client to read a repository.
func (c *client) mayRead() string {
	switch c.credential {
	case credentialToken:
		return "the token has access to it (Contents: read)"
	case credentialApp, credentialInstallation:
		return "the App's installation has access to it (Contents: read)"
	}
	return "it is public, or configure a token or an App"
}

// mayWrite says what must be so for the client to report.
func (c *client) mayWrite() string {
	switch c.credential {
	case credentialToken:
		return "the token has Commit statuses: write and Deployments: write"
	case credentialApp, credentialInstallation:
		return "the App's installation has Commit statuses: write and Deployments: write"
	}
	return "a token or an App is configured"
}

// statusOf is the HTTP status that a call of [client.rest] failed with, such as
// 304, 404 or 409; 0 if it did not fail by one.
func statusOf(err error) int {
	var answered *github.ErrorResponse
	if errors.As(err, &answered) {
		return answered.Response.StatusCode
	}
	return 0
}

// pathOf is the path of an address: a query says little, and may be long.
func pathOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address"
	}
	return u.Path
}

// excerpt is as much of a text of GitHub's as fits into a line.
func excerpt(text string) string {
	const most = 200
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
