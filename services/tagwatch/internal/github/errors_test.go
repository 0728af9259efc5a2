package github

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter)
		gone   bool
		want   []string
	}{
		"401": {says(401, `{"message":"Bad credentials"}`), false, []string{"github.com does not accept the token", "expired", "configure a new one"}},
		"404": {says(404, `{"message":"Not Found"}`), true, []string{"github.com shows no acme/web to the token", "check the name", "Contents: read"}},
		"451": {says(451, `{"message":"Repository access blocked"}`), true, []string{"legal reasons", "Repository access blocked"}},
		"403": {says(403, `{"message":"Resource not accessible by personal access token"}`), true,
			[]string{"GET /repos/acme/web", "Resource not accessible by personal access token", "Contents: read"}},
		"403, single sign-on": {says(403, `{"message":"Resource protected by organization SAML enforcement."}`, "X-GitHub-SSO", "required; url=https://github.com/orgs/acme/sso?authorization_request=s3cret"), true,
			[]string{"single sign-on", "Configure SSO"}},
		"409":                 {says(409, `{"message":"Git Repository is empty."}`), false, []string{"GET /repos/acme/web: github.com answered 409: Git Repository is empty."}},
		"500":                 {says(500, `{"message":"Server Error"}`), false, []string{"GET /repos/acme/web: github.com answered 500: Server Error"}},
		"502 with a page":     {says(502, `<html>Unicorn!`), false, []string{"GET /repos/acme/web: github.com answered 502"}},
		"what is not of it":   {says(200, `[1]`), false, []string{"answers what is not of GitHub's API"}},
		"a long message":      {says(422, `{"message":"`+strings.Repeat("no ", 1000)+`"}`), false, []string{"no no", "..."}},
		"redirects to itself": {says(301, `{}`, "Location", "/repos/acme/web"), false, []string{"GET /repos/acme/web: github.com redirects more than 5 times"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) { test.answer(w) })
			err := get(t.Context(), c)
			if host := new(watch.HostError); errors.As(err, &host) != (name == "401") {
				t.Errorf("got %T, a trouble of the whole host is %v", err, name != "401")
			}
			var gone *watch.GoneError
			if errors.As(err, &gone) != test.gone {
				t.Errorf("got %T, gone is %v, want %v", err, !test.gone, test.gone)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if text := err.Error(); len(text) > 400 || strings.Contains(text, "s3cret") || strings.Contains(text, "?") {
				t.Errorf("got %d bytes, want fewer and no query: %s", len(text), text)
			}
		})
	}
}

func TestRefusedReportSaysWhatToAllow(t *testing.T) {
	c := tokenClient(t, func(w http.ResponseWriter, r *http.Request) {
		says(403, `{"message":"Resource not accessible by integration"}`)(w)
	})
	if err := post(t.Context(), c); !strings.Contains(err.Error(), "Commit statuses: write") {
		t.Errorf("got %q, want the permission to write", err)
	}
}

func TestConnectionErrorsNameTheRequest(t *testing.T) {
	h, err := open(Settings{Name: "github.com"}, broken{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.client(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.rest.Repositories.ListTags(t.Context(), "acme", "web", nil)
	if got := c.explain("acme/web", err); got.Error() != "GET /repos/acme/web/tags: connection reset" {
		t.Errorf("got %q", got)
	}
}

func TestUnreachableIsTheHostsTrouble(t *testing.T) {
	closed := httptest.NewTLSServer(http.NotFoundHandler())
	closed.Close()
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(untrusted.Close)
	for name, address := range map[string]string{"closed": closed.URL, "not trusted": untrusted.URL} {
		h, err := open(Settings{Name: "github.example.com", API: address}, &http.Transport{}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		var host *watch.HostError
		h.List(t.Context(), []watch.Ask{{Repo: watch.Repo{Name: "acme/web"}}}, func(_ int, _ watch.Listing, err error) {
			if !errors.As(err, &host) || !strings.HasPrefix(host.Reason, "cannot reach 127.0.0.1:") {
				t.Errorf("%s: got %v, want that it cannot be reached", name, err)
			}
		})
		if host == nil {
			t.Errorf("%s: no answer", name)
		}
	}
}

// broken is a transport that reaches nothing.
type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection reset")
}
