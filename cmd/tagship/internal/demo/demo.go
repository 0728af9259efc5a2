// Package demo shows Tagship's main job on two small apps that it makes itself:
// a tag is pushed, and with nobody touching anything the app is compiled, runs
// in dev, and its package can be downloaded; then a second version replaces the
// first without a failed request, and a plain NATS message brings one to prod.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/tagship/tagship/cmd/tagship/internal/up"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"go.uber.org/zap"
)

// Command is "tagship demo".
func Command() *cobra.Command {
	var dir string
	var stay string
	command := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on two small apps, made for it",
		Long: "Makes two git repositories, starts 'tagship up' on them, and pushes tags.\n" +
			"Needs git and Go; uses Docker where an engine answers.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			wait := stay == "yes" || stay == "auto" && daemon.IsTerminal(os.Stdin) && daemon.IsTerminal(os.Stdout)
			d := &demo{out: cmd.OutOrStdout(), colour: daemon.IsTerminal(os.Stdout), dir: dir, stay: wait, keep: dir != ""}
			return d.run(cmd.Context())
		},
	}
	command.Flags().StringVar(&dir, "dir", "", "folder to work in, kept afterwards (default: a temporary one, removed afterwards)")
	command.Flags().StringVar(&stay, "stay", "auto", "stay up until Ctrl-C: yes, no, or auto for yes on a terminal")
	return command
}

// limit is how long each step may take: a first build compiles the standard library.
const limit = 10 * time.Minute

type demo struct {
	out    io.Writer
	colour bool
	dir    string
	stay   bool
	keep   bool // the folder, and what is in Docker

	docker     bool
	web, agent *repository
	bus        *bus.Bus
	addresses  up.RunFile
	steps      int
}

func (d *demo) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	remove, err := d.workIn()
	if err != nil {
		return err
	}
	defer remove()

	d.title("Two git repositories: web, a Go web server, and agent, a Go program with packages")
	if err := d.makeRepositories(ctx); err != nil {
		return err
	}
	d.title("tagship up: NATS, a registry and the four services, in one process")
	process, err := d.start(ctx)
	if err != nil {
		return err
	}
	defer d.end(process)
	go func() {
		<-process.ended
		stop() // whoever waits for something waits in vain
	}()
	err = d.show(ctx)
	switch {
	case err == nil && d.stay:
		d.say("Everything stays up until Ctrl-C.")
		<-ctx.Done()
		return nil
	case err != nil && process.failed():
		return fmt.Errorf("tagship up ended: %w", process.err)
	}
	return err
}

// end stops everything, and leaves the machine as it was.
func (d *demo) end(p *process) {
	d.say("Stopping.")
	p.stop()
	if !d.docker || d.keep {
		return
	}
	if err := tidy(d.addresses.Registry); err != nil {
		d.say("left in Docker: %v", err)
	}
}

// show is the demonstration itself.
func (d *demo) show(ctx context.Context) error {
	if err := d.connect(ctx); err != nil {
		return err
	}
	defer d.bus.Close()
	if err := d.baseline(ctx); err != nil {
		return err
	}
	d.title("git tag v1.0.0, in both repositories")
	if err := errors.Join(d.web.tag(ctx, "v1.0.0"), d.agent.tag(ctx, "v1.0.0")); err != nil {
		return err
	}
	dev, err := d.released(ctx, "dev", "v1.0.0")
	if err != nil {
		return err
	}
	if err := d.answers(ctx, dev, "web v1.0.0"); err != nil {
		return err
	}
	if err := d.downloaded(ctx); err != nil {
		return err
	}

	d.title("git tag v1.1.0, while requests keep coming")
	load := startLoad(ctx, dev.Address)
	err = errors.Join(d.web.commit(ctx, "The second version"), d.web.tag(ctx, "v1.1.0"))
	if err != nil {
		return err
	}
	second, err := d.released(ctx, "dev", "v1.1.0")
	if err != nil {
		return err
	}
	if err := d.answers(ctx, second, "web v1.1.0"); err != nil {
		return err
	}
	if err := load.report(d.say); err != nil {
		return err
	}

	d.title("nats pub release.prod web@v1.0.0")
	if err := d.publish("release.prod", "web@v1.0.0"); err != nil {
		return err
	}
	prod, err := d.released(ctx, "prod", "v1.0.0")
	if err != nil {
		return err
	}
	if err := d.answers(ctx, prod, "web v1.0.0"); err != nil {
		return err
	}
	if prod.Digest != dev.Digest {
		return fmt.Errorf("prod runs image %s, but dev was given %s", prod.Digest, dev.Digest)
	}
	d.say("prod runs the very image that was built for dev: %s", prod.Digest)
	d.summary(second, prod)
	return nil
}

func (d *demo) workIn() (remove func(), err error) {
	if d.dir != "" {
		if d.dir, err = filepath.Abs(d.dir); err != nil {
			return nil, fmt.Errorf("folder --dir: %w", err)
		}
		entries, err := os.ReadDir(d.dir)
		if err == nil && len(entries) > 0 {
			return nil, daemon.WithExit(daemon.ExitUsage, fmt.Errorf("folder %s is not empty, give --dir a new one", d.dir))
		}
		return func() {}, os.MkdirAll(d.dir, 0o750)
	}
	if d.dir, err = os.MkdirTemp("", "tagship-demo-"); err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	return func() {
		if err := os.RemoveAll(d.dir); err != nil {
			d.say("could not remove %s: %v", d.dir, err)
		}
	}, nil
}

func (d *demo) makeRepositories(ctx context.Context) (err error) {
	if d.web, err = newRepository(ctx, filepath.Join(d.dir, "web"), "web"); err != nil {
		return err
	}
	if d.agent, err = newRepository(ctx, filepath.Join(d.dir, "agent"), "agent"); err != nil {
		return err
	}
	d.say("in %s", d.dir)
	return nil
}

func (d *demo) connect(ctx context.Context) (err error) {
	d.bus, err = bus.Connect(ctx, bus.Options{Service: "demo", Version: daemon.Version(), URL: d.addresses.NATS, Log: zap.NewNop()})
	return err
}

// baseline makes sure that the repositories were looked at before they have
// tags: tags that were there at the first look are not released.
func (d *demo) baseline(ctx context.Context) error {
	for _, app := range []string{"web", "agent"} {
		if _, err := d.bus.Request(ctx, events.NewRequest(events.TagRequested, "", app, "", "demo")); err != nil {
			return err
		}
		if _, err := d.await(ctx, "tag.looked."+app, ""); err != nil {
			return err
		}
	}
	return nil
}

// publish does what "nats pub" does, and no more.
func (d *demo) publish(subject, body string) error {
	connection, err := nats.Connect(d.addresses.NATS)
	if err != nil {
		return fmt.Errorf("connect to NATS as anybody would: %w", err)
	}
	defer connection.Close()
	if err := errors.Join(connection.Publish(subject, []byte(body)), connection.Flush()); err != nil {
		return fmt.Errorf("publish %s on %s: %w", body, subject, err)
	}
	return nil
}

func (d *demo) released(ctx context.Context, env, version string) (*events.ReleaseDone, error) {
	fact, err := d.await(ctx, "release.done."+env+".web", version)
	if err != nil {
		return nil, err
	}
	done, ok := fact.(*events.ReleaseDone)
	if !ok {
		return nil, fmt.Errorf("web@%s was not released to %s: %s", version, env, fact.Subject())
	}
	return done, nil
}

func (d *demo) title(text string) {
	d.steps++
	text = fmt.Sprintf("%d. %s", d.steps, text)
	if d.colour {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	d.print("\n%s\n", text)
}

func (d *demo) say(format string, args ...any) { d.print("   "+format+"\n", args...) }

func (d *demo) print(format string, args ...any) {
	// Where the output goes to is gone, so is whoever could be told.
	_, _ = fmt.Fprintf(d.out, format, args...)
}

func (d *demo) summary(dev, prod *events.ReleaseDone) {
	with := "a process on this machine (no Docker engine answers)"
	if d.docker {
		with = "Docker"
	}
	d.print("\nDone. Built and run by %s.\n\n", with)
	d.say("dev       %s  web %s", dev.Address, dev.Version)
	d.say("prod      %s  web %s", prod.Address, prod.Version)
	d.say("packages  %s", d.addresses.CDN)
	d.say("registry  %s", d.addresses.Registry)
	d.say("NATS      %s", d.addresses.NATS)
	d.print("\n")
}
