package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/daemon/config"
	"go.uber.org/zap"
)

func setupCommand(c Console) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Create or update the streams, buckets and consumers in NATS",
		Long: `Create or update the streams, buckets and consumers in NATS, for all services
that the configuration file configures. It may be run again at any time.

Services do this by themselves, unless nats.setup is false because their users
may not; then run this with a configuration whose section nats names a user who may.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := config.Load(path, c.Getenv)
			if err != nil {
				return describeProblems(c, path, err)
			}
			s, configured, err := readConfigured(file)
			if err != nil {
				return describeProblems(c, path, err)
			}
			return setUp(cmd.Context(), c, s, configured, path)
		},
	}
	cmd.Flags().StringVarP(&path, "config", "f", defaultConfig, "configuration file")
	return cmd
}

func setUp(ctx context.Context, c Console, s *sections, configured map[string]bool, path string) error {
	options, err := s.nats.Options("cli", zap.NewNop())
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	options.Wait = 0
	options.Topology.Fixed = false
	b, where, err := connect(ctx, options, "from "+path)
	if err != nil {
		return err
	}
	defer b.Close()
	consumers := s.consumers(configured)
	if err := b.Ensure(ctx, consumers...); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "NATS at %s has the streams and buckets, with %s each\n", where, count(s.nats.Replicas, "replica"))
	for _, consumer := range consumers {
		fmt.Fprintf(c.Out, "consumer %s of %s\n", consumer.Name, consumer.Stream)
	}
	if len(consumers) == 0 {
		fmt.Fprintf(c.Out, "no consumers: %s configures no service\n", path)
	}
	return nil
}
