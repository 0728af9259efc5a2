package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/tagship/tagship/daemon"
)

// Exit codes beside those of package daemon.
const (
	exitRefused     = 4   // what was asked for was not done, and nothing was touched
	exitTimeout     = 5   // still under way when the time to wait was over
	exitInterrupted = 130 // by SIGINT, as a shell reports it
)

func usagef(format string, args ...any) error {
	return daemon.WithExit(daemon.ExitUsage, fmt.Errorf(format, args...))
}

func refusedf(format string, args ...any) error {
	return daemon.WithExit(exitRefused, fmt.Errorf(format, args...))
}

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit code of a command means",
		Long: `What the exit code of a command means:

  0    done
  1    it was tried and failed; with release --wait: it was rolled back
  2    the command line or the configuration is wrong; nothing was tried
  3    NATS, or something else that is needed, does not answer
  4    refused, or there is no such thing; nothing was touched
  5    still under way when the time given by --timeout was over; it goes on
  130  interrupted; what was asked for goes on`,
	}
}
