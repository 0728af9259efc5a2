package webhook

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

func TestLook(t *testing.T) {
	t.Parallel()
	const body = "anything at all"
	signed := sign(secret, body)
	for name, test := range map[string]struct {
		secrets []string
		app     string
		headers []string
		want    int
		outcome string
	}{
		"open":                            {nil, "web", nil, http.StatusAccepted, Stored},
		"open, of an empty secret":        {[]string{""}, "web", nil, http.StatusAccepted, Stored},
		"an app in folders":               {nil, "team/agent", nil, http.StatusAccepted, Stored},
		"an unknown app":                  {nil, "api", nil, http.StatusNotFound, Unwatched},
		"no app":                          {nil, "", nil, http.StatusNotFound, Unwatched},
		"GitHub, Gitea, Forgejo":          {[]string{"old", secret}, "web", []string{"X-Hub-Signature-256", signed}, http.StatusAccepted, Stored},
		"Gitea of old":                    {[]string{"old", secret}, "web", []string{"X-Gitea-Signature", strings.TrimPrefix(signed, "sha256=")}, http.StatusAccepted, Stored},
		"GitLab":                          {[]string{"old", secret}, "web", []string{"X-Gitlab-Token", secret}, http.StatusAccepted, Stored},
		"nothing":                         {[]string{secret}, "web", nil, http.StatusUnauthorized, Unsigned},
		"another token":                   {[]string{secret}, "web", []string{"X-Gitlab-Token", secret + "r"}, http.StatusUnauthorized, Unsigned},
		"another signature":               {[]string{secret}, "web", []string{"X-Hub-Signature-256", sign("another", body)}, http.StatusUnauthorized, Unsigned},
		"a signature with no prefix":      {[]string{secret}, "web", []string{"X-Hub-Signature-256", strings.TrimPrefix(signed, "sha256=")}, http.StatusUnauthorized, Unsigned},
		"a signature with a prefix":       {[]string{secret}, "web", []string{"X-Gitea-Signature", signed}, http.StatusUnauthorized, Unsigned},
		"SHA-1":                           {[]string{secret}, "web", []string{"X-Hub-Signature", "sha1=" + ones}, http.StatusUnauthorized, Unsigned},
		"a wrong one beside a good one":   {[]string{secret}, "web", []string{"X-Hub-Signature-256", sign("another", body), "X-Gitlab-Token", secret}, http.StatusUnauthorized, Unsigned},
		"who cannot prove, learns no app": {[]string{secret}, "api", nil, http.StatusUnauthorized, Unsigned},
		"who can, does":                   {[]string{secret}, "api", []string{"X-Gitlab-Token", secret}, http.StatusNotFound, Unwatched},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &desk{}
			answer := answerOf(d.look(test.secrets), newLook(t, test.app, body, test.headers...))
			if answer.Code != test.want || !slices.Equal(d.counts, []string{"look " + test.outcome}) {
				t.Errorf("answered %d: %s, counted %q; expected %d and %s", answer.Code, answer.Body, d.counts, test.want, test.outcome)
			}
			var want []events.Hook
			if test.outcome == Stored {
				want = []events.Hook{{App: test.app, By: "webhook"}}
			}
			if diff := cmp.Diff(want, d.hooks); diff != "" {
				t.Errorf("stored (-expected +got):\n%s", diff)
			}
		})
	}
}

func TestLookRefusesLargeBodies(t *testing.T) {
	t.Parallel()
	d := &desk{}
	announced := newLook(t, "web", "")
	announced.ContentLength = maxBody + 1
	endless := newLook(t, "web", "")
	endless.Body, endless.ContentLength = io.NopCloser(spaces{}), -1
	for _, large := range []*http.Request{announced, endless} {
		if answer := answerOf(d.look(nil), large); answer.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("answered %d: %s, expected 413", answer.Code, answer.Body)
		}
	}
	if len(d.hooks) != 0 {
		t.Errorf("stored %v", d.hooks)
	}
}

func (d *desk) look(secrets []string) *Look {
	return NewLook(secrets, func(app string) bool { return app == "web" || app == "team/agent" }, d.options())
}

func newLook(t testing.TB, app, body string, headers ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhooks/look/x", strings.NewReader(body))
	r.SetPathValue("app", app)
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	return r
}
