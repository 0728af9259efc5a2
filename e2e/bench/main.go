// Bench measures what Tagship promises of its speed and size, and prints it as
// one table: the worker loop beside the same loop written by hand, the delay
// from publication to handler, many tags at once through every stage, the memory
// and start of the real programs, and what tagwatch makes of a GitHub with ten
// thousand repositories and of many webhooks a second.
//
// It is no test: a busy machine shows in the numbers and fails nothing. It fails
// only where a measurement would be wrong, such as when a fact was lost or
// stated twice.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:forbidigo // main exits
	}
}

// measurement is one part of the table.
type measurement struct {
	name string
	run  func(context.Context, *bench) error
}

func measurements() []measurement {
	return []measurement{
		{"loop", measureLoop},
		{"latency", measureLatency},
		{"tags", measureTags},
		{"programs", measurePrograms},
		{"sweeps", measureSweeps},
		{"webhooks", measureWebhooks},
	}
}

// bench is one run: where its files are, and what it reports.
type bench struct {
	dir    string // removed at the end
	report report
	log    io.Writer // what it is doing
}

// folder makes a fresh folder for one part.
func (b *bench) folder(name string) (string, error) {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	return dir, nil
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	if len(args) > 0 && args[0] == serveNATSCommand {
		return serveNATS(args[1:], stdin, stdout)
	}
	var names []string
	for _, m := range measurements() {
		names = append(names, m.name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", strings.Join(names, ","), "what to measure")
	profile := flags.String("cpuprofile", "", "file for a CPU profile of this process, which is the workers or the simulated GitHub, and not NATS")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if *profile != "" {
		stop, err := startProfile(*profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	dir, err := os.MkdirTemp("", "tagship-bench-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	b := &bench{dir: dir, log: stderr}
	began := readConditions()
	for _, m := range measurements() {
		if !slices.Contains(strings.Split(*only, ","), m.name) {
			continue
		}
		fmt.Fprintf(b.log, "measuring: %s\n", m.name)
		if err := m.run(ctx, b); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
	}
	return b.report.write(stdout, began, readConditions())
}

func startProfile(path string) (stop func() error, err error) {
	file, err := os.Create(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("make the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}
