package tagwatch

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/services/tagwatch/internal/github"
)

// GitHub is how a GitHub is reached: github.com, or an Enterprise server.
type GitHub struct {
	Token          config.Secret   `yaml:"token" doc:"A personal access token that may read the repositories (contents: read) and, to report back, write commit statuses and deployments. It is sent to the host of the API only."`
	App            *GitHubApp      `yaml:"app" doc:"A GitHub App, instead of a token. It needs the permissions Contents: read and, to report back, Commit statuses and Deployments: write."`
	WebhookSecrets []config.Secret `yaml:"webhook_secrets" doc:"The secrets that webhooks may be signed with: the one in use, and while it is being replaced the next. Without one, no webhook is accepted."`
	List           string          `yaml:"list" default:"graphql" enum:"graphql,rest" doc:"How tags are listed: by GraphQL, many repositories in one request, which needs credentials; or by REST with conditional requests, one each, which is what happens without credentials."`
	API            string          `yaml:"api" doc:"The address of the REST API. Default: https://api.github.com/ for github.com, and https://HOST/api/v3/ for an Enterprise server."`
	CA             string          `yaml:"ca" doc:"File with the certificates that the server's certificate is checked against, instead of the machine's own."`
	Proxy          config.Secret   `yaml:"proxy" doc:"The address of an HTTP proxy, with user and password if it wants them. Default: what the variables HTTPS_PROXY and NO_PROXY say."`
	ArchiveHosts   []string        `yaml:"archive_hosts" doc:"Hosts that archives may come from, beside the API's own and codeload.HOST. The token is sent to none of them."`
	Report         Report          `yaml:"report" doc:"What is reported back to the repositories."`
}

// GitHubApp is who a GitHub App is.
type GitHubApp struct {
	ID         int64         `yaml:"id" required:"true" doc:"The number of the App."`
	PrivateKey config.Secret `yaml:"private_key" required:"true" doc:"The App's private key, in PEM."`
}

// Report is what is reported back to the repositories.
type Report struct {
	Statuses    bool   `yaml:"statuses" default:"true" doc:"Show at the tag's commit that it is being built, is built, and where it runs."`
	Deployments bool   `yaml:"deployments" default:"true" doc:"Show releases as deployments to the environments."`
	Link        string `yaml:"link" doc:"Where people find the output of a step; {app}, {version}, {env} and {step} are filled in. Default: no link."`
}

// Check reports what is wrong with the section as a whole.
func (g *GitHub) Check() error {
	var problems []error
	add := func(field, format string, args ...any) {
		problems = append(problems, config.FieldError(field, fmt.Errorf(format, args...)))
	}
	if g.Token.Reveal() != "" && g.App != nil {
		add("app", "cannot stand beside a token: use one of them")
	}
	if strings.ContainsAny(g.Token.Reveal(), " \t\r\n") {
		add("token", "contains white space; is there a line break at the end of its file?")
	}
	if g.App != nil && g.App.ID <= 0 {
		add("app.id", "is %d, expected the number that the App's settings show as App ID", g.App.ID)
	}
	if g.App != nil && g.App.PrivateKey.Reveal() != "" { // missing is reported for being required
		if err := github.CheckPrivateKey([]byte(g.App.PrivateKey.Reveal())); err != nil {
			add("app.private_key", "%w", err)
		}
	}
	for i, secret := range g.WebhookSecrets {
		field, text := fmt.Sprintf("webhook_secrets[%d]", i), secret.Reveal()
		if text == "" {
			add(field, "is empty: anybody could sign with it")
		}
		if strings.TrimSpace(text) != text {
			add(field, "begins or ends with white space; is there a line break at its end?")
		}
	}
	if err := checkHTTP(g.API, "https://ghe.example.org/api/v3/"); err != nil {
		add("api", "%w", err)
	}
	if proxy, err := url.Parse(g.Proxy.Reveal()); g.Proxy.Reveal() != "" && (err != nil || proxy.Host == "") {
		add("proxy", "is not an address, expected one such as http://proxy.example.org:3128") // the cause could repeat a password
	}
	for i, host := range g.ArchiveHosts {
		if !hostName.MatchString(host) {
			add(fmt.Sprintf("archive_hosts[%d]", i), "%q is not a host, expected a name such as codeload.example.org", host)
		}
	}
	if g.Report.Link != "" {
		if err := checkHTTP(placeholder.ReplaceAllString(g.Report.Link, "x"), "https://logs.example.org/?app={app}&version={version}"); err != nil {
			add("report.link", "%w", err)
		}
		if left := placeholder.FindAllString(g.Report.Link, -1); !known(left) {
			add("report.link", "has %s, expected {app}, {version}, {env} and {step} only", strings.Join(left, ", "))
		}
	}
	return errors.Join(problems...)
}

var (
	hostName    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?$`)
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
)

func known(placeholders []string) bool {
	for _, p := range placeholders {
		switch p {
		case "{app}", "{version}", "{env}", "{step}":
		default:
			return false
		}
	}
	return true
}

// checkHTTP says what is wrong with an address that may be left out, and gives an example of a good one.
func checkHTTP(address, example string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("is not an address, expected one such as %s", example)
	case u.User != nil:
		return errors.New("has credentials in it, which belong into a secret")
	}
	return nil
}
