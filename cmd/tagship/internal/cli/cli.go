// Package cli is the command line tagship: it asks the pipeline for something,
// and tells people what the record says. It changes nothing by itself.
//
// Each command is built by a function that is given what it needs; package main
// adds those that start processes.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tagship/tagship/daemon"
)

// Console is what a command reads from and writes to.
type Console struct {
	Out, Err io.Writer
	// Getenv looks up an environment variable, as [os.LookupEnv] does.
	Getenv func(name string) (string, bool)
	// Now tells the time, in the time zone that times are shown in.
	Now func() time.Time
}

// Groups of commands in the help.
const (
	groupStart   = "start"
	groupAsk     = "ask"
	groupLook    = "look"
	groupOperate = "operate"
)

// Run executes one command line, without the program's name, and returns the
// exit code. Starters are further commands, those that start processes.
func Run(ctx context.Context, c Console, args []string, starters ...*cobra.Command) int {
	root := newRoot(c, starters)
	begun := false
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true }
	root.SetArgs(append([]string{}, args...)) // nil would mean the process's own arguments
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return daemon.ExitOK
	}
	code := daemon.ExitCode(err)
	switch {
	case !begun:
		code = daemon.ExitUsage
		err = fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))):
		code, err = exitInterrupted, errors.New("interrupted")
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(c.Err, "tagship: %s\n", line)
	}
	return code
}

func newRoot(c Console, starters []*cobra.Command) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "tagship",
		Short: "Push a tag; it ships.",
		Long: `Push a tag; it ships.

Tagship sees a new git tag, compiles it, pushes the image, releases it to each
environment and publishes packages. This command line starts all of it on one
machine, asks for releases, and tells what runs where and why something does not.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	root.SetOut(c.Out)
	root.SetErr(c.Err)
	root.AddGroup(
		&cobra.Group{ID: groupStart, Title: "Start:"},
		&cobra.Group{ID: groupAsk, Title: "Ask for something:"},
		&cobra.Group{ID: groupLook, Title: "See what is going on:"},
		&cobra.Group{ID: groupOperate, Title: "Set up and operate:"},
	)
	add := func(id string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = id
			root.AddCommand(cmd)
		}
	}
	add(groupStart, starters...)
	add(groupAsk, releaseCommand(c), publishCommand(c), buildCommand(c), tagCommand(c))
	add(groupLook, statusCommand(c), historyCommand(c), logsCommand(c), lagCommand(c))
	add(groupOperate, deadCommand(c), checkCommand(c), setupCommand(c), versionCommand(c))
	root.AddCommand(configCommand(c), exitCodesTopic())
	root.SetHelpCommandGroupID(groupOperate)
	root.SetCompletionCommandGroupID(groupOperate)
	return root
}

// group makes a command that only holds others.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		err := fmt.Errorf("unknown command %q", args[0])
		if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
			err = fmt.Errorf("%w, did you mean %s?", err, strings.Join(similar, " or "))
		}
		return err
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

func versionCommand(c Console) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(c.Out, "tagship %s\n", daemon.Version())
			return err
		},
	}
}

// writeJSON prints a value for programs, in a form that people can read too.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("print as JSON: %w", err)
	}
	return nil
}
