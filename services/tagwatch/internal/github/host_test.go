package github

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestAddresses(t *testing.T) {
	for _, test := range []struct{ name, api, rest, graphql string }{
		{"github.com", "", "https://api.github.com/", "https://api.github.com/graphql"},
		{"acme.ghe.com", "", "https://api.acme.ghe.com/", "https://api.acme.ghe.com/graphql"},
		{"ghe.example.org", "", "https://ghe.example.org/api/v3/", "https://ghe.example.org/api/graphql"},
		{"ghe.example.org", "https://GHE.example.org:8443/api/v3", "https://ghe.example.org:8443/api/v3/", "https://ghe.example.org:8443/api/graphql"},
		{"ghe.example.org", "https://proxy.example.org/ghe/api/v3/", "https://proxy.example.org/ghe/api/v3/", "https://proxy.example.org/ghe/api/graphql"},
		{"github.com", "http://127.0.0.1:8080", "http://127.0.0.1:8080/", "http://127.0.0.1:8080/graphql"},
	} {
		h, err := Open(Settings{Name: test.name, API: test.api, Spool: t.TempDir()}, zap.NewNop())
		if err != nil {
			t.Errorf("%s %s: %v", test.name, test.api, err)
			continue
		}
		c, err := h.client(t.Context(), "acme")
		if err != nil || c.rest.BaseURL.String() != test.rest || c.address.String() != test.graphql {
			t.Errorf("%s %s: got %s and %s, %v; want %s and %s", test.name, test.api, c.rest.BaseURL, c.address, err, test.rest, test.graphql)
		}
		if got, want := h.Where(watch.Repo{Name: "acme/web", ID: "4"}), "https://"+test.name+"/acme/web"; got != want || h.Name() != test.name {
			t.Errorf("got %s at %s, want %s", got, h.Name(), want)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	folder := t.TempDir()
	empty := filepath.Join(folder, "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("s3cret")})
	for name, test := range map[string]struct {
		settings Settings
		want     []string
	}{
		"a key that is none":        {Settings{App: &App{ID: 12, PrivateKey: []byte("s3cret")}}, []string{"app.private_key", "BEGIN RSA PRIVATE KEY"}},
		"a key of another kind":     {Settings{App: &App{ID: 12, PrivateKey: certificate}}, []string{"app.private_key", "RSA"}},
		"a token and an App":        {Settings{App: &App{ID: 12}, Token: "s3cret"}, []string{"app", "token"}},
		"no CA":                     {Settings{CA: filepath.Join(folder, "none.pem")}, []string{"ca: open", "none.pem"}},
		"a CA without certificates": {Settings{CA: empty}, []string{"ca: ", "no certificate", "BEGIN CERTIFICATE"}},
		"an API that is no address": {Settings{API: "api.github.com:s3cret"}, []string{"api is not an address", "https://"}},
		"an API with a password":    {Settings{API: "https://me:s3cret@ghe.example.org/"}, []string{"api has credentials", "token"}},
		"an API of ftp":             {Settings{API: "ftp://ghe.example.org/"}, []string{"api is not an address"}},
		"a proxy that is none":      {Settings{Proxy: "http://me:s3cret@pro xy:1/"}, []string{"proxy is not an address", "3128"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.settings.Name, test.settings.Spool = "ghe.example.org", t.TempDir()
			_, err := Open(test.settings, zap.NewNop())
			if err == nil {
				t.Fatal("got no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("a secret is in %q", err)
			}
		})
	}
}

func TestPlainHTTPIsWarnedOf(t *testing.T) {
	for _, test := range []struct {
		api, token string
		want       int
	}{
		{"http://ghe.example.org/api/v3/", "t0ken", 1},
		{"http://ghe.example.org/api/v3/", "", 0},
		{"https://ghe.example.org/api/v3/", "t0ken", 0},
		{"http://127.0.0.1:8080/", "t0ken", 0},
		{"http://[::1]:8080/", "t0ken", 0},
		{"http://localhost/", "t0ken", 0},
	} {
		core, logs := observer.New(zapcore.WarnLevel)
		if _, err := Open(Settings{Name: "ghe.example.org", API: test.api, Token: test.token, Spool: t.TempDir()}, zap.New(core)); err != nil || logs.Len() != test.want {
			t.Errorf("%s: %d warnings, %v; want %d", test.api, logs.Len(), err, test.want)
		}
	}
}

func TestCAIsTheOneConfigured(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { says(200, `{"id":4}`)(w) }))
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop()) // a client that turns away is expected
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		ca   string
		want bool
	}{{ca, true}, {"", false}} {
		h, err := Open(Settings{Name: "ghe.example.org", API: server.URL, CA: test.ca, Token: "t0ken", Spool: t.TempDir()}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := as(t.Context(), h, "acme"); (err == nil) != test.want || test.want && got != 4 {
			t.Errorf("with the CA %q: got %d, %v", test.ca, got, err)
		}
	}
}

func TestProxyIsTheOneConfigured(t *testing.T) {
	asked := ""
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		asked = r.URL.String() + " " + user + ":" + password
		says(200, `{"id":4}`)(w)
	}))
	defer proxy.Close()
	h, err := Open(Settings{
		Name:  "ghe.example.org",
		API:   "http://ghe.example.org/api/v3/",
		Proxy: strings.Replace(proxy.URL, "http://", "http://me:s3cret@", 1),
		Token: "t0ken",
		Spool: t.TempDir(),
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := as(t.Context(), h, "acme"); got != 4 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	if want := "http://ghe.example.org/api/v3/repos/acme/web me:s3cret"; asked != want {
		t.Errorf("the proxy was asked for %q, want %q", asked, want)
	}
	proxy.Close()
	if _, err := as(t.Context(), h, "acme"); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v, want an error without the proxy's password", err)
	}
}
