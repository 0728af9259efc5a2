// Package daemon is what every service's process is made of: the configuration
// file, the logger, the connection to NATS, the listener for metrics and health,
// and signals. A service brings its section and its Run:
//
//	func main() { os.Exit(daemon.Main(builder.Name, builder.Run)) }
//
// `tagship up` runs the same Run of every service in one process, giving each a
// [Runtime] of its own.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/pflag"
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events/bus"
	"go.uber.org/zap"
)

// Runtime is what a service is given by its process.
type Runtime struct {
	Bus *bus.Bus
	Log *zap.Logger
	// Metrics is where the service registers metrics of its own.
	Metrics prometheus.Registerer
	// Mux takes routes on the service's listener, beside /metrics, /healthz and /readyz.
	Mux *http.ServeMux
	// DataDir is a local folder of the service's own. It may be lost with the
	// machine; nothing in it is the only copy.
	DataDir string
	// Ready is to be called once, when the service does its work.
	Ready func()
}

// Exit codes of every Tagship program.
const (
	ExitOK          = 0
	ExitFailure     = 1 // it was tried and failed
	ExitUsage       = 2 // the command line or the configuration is wrong; nothing was tried
	ExitUnavailable = 3 // NATS, or something else that is needed, does not answer
)

// Flags are the flags that every service and `tagship up` have.
type Flags struct {
	Config    string
	Data      string
	Listen    string
	LogLevel  string
	LogFormat string
}

// Register adds the flags to a set, with the given defaults.
func (f *Flags) Register(set *pflag.FlagSet, defaults Flags) {
	set.StringVarP(&f.Config, "config", "f", defaults.Config, "configuration file")
	set.StringVar(&f.Data, "data", defaults.Data, "folder for local data")
	set.StringVar(&f.Listen, "listen", defaults.Listen, "address for /metrics, /healthz, /readyz and webhooks")
	set.StringVar(&f.LogLevel, "log-level", defaults.LogLevel, "what to log: debug, info, warn or error")
	set.StringVar(&f.LogFormat, "log-format", defaults.LogFormat, "how to log: json, console, or auto for console on a terminal")
}

// Main is the whole of a service's program: it reads the flags and the section
// called name, connects, and calls run until SIGINT or SIGTERM. A second signal
// ends the process at once. It returns the exit code.
func Main[C any](name string, run func(context.Context, C, Runtime) error) int {
	return runService(context.Background(), name, run, os.Args[1:], os.Stdout, os.Stderr)
}

func runService[C any](ctx context.Context, name string, run func(context.Context, C, Runtime) error, args []string, stdout, stderr io.Writer) int {
	var flags Flags
	set := pflag.NewFlagSet(name, pflag.ContinueOnError)
	set.SetOutput(stderr)
	flags.Register(set, Flags{
		Config: "tagship.yaml", Data: filepath.Join("/var/lib/tagship", name), Listen: "127.0.0.1:0", LogLevel: "info", LogFormat: "auto",
	})
	version := set.Bool("version", false, "print the version and exit")
	switch err := set.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return ExitOK
	case err != nil:
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return ExitUsage
	case set.NArg() > 0:
		fmt.Fprintf(stderr, "%s: unexpected argument %q, see --help\n", name, set.Arg(0))
		return ExitUsage
	case *version:
		fmt.Fprintf(stdout, "%s %s\n", name, Version())
		return ExitOK
	}
	if err := serve(ctx, name, run, flags, stderr); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return ExitCode(err)
	}
	return ExitOK
}

func serve[C any](ctx context.Context, name string, run func(context.Context, C, Runtime) error, flags Flags, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from here on a second signal kills

	var section C
	nats, err := load(flags.Config, name, &section)
	if err != nil {
		return err
	}
	log, err := NewLogger(flags.LogLevel, flags.LogFormat, stderr)
	if err != nil {
		return usage(err)
	}
	log = log.With(zap.String("service", name))
	defer flush(log)
	if err := os.MkdirAll(flags.Data, 0o750); err != nil {
		return usage(fmt.Errorf("make the data folder (see --data): %w", err))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	listener, err := Listen(flags.Listen, registry, log)
	if err != nil {
		return err
	}
	defer listener.Close()
	options, err := nats.Options(name, log)
	if err != nil {
		return usage(err)
	}
	options.Metrics = registry
	connected, err := bus.Connect(ctx, options)
	if err != nil {
		return unavailable(err)
	}
	defer connected.Close()
	listener.Watch(connected.Connected)
	log.Info("started", zap.String("version", Version()), zap.String("listen", listener.URL()))
	err = run(ctx, section, Runtime{Bus: connected, Log: log, Metrics: registry, Mux: listener.Mux, DataDir: flags.Data, Ready: listener.Ready})
	return unlessStopped(ctx, err)
}

// unlessStopped returns no error if it says only that ctx has ended: whoever is
// told to stop while it still starts does not fail.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

// load reads the sections that a service needs, and reports all problems in them at once.
func load(path, name string, section any) (NATS, error) {
	var nats NATS
	file, err := config.Load(path, os.LookupEnv)
	if err != nil {
		return nats, usage(err)
	}
	if err := config.Join(file.Unknown(Sections()...), file.Section("nats", &nats), file.Section(name, section)); err != nil {
		return nats, usage(err)
	}
	return nats, nil
}

// Sections are the top-level sections of tagship.yaml.
func Sections() []string { return []string{"nats", "tagwatch", "builder", "releaser", "cdnpush"} }

// exitError is an error that knows which exit code it means.
type exitError struct {
	error
	code int
}

func (e *exitError) Unwrap() error { return e.error }

func usage(err error) error       { return &exitError{err, ExitUsage} }
func unavailable(err error) error { return &exitError{err, ExitUnavailable} }

// WithExit marks an error with the exit code that it means.
func WithExit(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{err, code}
}

// ExitCode is the exit code that an error means.
func ExitCode(err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return exit.code
	}
	return ExitFailure
}

// flush writes out what the logger holds. A terminal cannot be synced, and says so.
func flush(log *zap.Logger) {
	if err := log.Sync(); err != nil && !strings.Contains(err.Error(), "sync") {
		fmt.Fprintln(os.Stderr, err)
	}
}
