package tagwatch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/tagwatch/internal/git"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// Config is the section tagwatch of tagship.yaml.
type Config struct {
	Interval       events.Duration   `yaml:"interval" default:"30s" doc:"Time between two looks at every repository, or more where a GitHub's budget demands it. A repository that cannot be read is looked at less and less often, up to every 10 minutes."`
	Timeout        events.Duration   `yaml:"timeout" default:"10m" doc:"How long one step may take, such as fetching a commit."`
	Parallel       int               `yaml:"parallel" default:"4" doc:"How many sources of a host are fetched at once; and how many repositories of a git server are listed at once."`
	MaxSource      int64             `yaml:"max_source" default:"2147483648" doc:"How many bytes the source of a commit may have when compressed. A larger one is refused."`
	WebhookSecrets []config.Secret   `yaml:"webhook_secrets" doc:"What a call of /webhooks/look/<app> must prove to know: by X-Hub-Signature-256 or X-Gitea-Signature, or as X-Gitlab-Token. Default: anybody may call."`
	Git            Git               `yaml:"git" doc:"How git reaches the repositories that are not at a GitHub."`
	GitHub         *GitHub           `yaml:"github" doc:"How github.com is reached. Without this section, repositories there are watched as those of any git server."`
	Enterprise     map[string]GitHub `yaml:"enterprise" key:"host" doc:"How GitHub Enterprise servers are reached, by their hosts, such as ghe.example.org."`
	Apps           map[string]App    `yaml:"apps" key:"app" doc:"What to watch, by the name of the app."`
}

// Git is how git reaches the repositories.
type Git struct {
	SSHKey           string `yaml:"ssh_key" doc:"Path of the private key for ssh. Default: what ssh finds by itself."`
	KnownHosts       string `yaml:"known_hosts" doc:"Path of the file with the keys of ssh servers. Default: what ssh finds by itself."`
	CredentialHelper string `yaml:"credential_helper" doc:"Where credentials for https come from, as credential.helper of git-config(1). Default: none."`
}

// App is one app to watch, or every app of an owner.
type App struct {
	Repo          string        `yaml:"repo" required:"true" doc:"The repository: an absolute path, a URL, git@host:path, host/path for https, or host/owner/* for every repository of an owner at a GitHub that has a recipe, each an app called as the repository."`
	RepoID        int64         `yaml:"repo_id" doc:"The number of the repository at its GitHub, for when its name was taken over by another. Default: that of the repository which has the name when it is first looked at."`
	Tags          string        `yaml:"tags" default:"v*" doc:"Which tags are versions of the app; * stands for anything but a slash. What is spelled out up to the last / or @ is not part of the version: with web/v* the tag web/v1.2.3 is version v1.2.3. Or a regular expression between slashes, such as /^web-(?P<version>v.+)$/."`
	Versions      string        `yaml:"versions" doc:"Which versions count, such as >=1.0.0 or ^2. Tags that are no semantic versions then do not."`
	Prereleases   string        `yaml:"prereleases" default:"auto" enum:"auto,always,never" doc:"Whether pre-releases such as v2.0.0-rc.1 count. auto: if versions names one, or is left out."`
	Backfill      string        `yaml:"backfill" default:"none" enum:"none,latest,all" doc:"Which of the tags to release that were there before the app was first looked at."`
	RequireSigned bool          `yaml:"require_signed" doc:"Refuse tags whose signature the GitHub does not verify."`
	GitUser       string        `yaml:"git_user" doc:"The user for https. With a token as password, any name will do. A repository with a user and password of its own is watched by git, also at a GitHub."`
	GitPassword   config.Secret `yaml:"git_password" doc:"The password or token for https. It is sent to the repository's host only."`
}

// Check reports everything that is wrong with the section as a whole.
func (c *Config) Check() error {
	var problems []error
	add := func(field string, wrong bool, message string) {
		if wrong {
			problems = append(problems, config.FieldError(field, errors.New(message)))
		}
	}
	add("interval", c.Interval < events.Duration(time.Second), "is too short, expected at least 1s")
	add("timeout", c.Timeout < events.Duration(time.Second), "is too short, expected at least 1s")
	add("parallel", c.Parallel < 1 || c.Parallel > 1000, "expected 1 to 1000")
	add("max_source", c.MaxSource < 1, "expected a number of bytes above 0")
	for i, secret := range c.WebhookSecrets {
		add(fmt.Sprintf("webhook_secrets[%d]", i), secret.Reveal() == "", "is empty: anybody could sign with it")
	}
	for host := range c.Enterprise {
		add("enterprise."+host, !hostName.MatchString(host) || host != strings.ToLower(host), "is not a host, expected a name in lower case such as ghe.example.org")
		add("enterprise."+host, host == githubHost, "is no Enterprise server: write it as github")
	}
	for name, app := range c.Apps {
		problems = append(problems, config.FieldError("apps."+name, events.CheckApp(name)))
		for _, err := range c.problemsOf(app) {
			problems = append(problems, config.FieldError("apps."+name+"."+err.Field(), err.Unwrap()))
		}
	}
	return errors.Join(problems...)
}

// problemsOf lists what is wrong with an app.
func (c *Config) problemsOf(a App) []*events.FieldError {
	var problems []*events.FieldError
	add := func(field string, err error) {
		if err != nil {
			problems = append(problems, &events.FieldError{Name: field, Err: err})
		}
	}
	if a.Repo != "" { // missing is reported for being required
		address, err := git.ParseAddress(a.Repo)
		add("repo", err)
		if err == nil {
			_, err := address.WithCredentials(a.GitUser, a.GitPassword.Reveal())
			add("git_password", err)
			for _, err := range c.misplaced(a, address) {
				add(err.Field(), err.Unwrap())
			}
		}
	}
	_, err := watch.NewChoice(watch.ChoiceOptions{Tags: a.Tags})
	add("tags", err)
	_, err = watch.NewChoice(watch.ChoiceOptions{Tags: "*", Versions: a.Versions})
	add("versions", err)
	return problems
}

// misplaced lists what does not go with where the repository is.
func (c *Config) misplaced(a App, address git.Address) []*events.FieldError {
	var problems []*events.FieldError
	add := func(field string, wrong bool, format string, args ...any) {
		if wrong {
			problems = append(problems, &events.FieldError{Name: field, Err: fmt.Errorf(format, args...)})
		}
	}
	host, repo := c.hubOf(a, address)
	if host == "" {
		const only = "is of use only for a repository at a GitHub that has its section here, and without git_user"
		add("repo", strings.HasSuffix(a.Repo, "/*"), "owner/* %s", only)
		add("repo_id", a.RepoID != 0, only)
		add("require_signed", a.RequireSigned, only)
		return problems
	}
	owner, name, _ := strings.Cut(repo, "/")
	odd := strings.Contains(name, "/") || strings.Contains(strings.TrimSuffix(repo, "/*"), "*")
	add("repo", owner == "" || name == "" || odd, "is not a repository of %s, expected %s/owner/name or %s/owner/*", host, host, host)
	add("repo_id", a.RepoID < 0, "is %d, expected the number of the repository", a.RepoID)
	add("repo_id", a.RepoID != 0 && name == "*", "is of no use for every repository of an owner")
	return problems
}

// githubHost is the host that the section github is about.
const githubHost = "github.com"

// hubOf returns the GitHub that an app is watched at, and owner/name there; the
// host is empty if git watches it.
func (c *Config) hubOf(a App, address git.Address) (host, repo string) {
	if a.GitUser != "" || a.GitPassword.Reveal() != "" {
		return "", ""
	}
	host, repo = address.Web()
	if _, there := c.Enterprise[host]; there || host == githubHost && c.GitHub != nil {
		return host, repo
	}
	return "", ""
}

// hubs are the GitHubs that are configured, by their hosts.
func (c *Config) hubs() map[string]GitHub {
	hubs := map[string]GitHub{}
	for host, hub := range c.Enterprise {
		hubs[host] = hub
	}
	if c.GitHub != nil {
		hubs[githubHost] = *c.GitHub
	}
	return hubs
}

// reports tells whether anything is reported back anywhere.
func (c *Config) reports() bool {
	for _, hub := range c.hubs() {
		if hub.reports() {
			return true
		}
	}
	return false
}

func (g GitHub) reports() bool {
	return (g.Report.Statuses || g.Report.Deployments) && (g.App != nil || g.Token.Reveal() != "")
}

// choice is which tags are versions of the app.
func (a App) choice() (watch.Choice, error) {
	return watch.NewChoice(watch.ChoiceOptions{Tags: a.Tags, Versions: a.Versions, Prereleases: a.Prereleases})
}

// id is the number of the repository as text; empty for none.
func (a App) id() string {
	if a.RepoID == 0 {
		return ""
	}
	return strconv.FormatInt(a.RepoID, 10)
}

// reveal gives the texts of secrets.
func reveal(secrets []config.Secret) []string {
	texts := make([]string, len(secrets))
	for i, secret := range secrets {
		texts[i] = secret.Reveal()
	}
	return texts
}
