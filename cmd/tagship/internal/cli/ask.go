package cli

import (
	"context"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

// errand is what somebody asks the pipeline for.
type errand struct {
	request *events.Request
	what    string // "release of web@v1.2.3 to prod"
	service string // that takes it up
	filter  string // where its facts are to be seen
}

// askFlags are the flags of every command that asks.
type askFlags struct {
	connection
	wait    bool
	timeout time.Duration
	by      string
}

func (f *askFlags) register(cmd *cobra.Command, c Console) {
	set := cmd.Flags()
	f.connection.register(set, "f")
	set.BoolVar(&f.wait, "wait", false, "wait for the outcome, and tell it by the exit code (see 'tagship help exit-codes')")
	set.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long to wait")
	set.StringVar(&f.by, "by", currentUser(c), "who asks, for the record")
}

func currentUser(c Console) string {
	for _, name := range []string{"USER", "LOGNAME"} {
		if who, ok := c.Getenv(name); ok && who != "" {
			return who
		}
	}
	if account, err := user.Current(); err == nil {
		return account.Username
	}
	return ""
}

// run asks, and waits for the outcome if that is wanted.
func (f *askFlags) run(ctx context.Context, c Console, e errand) error {
	if f.timeout <= 0 {
		return usagef("--timeout is %s, expected a positive duration such as 10m", f.timeout)
	}
	if err := e.request.Validate(); err != nil {
		return usagef("%w", err)
	}
	b, err := f.open(ctx, c)
	if err != nil {
		return err
	}
	defer b.Close()
	stored, err := ask(ctx, b, e)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "asked for the %s (%s)\n", e.what, stored.Cause)
	if !f.wait {
		fmt.Fprintf(c.Out, "follow it with: tagship status %s\n", e.request.App)
		return nil
	}
	w := &waiter{bus: b, console: c, errand: e, request: stored.Cause, timeout: f.timeout, hintAfter: 5 * time.Second}
	return w.wait(ctx)
}

// ask publishes the request.
func ask(ctx context.Context, b *bus.Bus, e errand) (events.Stored, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, fmt.Errorf("no confirmation within 10 s; it may have been stored all the same, see 'tagship status'"))
	defer cancel()
	stored, err := b.Request(ctx, e.request)
	if events.IsPermanent(err) {
		return stored, fmt.Errorf("ask for the %s: %w", e.what, err)
	}
	if err != nil {
		return stored, unavailablef("ask for the %s: %w", e.what, err)
	}
	return stored, nil
}

func releaseCommand(c Console) *cobra.Command {
	var flags askFlags
	cmd := &cobra.Command{
		Use:   "release ENV APP@VERSION",
		Short: "Put a version into an environment",
		Long: `Put a version into an environment.

The version must be built. Any built version can be released, older ones too. It
counts as released once the target itself reports it running and healthy;
otherwise what ran before is brought back.`,
		Example: "  tagship release prod web@v1.2.3 --wait",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPlace(events.ReleaseRequested, args[0]); err != nil {
				return err
			}
			app, version, err := parseVersion(args[1])
			if err != nil {
				return err
			}
			return flags.run(cmd.Context(), c, errand{
				request: events.NewRequest(events.ReleaseRequested, args[0], app, version, flags.by),
				what:    fmt.Sprintf("release of %s@%s to %s", app, version, args[0]),
				service: "releaser",
				filter:  "release.*." + token(args[0]) + "." + token(app),
			})
		},
	}
	flags.register(cmd, c)
	return cmd
}

func publishCommand(c Console) *cobra.Command {
	var flags askFlags
	cmd := &cobra.Command{
		Use:     "publish CHANNEL APP@VERSION",
		Short:   "Publish the packages of a version to a channel",
		Example: "  tagship publish stable agent@v1.4.0 --wait",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPlace(events.CDNRequested, args[0]); err != nil {
				return err
			}
			app, version, err := parseVersion(args[1])
			if err != nil {
				return err
			}
			return flags.run(cmd.Context(), c, errand{
				request: events.NewRequest(events.CDNRequested, args[0], app, version, flags.by),
				what:    fmt.Sprintf("publication of %s@%s to %s", app, version, args[0]),
				service: "cdnpush",
				filter:  "cdn.*." + token(args[0]) + "." + token(app),
			})
		},
	}
	flags.register(cmd, c)
	return cmd
}

func buildCommand(c Console) *cobra.Command {
	var flags askFlags
	cmd := &cobra.Command{
		Use:   "build APP@VERSION",
		Short: "Build a version again whose build failed",
		Long: `Build a version again whose build failed.

New versions are built by themselves. A version that is built stays what it is:
to build other code, push a new tag.`,
		Example: "  tagship build web@v1.2.3 --wait",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			app, version, err := parseVersion(args[0])
			if err != nil {
				return err
			}
			return flags.run(cmd.Context(), c, errand{
				request: events.NewRequest(events.BuildRequested, "", app, version, flags.by),
				what:    fmt.Sprintf("build of %s@%s", app, version),
				service: "builder",
				filter:  "build.*." + token(app) + "." + token(version),
			})
		},
	}
	flags.register(cmd, c)
	return cmd
}

func tagCommand(c Console) *cobra.Command {
	var flags askFlags
	cmd := &cobra.Command{
		Use:   "tag APP[@VERSION]",
		Short: "Look for new tags of an app now",
		Long: `Look for new tags of an app now, rather than at the next look.

With a version, that tag is looked at in any case: one that was there before the
app began to be watched becomes a version, and one that was refused is tried
once more.`,
		Example: "  tagship tag web --wait\n  tagship tag web@v1.2.3 --wait",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			app, version := args[0], ""
			if strings.Contains(app, "@") {
				var err error
				if app, version, err = parseVersion(app); err != nil {
					return err
				}
			} else if err := checkApp(app); err != nil {
				return err
			}
			return flags.run(cmd.Context(), c, errand{
				request: events.NewRequest(events.TagRequested, "", app, version, flags.by),
				what:    "look at the tags of " + about(app, version),
				service: "tagwatch",
				filter:  "tag.>",
			})
		},
	}
	flags.register(cmd, c)
	return cmd
}
