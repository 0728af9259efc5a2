// Package up runs all of Tagship in one process: NATS with its TCP port open, a
// registry, the four services, and the folders of the CDN. The services are the
// same that run by themselves in a cluster.
package up

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"github.com/tagship/tagship/cmd/tagship/internal/registry"
	"github.com/tagship/tagship/daemon"
	"go.uber.org/zap"
)

// Command is "tagship up".
func Command() *cobra.Command {
	var flags daemon.Flags
	command := &cobra.Command{
		Use:   "up",
		Short: "Run everything in this process: NATS, a registry and the four services",
		Long: "Runs NATS, a registry, the four services and the CDN folders in one process, and\n" +
			"prints a line per step of each version. All data is in one folder.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return Run(cmd.Context(), flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.Register(command.Flags(), daemon.Flags{Config: "tagship.yaml", Data: ".tagship", Listen: "127.0.0.1:0", LogLevel: "warn", LogFormat: "console"})
	return command
}

// Run runs until ctx ends.
func Run(ctx context.Context, flags daemon.Flags, stdout, stderr io.Writer) error {
	began := time.Now()
	config, err := readConfig(flags.Config)
	if err != nil {
		return err
	}
	log, err := daemon.NewLogger(flags.LogLevel, flags.LogFormat, stderr)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	data, err := filepath.Abs(flags.Data)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, fmt.Errorf("folder --data: %w", err))
	}
	unlock, err := lockData(data)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	defer unlock()

	p := &process{config: config, flags: flags, data: data, log: log, out: stdout, began: began}
	defer p.close()
	if err := p.open(ctx); err != nil {
		return err
	}
	return p.serve(ctx)
}

// process is everything that runs, and closes it in the opposite order.
type process struct {
	config sections
	flags  daemon.Flags
	data   string
	log    *zap.Logger
	out    io.Writer
	began  time.Time

	nats     *server.Server
	registry string
	metrics  *prometheus.Registry
	listener *daemon.Listener
	run      *runFile
	cdn      string // where packages are served, if anywhere

	mu      sync.Mutex
	closers []func()
}

func (p *process) close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		p.closers[i]()
	}
}

// servesChannel is told where a channel is served. The folder that all channels
// without one of their own share is above it.
func (p *process) servesChannel(channel, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cdn = strings.TrimSuffix(address, channel+"/")
}

func (p *process) closeLater(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closers = append(p.closers, f)
}

// open starts what the services need, in the order they need it.
func (p *process) open(ctx context.Context) error {
	chosen, err := loadPorts(p.data)
	if err != nil {
		return err
	}
	if err := p.openNATS(chosen); err != nil {
		return err
	}
	if err := p.openRegistry(ctx, chosen); err != nil {
		return err
	}
	p.metrics = prometheus.NewRegistry()
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	address, err := chosen.settle("listener", p.flags.Listen)
	if err != nil {
		return err
	}
	if p.listener, err = daemon.Listen(address, p.metrics, p.log); err != nil {
		return err
	}
	p.closeLater(p.listener.Close)
	return p.fillIn(chosen)
}

// fillIn completes the sections with what only this process knows.
func (p *process) fillIn(chosen *ports) error {
	p.config.builder.Registry = p.registry
	p.config.releaser.StopOnExit = true
	address, err := chosen.settle("cdn", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.config.cdnpush.FillIn(filepath.Join(p.data, "cdn"), address)
	p.config.cdnpush.Serving = p.servesChannel
	return nil
}

func (p *process) openNATS(chosen *ports) error {
	address, err := p.config.natsAddress()
	if err != nil {
		return err
	}
	if address, err = chosen.settle("nats", address); err != nil {
		return err
	}
	p.nats, err = startNATS(filepath.Join(p.data, "nats"), address, p.log.Named("nats"))
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	p.closeLater(func() {
		p.nats.Shutdown()
		p.nats.WaitForShutdown()
	})
	return nil
}

// openRegistry runs the embedded registry, unless builder.registry names another.
func (p *process) openRegistry(ctx context.Context, chosen *ports) error {
	address := p.config.builder.Registry
	if !loopback(address) {
		p.registry = address
		return nil
	}
	address, err := chosen.settle("registry", address)
	if err != nil {
		return err
	}
	embedded, err := registry.Start(ctx, filepath.Join(p.data, "registry"), address, p.log.Named("registry"))
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, fmt.Errorf("%w; stop the other program, or set builder.registry in tagship.yaml", err))
	}
	p.closeLater(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := embedded.Close(ctx); err != nil {
			p.log.Debug("registry closed with answers in work", zap.Error(err))
		}
	})
	p.registry = embedded.Addr()
	return nil
}
