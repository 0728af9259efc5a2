package tagwatch

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/services/tagwatch/internal/git"
	"github.com/tagship/tagship/services/tagwatch/internal/github"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// hosts are where repositories are.
type hosts struct {
	git  *git.Host
	hubs map[string]*github.Host // by host
}

func openHosts(cfg Config, rt daemon.Runtime) (*hosts, error) {
	program, err := git.FindProgram()
	if err != nil {
		return nil, err
	}
	h := &hosts{hubs: map[string]*github.Host{}}
	h.git, err = git.Open(git.Settings{
		Program:          program,
		DataDir:          filepath.Join(rt.DataDir, "git"),
		Timeout:          time.Duration(cfg.Timeout),
		Parallel:         cfg.Parallel,
		MaxArchive:       cfg.MaxSource,
		SSHKey:           cfg.Git.SSHKey,
		KnownHosts:       cfg.Git.KnownHosts,
		CredentialHelper: cfg.Git.CredentialHelper,
	}, rt.Log)
	if err != nil {
		return nil, err
	}
	for name, hub := range cfg.hubs() {
		if h.hubs[name], err = openHub(name, hub, cfg, rt); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return h, nil
}

func openHub(name string, hub GitHub, cfg Config, rt daemon.Runtime) (*github.Host, error) {
	settings := github.Settings{
		Name:         name,
		API:          hub.API,
		Token:        hub.Token.Reveal(),
		CA:           hub.CA,
		Proxy:        hub.Proxy.Reveal(),
		List:         hub.List,
		ArchiveHosts: hub.ArchiveHosts,
		Spool:        filepath.Join(rt.DataDir, "github", strings.ReplaceAll(name, ":", "_")),
		MaxArchive:   cfg.MaxSource,
		Timeout:      time.Duration(cfg.Timeout),
		UserAgent:    "tagship/" + daemon.Version(),
	}
	if hub.App != nil {
		settings.App = &github.App{ID: hub.App.ID, PrivateKey: []byte(hub.App.PrivateKey.Reveal())}
	}
	return github.Open(settings, rt.Log)
}

// watched finds out what to watch for an app: a repository, or an owner's.
func (h *hosts) watched(cfg Config, name string, app App, into *watch.Options) error {
	address, err := git.ParseAddress(app.Repo)
	if err != nil {
		return fmt.Errorf("repo %w", err)
	}
	choice, err := app.choice()
	if err != nil {
		return err
	}
	host, repo := cfg.hubOf(app, address)
	if owner, all := strings.CutSuffix(repo, "/*"); all && host != "" {
		into.Groups = append(into.Groups, watch.Group{
			Name: name, Host: h.hubs[host], Owner: owner, Choice: choice,
			Backfill: watch.Backfill(app.Backfill), RequireSigned: app.RequireSigned,
		})
		return nil
	}
	watched := watch.App{Name: name, Choice: choice, Backfill: watch.Backfill(app.Backfill), RequireSigned: app.RequireSigned}
	if host != "" {
		watched.Host, watched.Repo = h.hubs[host], watch.Repo{Name: repo, ID: app.id()}
	} else {
		if address, err = address.WithCredentials(app.GitUser, app.GitPassword.Reveal()); err != nil {
			return err
		}
		watched.Host = h.git
		if watched.Repo, err = h.git.Add(address); err != nil {
			return err
		}
	}
	into.Apps = append(into.Apps, watched)
	return nil
}
