package github_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	client "github.com/google/go-github/v57/github"

	"github.com/tagship/tagship/e2e/github"
)

// signJWT is what the App says about itself, issued at a time.
func signJWT(t *testing.T, app *github.App, issued time.Time) string {
	t.Helper()
	block, _ := pem.Decode(app.PrivateKey())
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	signed := part(`{"alg":"RS256","typ":"JWT"}`) + "." + part(fmt.Sprintf(`{"iss":"%d","iat":%d,"exp":%d}`, app.ID(), issued.Unix(), issued.Add(9*time.Minute).Unix()))
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + part(string(signature))
}

func TestApps(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	app, err := sim.App()
	if err != nil {
		t.Fatal(err)
	}
	web, secrets := sim.Repo("acme/web").Private(true), sim.Repo("acme/secrets").Private(true)
	web.Commit(github.Files{"a": "b"})
	secrets.Commit(github.Files{"a": "b"})
	installation := app.Install("acme", web)
	app.Install("globex")
	apps := connect(t, sim, signJWT(t, app, time.Now().Add(-30*time.Second))).Apps

	list, _, err := apps.ListInstallations(t.Context(), nil)
	if err != nil || len(list) != 2 {
		t.Errorf("installations: %v %v", list, err)
	}
	for name, find := range map[string]func() (*client.Installation, *client.Response, error){
		"by organisation": func() (*client.Installation, *client.Response, error) {
			return apps.FindOrganizationInstallation(t.Context(), "acme")
		},
		"by user": func() (*client.Installation, *client.Response, error) {
			return apps.FindUserInstallation(t.Context(), "acme")
		},
		"by repository": func() (*client.Installation, *client.Response, error) {
			return apps.FindRepositoryInstallation(t.Context(), "acme", "web")
		},
	} {
		if i, _, err := find(); err != nil || i.GetID() != installation.ID() || i.GetAccount().GetLogin() != "acme" {
			t.Errorf("%s: %v %v", name, i, err)
		}
	}
	if _, resp, err := apps.FindRepositoryInstallation(t.Context(), "acme", "secrets"); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("installation at another repository: %v, want 404", err)
	}

	token, _, err := apps.CreateInstallationToken(t.Context(), installation.ID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	api := connect(t, sim, token.GetToken())
	if repos, _, err := api.Apps.ListRepos(t.Context(), nil); err != nil || repos.GetTotalCount() != 1 {
		t.Errorf("repositories of the installation: %v %v", repos, err)
	}
	status := func(c *client.Client, name string) int {
		_, resp, _ := c.Repositories.Get(t.Context(), "acme", name)
		return resp.StatusCode
	}
	if got := status(api, "web"); got != http.StatusOK {
		t.Errorf("its repository: %d", got)
	}
	if got := status(api, "secrets"); got != http.StatusNotFound {
		t.Errorf("another's repository: %d, want 404", got)
	}
	installation.Permit(map[string]string{"metadata": "read"})
	if _, resp, err := api.Repositories.ListTags(t.Context(), "acme", "web", nil); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("without contents: %v, want 403", err)
	}
	if _, resp, err := apps.CreateInstallationToken(t.Context(), installation.ID(), &client.InstallationTokenOptions{
		Permissions: &client.InstallationPermissions{Contents: client.String("read")},
	}); err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a token that may more than the installation: %v, want 422", err)
	}
	installation.Permit(map[string]string{"contents": "read"})
	narrow, _, err := apps.CreateInstallationToken(t.Context(), installation.ID(), &client.InstallationTokenOptions{RepositoryIDs: []int64{web.ID()}})
	if err != nil || status(connect(t, sim, narrow.GetToken()), "web") != http.StatusOK {
		t.Errorf("a token for one repository: %v", err)
	}
	if _, resp, err := apps.CreateInstallationToken(t.Context(), installation.ID(), &client.InstallationTokenOptions{Repositories: []string{"secrets"}}); err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a token for a repository that was not given: %v, want 422", err)
	}
	installation.Expire()
	if got := status(api, "web"); got != http.StatusUnauthorized {
		t.Errorf("expired: %d, want 401", got)
	}
	token, _, err = apps.CreateInstallationToken(t.Context(), installation.ID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	api = connect(t, sim, token.GetToken())
	installation.Suspend(true)
	if got := status(api, "web"); got != http.StatusNotFound {
		t.Errorf("suspended: %d, want 404", got)
	}
	installation.Uninstall()
	if got := status(api, "web"); got != http.StatusUnauthorized {
		t.Errorf("uninstalled: %d, want 401", got)
	}

	other, err := sim.App()
	if err != nil {
		t.Fatal(err)
	}
	good := signJWT(t, app, time.Now())
	for name, jwt := range map[string]string{
		"expired":         signJWT(t, app, time.Now().Add(-10*time.Minute)),
		"from the future": signJWT(t, app, time.Now().Add(time.Minute)),
		"unsigned":        good[:strings.LastIndex(good, ".")+1] + "AAAA",
		"another's":       good[:strings.LastIndex(good, ".")] + signJWT(t, other, time.Now())[strings.LastIndex(good, "."):],
		"a token":         token.GetToken(),
	} {
		var refused *client.ErrorResponse
		if _, _, err := connect(t, sim, jwt).Apps.Get(t.Context(), ""); !errors.As(err, &refused) || refused.Response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %v, want 401", name, err)
		}
	}
}

func TestPersonalTokens(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	web, other := sim.Repo("acme/web").Private(true), sim.Repo("acme/other").Private(true)
	web.Commit(github.Files{"a": "b"})
	other.Commit(github.Files{"a": "b"})
	token := sim.PersonalToken("alice")
	token.Only(web)
	token.Permit(map[string]string{"contents": "read"})
	for address, want := range map[string]int{
		"repos/acme/web/tags": http.StatusOK, "repos/acme/other/tags": http.StatusNotFound, "repos/acme/web/statuses/" + strings.Repeat("0", 40): http.StatusForbidden,
	} {
		if resp, _ := get(t, sim.API()+address, token.Value()); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", address, resp.StatusCode, want)
		}
	}
	if user, _, err := connect(t, sim, token.Value()).Users.Get(t.Context(), ""); err != nil || user.GetLogin() != "alice" {
		t.Errorf("user: %v %v", user, err)
	}
	token.Expire()
	for _, secret := range []string{token.Value(), "made up"} {
		if resp, _ := get(t, sim.API()+"repos/acme/web/tags", secret); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", secret, resp.StatusCode)
		}
	}
	if n := sim.TokensSeen(github.HostAPI)[token.Value()]; n != 5 {
		t.Errorf("the token was seen %d times, want 5", n)
	}
}
