package tagwatch

import (
	"strings"
	"testing"

	"github.com/tagship/tagship/daemon/config"
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
  agent: {repo: /srv/git/agent.git, tags: "agent/*", versions: ">=1.0.0", backfill: true}
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
