package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

func logsCommand(c Console) *cobra.Command {
	var conn connection
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs APP@VERSION",
		Short: "Print the output of a version's steps",
		Long: `Print the output of a version's steps, oldest first. A line with the name of
the service stands before its output. Output is kept for two weeks, unless the
configuration says otherwise.`,
		Example: "  tagship logs web@v1.2.3 -f",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			app, version, err := parseVersion(args[0])
			if err != nil {
				return err
			}
			b, err := conn.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer b.Close()
			return printLogs(cmd.Context(), c, b, app, version, follow)
		},
	}
	conn.register(cmd.Flags(), "")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes, until interrupted")
	return cmd
}

func printLogs(ctx context.Context, c Console, b *bus.Bus, app, version string, follow bool) error {
	if follow {
		known, err := isKnown(ctx, b, app, version)
		if err != nil {
			return err
		}
		if !known {
			fmt.Fprintf(c.Err, "tagship: %s@%s is not known yet; waiting for its output\n", app, version)
		}
	}
	p := painterFor(c.Out)
	service, lineEnded := "", true
	for chunk, err := range b.Output(ctx, app, version, follow) {
		if err != nil {
			return err
		}
		if chunk.Service != service {
			if !lineEnded {
				fmt.Fprintln(c.Out)
			}
			service = chunk.Service
			fmt.Fprintln(c.Out, p.paint(faint, fmt.Sprintf("== %s, %s", service, chunk.Time.In(c.Now().Location()).Format("2006-01-02 15:04:05"))))
		}
		if _, err := c.Out.Write(chunk.Data); err != nil {
			return fmt.Errorf("print output: %w", err)
		}
		lineEnded = len(chunk.Data) > 0 && chunk.Data[len(chunk.Data)-1] == '\n'
	}
	if !lineEnded {
		fmt.Fprintln(c.Out)
	}
	if service != "" || follow {
		return nil
	}
	known, err := isKnown(ctx, b, app, version)
	switch {
	case err != nil:
		return err
	case !known:
		return refusedf("no version %s@%s is known: see 'tagship status %s' for what is, or look for new tags with 'tagship tag %s'", app, version, app, app)
	}
	fmt.Fprintf(c.Err, "tagship: no output of %s@%s: none of its steps has run yet, or it is older than what is kept\n", app, version)
	return nil
}

// isKnown reports whether anything is recorded about a version.
func isKnown(ctx context.Context, b *bus.Bus, app, version string) (bool, error) {
	for _, filter := range []string{"tag.*.", "build.*."} {
		_, err := b.Last(ctx, filter+token(app)+"."+token(version))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, events.ErrNotRecorded) {
			return false, err
		}
	}
	return false, nil
}
