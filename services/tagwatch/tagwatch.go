// Package tagwatch is the service that watches git repositories and says that a
// new version exists.
//
//	consumes  tag.<app>                    look now
//	states    tag.seen.<app>.<version>     once per version; its source is staged
//	          tag.moved.<app>.<version>    the tag names another commit; never built
//	          tag.refused.<app>.<version>  the tag, or the request, cannot become a version
//	          tag.looked.<app>             the answer to a request
//	serves    POST /webhooks/look/<app>    look now, for a git server's hook
//
// Beside requests it looks at every repository at an interval. What it knows of
// tags is in the table "watch"; its data folder holds caches only. Any number of
// replicas may run.
package tagwatch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/services/tagwatch/internal/git"
	"github.com/tagship/tagship/services/tagwatch/internal/recipe"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"golang.org/x/sync/errgroup"
)

// Name is the name of the service, and of its section in tagship.yaml.
const Name = "tagwatch"

// giveUp is how old a request may become while its repository does not answer.
const giveUp = 15 * time.Minute

// Config is the section tagwatch of tagship.yaml.
type Config struct {
	Interval events.Duration `yaml:"interval" default:"30s" doc:"Time between two looks at a repository. One that fails is looked at less and less often, up to every 10 minutes."`
	Timeout  events.Duration `yaml:"timeout" default:"10m" doc:"How long git may take for one step, such as fetching a commit."`
	Parallel int             `yaml:"parallel" default:"4" doc:"How many repositories are looked at at once."`
	Git      Git             `yaml:"git" doc:"How git reaches the repositories."`
	Apps     map[string]App  `yaml:"apps" key:"app" doc:"What to watch, by the name of the app."`
}

// Git is how git reaches the repositories.
type Git struct {
	SSHKey           string `yaml:"ssh_key" doc:"Path of the private key for ssh. Default: what ssh finds by itself."`
	KnownHosts       string `yaml:"known_hosts" doc:"Path of the file with the keys of ssh servers. Default: what ssh finds by itself."`
	CredentialHelper string `yaml:"credential_helper" doc:"Where credentials for https come from, as credential.helper of git-config(1). Default: none."`
	MaxSource        int64  `yaml:"max_source" default:"2147483648" doc:"How many bytes the source of a commit may have when compressed. A larger one is refused."`
}

// App is one app to watch.
type App struct {
	Repo        string        `yaml:"repo" required:"true" doc:"The repository: an absolute path, a URL, git@host:path, or host/path for https."`
	Tags        string        `yaml:"tags" default:"v*" doc:"Which tags are versions of the app; * stands for anything but a slash. The folders it spells out are not part of the version: with web/v* the tag web/v1.2.3 is version v1.2.3."`
	Versions    string        `yaml:"versions" doc:"Which versions count, such as >=1.0.0 or ^2. Tags that are no semantic versions then do not, nor do pre-releases unless one is named."`
	Backfill    bool          `yaml:"backfill" doc:"Release the tags too that were there before the app was first looked at."`
	GitUser     string        `yaml:"git_user" doc:"The user for https. With a token as password, any name will do."`
	GitPassword config.Secret `yaml:"git_password" doc:"The password or token for https. It is sent to the repository's host only."`
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
	add("git.max_source", c.Git.MaxSource < 1, "expected a number of bytes above 0")
	for name, app := range c.Apps {
		problems = append(problems, config.FieldError("apps."+name, events.CheckApp(name)))
		for _, err := range app.problems() {
			problems = append(problems, config.FieldError("apps."+name+"."+err.Field(), err.Unwrap()))
		}
	}
	return errors.Join(problems...)
}

// problems lists what is wrong with the app.
func (a App) problems() []*events.FieldError {
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
		}
	}
	_, err := watch.NewChoice(watch.ChoiceOptions{Tags: a.Tags})
	add("tags", err)
	_, err = watch.NewChoice(watch.ChoiceOptions{Tags: "*", Versions: a.Versions})
	add("versions", err)
	return problems
}

// Status is what people want to know of a watched app; see [StatusKey].
type Status = watch.Status

// StatusPrefix is the first token of the keys in the table [bus.TableWatch] that
// hold a [Status] in JSON.
const StatusPrefix = watch.StatusPrefix

// StatusKey is the key of an app's [Status] in the table [bus.TableWatch].
func StatusKey(app string) string { return watch.StatusKey(app) }

// Consumers are the durable consumers that the service works on.
func Consumers() []bus.Consumer {
	return []bus.Consumer{{Name: Name, Stream: events.StreamTags, Filters: []string{events.TagRequested.All()}}}
}

// Run watches until ctx ends.
func Run(ctx context.Context, cfg Config, rt daemon.Runtime) error {
	watcher, err := newWatcher(cfg, rt)
	if err != nil {
		return err
	}
	worker := requestWorker(watcher, cfg.Parallel)
	// The first look needs the table, which a first start has yet to make.
	if err := rt.Bus.Ensure(ctx, worker.Consumer); err != nil {
		return err
	}
	if err := serveWebhooks(rt, watcher.Watches); err != nil {
		return err
	}
	rt.Ready()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return rt.Bus.Run(ctx, worker) })
	group.Go(func() error { return watcher.Run(ctx) })
	return group.Wait()
}

func requestWorker(w *watch.Watcher, slots int) bus.Worker {
	return bus.Worker{
		Consumer:  Consumers()[0],
		Slots:     slots,
		GiveUp:    giveUp,
		Handle:    bus.Handle(w.Requested),
		Malformed: watch.Malformed,
		GaveUp:    watch.GaveUp,
	}
}

func newWatcher(cfg Config, rt daemon.Runtime) (*watch.Watcher, error) {
	program, err := git.FindProgram()
	if err != nil {
		return nil, err
	}
	host, err := git.Open(git.Settings{
		Program:          program,
		DataDir:          filepath.Join(rt.DataDir, "git"),
		Timeout:          time.Duration(cfg.Timeout),
		Parallel:         cfg.Parallel,
		MaxArchive:       cfg.Git.MaxSource,
		SSHKey:           cfg.Git.SSHKey,
		KnownHosts:       cfg.Git.KnownHosts,
		CredentialHelper: cfg.Git.CredentialHelper,
	}, rt.Log)
	if err != nil {
		return nil, err
	}
	options := watch.Options{
		Interval: time.Duration(cfg.Interval),
		Parallel: cfg.Parallel,
		Record:   rt.Bus,
		Table:    rt.Bus.Table(bus.TableWatch),
		Sources:  rt.Bus,
		Leases:   rt.Bus,
		Recipes:  recipe.Read,
		Log:      rt.Log,
	}
	for name, app := range cfg.Apps {
		watched, err := app.watched(name, host)
		if err != nil {
			return nil, fmt.Errorf("app %s: %w", name, err)
		}
		options.Apps = append(options.Apps, watched)
	}
	return watch.New(options), nil
}

func (a App) watched(name string, host *git.Host) (watch.App, error) {
	address, err := git.ParseAddress(a.Repo)
	if err != nil {
		return watch.App{}, fmt.Errorf("repo %w", err)
	}
	if address, err = address.WithCredentials(a.GitUser, a.GitPassword.Reveal()); err != nil {
		return watch.App{}, err
	}
	repo, err := host.Add(address)
	if err != nil {
		return watch.App{}, err
	}
	choice, err := watch.NewChoice(watch.ChoiceOptions{Tags: a.Tags, Versions: a.Versions})
	if err != nil {
		return watch.App{}, err
	}
	backfill := watch.BackfillNone
	if a.Backfill {
		backfill = watch.BackfillAll
	}
	return watch.App{Name: name, Host: host, Repo: repo, Choice: choice, Backfill: backfill}, nil
}
