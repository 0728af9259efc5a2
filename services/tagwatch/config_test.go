package tagwatch

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/services/tagwatch/internal/git"
	"go.uber.org/zap"
)

func decode(text string, env map[string]string) (Config, error) {
	var c Config
	err := config.Decode("tagwatch.yaml", []byte(text), &c, func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	return c, err
}

func TestConfig(t *testing.T) {
	t.Parallel()
	c, err := decode(`
apps:
  web: {repo: github.com/acme/web, git_user: x, git_password: "${TOKEN}"}
  agent: {repo: /srv/git/agent.git, tags: "agent/*", versions: ">=1.0.0", backfill: all}
  team/tool: {repo: "git@git.example.org:tool.git"}
`, map[string]string{"TOKEN": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Apps["web"].Tags != "v*" || c.Apps["web"].GitPassword.Reveal() != "s3cret" || c.Parallel != 4 || c.Interval.String() != "30s" {
		t.Errorf("decoded to %+v", c)
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := decode(`
interval: 10ms
parallel: 0
apps:
  Web: {repo: github.com/acme/web}
  a: {}
  b: {repo: "https://ann:s3cret@git.example.org"}
  c: {repo: /srv/c, tags: "v["}
  d: {repo: /srv/d, versions: newest}
  e: {repo: /srv/e, git_password: s3cret}
  f: {repo: /srv/f, tag: v1}
`, nil)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		":2:", "interval", "parallel", "apps.Web", ":6:", "apps.a.repo", "apps.b.repo", "apps.c.tags", "apps.d.versions", "apps.e.git_password", "apps.f.tag",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a password is in:\n%v", err)
	}
}

// privateKey is one that an App may have.
func privateKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func TestConfigOfGitHub(t *testing.T) {
	t.Parallel()
	c, err := decode(`
webhook_secrets: ["${LOOK}"]
github:
  app: {id: 12, private_key: "${KEY}"}
  webhook_secrets: ["${OLD}", "${NEW}"]
enterprise:
  ghe.example.org: {token: "${TOKEN}", list: rest, report: {deployments: false, link: "https://logs.example.org/{app}?v={version}"}}
  127.0.0.1:8443: {api: "http://127.0.0.1:8080/api/v3/"}
apps:
  web: {repo: github.com/acme/web, require_signed: true, repo_id: 7}
  acme: {repo: "https://ghe.example.org/acme/*", backfill: latest, prereleases: never}
  mono: {repo: 127.0.0.1:8443/acme/mono.git, tags: '/^mono-(?P<version>v.+)$/'}
  own: {repo: github.com/acme/own, git_user: x, git_password: "${TOKEN}"}
  ssh: {repo: "git@github.com:acme/ssh.git"}
`, map[string]string{"LOOK": "look", "KEY": privateKey(t), "OLD": "old", "NEW": "new", "TOKEN": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	for app, want := range map[string][2]string{
		"web": {"github.com", "acme/web"}, "acme": {"ghe.example.org", "acme/*"}, "mono": {"127.0.0.1:8443", "acme/mono"}, "own": {}, "ssh": {},
	} {
		address, err := git.ParseAddress(c.Apps[app].Repo)
		if err != nil {
			t.Fatal(err)
		}
		host, repo := c.hubOf(c.Apps[app], address)
		if got := [2]string{host, repo}; got != want {
			t.Errorf("%s is watched at %q, expected %q", app, got, want)
		}
	}
	if !c.reports() || !c.Enterprise["ghe.example.org"].reports() || c.Enterprise["127.0.0.1:8443"].reports() {
		t.Error("what has credentials is to be reported to, and nothing else")
	}
}

func TestConfigOfGitHubNamesEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := decode(`
webhook_secrets: [""]
github:
  token: "s3cret\n"
  app: {id: 0, private_key: s3cret}
  api: ftp://api.example.org
  proxy: "s3cret"
  archive_hosts: ["https://codeload.example.org"]
  webhook_secrets: ["${EMPTY}", "s3cret\n"]
  report: {link: "https://logs.example.org/{name}"}
enterprise:
  https://ghe.example.org: {}
  github.com: {}
apps:
  a: {repo: github.com/acme}
  b: {repo: github.com/acme/*, repo_id: 7}
  c: {repo: git.example.org/acme/*}
  d: {repo: /srv/d, require_signed: true}
  e: {repo: git.example.org/acme/e, repo_id: 7}
  f: {repo: github.com/acme/f, backfill: true}
  g: {repo: github.com/acme/g, prereleases: sometimes}
  h: {repo: github.com/acme/h, tags: "/(/"}
  i: {repo: "github.com/acme/web*"}
  j: {repo: "github.com/*/web"}
`, map[string]string{"EMPTY": ""})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"webhook_secrets[0]", "github.token", "github.app", "github.app.private_key", "BEGIN RSA PRIVATE KEY", "github.api", "github.proxy", "github.archive_hosts[0]", "github.webhook_secrets[0]", "github.webhook_secrets[1]", "github.report.link",
		"enterprise.https://ghe.example.org", "enterprise.github.com",
		"apps.a.repo", "apps.b.repo_id", "apps.c.repo", "apps.d.require_signed", "apps.e.repo_id", "apps.f.backfill", "apps.g.prereleases", "apps.h.tags", "apps.i.repo", "apps.j.repo",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a secret is in:\n%v", err)
	}
}

// TestWrongConfigurationAtTheStart is about what only the machine can tell.
func TestWrongConfigurationAtTheStart(t *testing.T) {
	t.Parallel()
	cfg := section(nil)
	cfg.GitHub = &GitHub{CA: filepath.Join(t.TempDir(), "none.pem")}
	err := Run(t.Context(), cfg, daemon.Runtime{Log: zap.NewNop(), DataDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "none.pem") || daemon.ExitCode(err) != daemon.ExitUsage {
		t.Errorf("got %v with exit code %d, want one about the CA with %d", err, daemon.ExitCode(err), daemon.ExitUsage)
	}
}
