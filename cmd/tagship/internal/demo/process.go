package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/docker/docker/client"
	"github.com/tagship/tagship/cmd/tagship/internal/toolchain"
	"github.com/tagship/tagship/cmd/tagship/internal/up"
)

const toolchainName = "golang:1.26" // as in the sample apps' recipes

// process is "tagship up", running beside the demonstration.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
	err     error // how it ended; valid once ended is closed
}

// start writes the configuration and starts "tagship up" on it.
func (d *demo) start(ctx context.Context) (*process, error) {
	registry, err := freeAddress()
	if err != nil {
		return nil, err
	}
	d.docker = engineAnswers(ctx)
	config := filepath.Join(d.dir, "tagship.yaml")
	mirrored := ""
	if d.docker {
		d.say("a Docker engine answers: apps are built and run in containers")
		if mirrored, err = d.findToolchain(ctx, registry); err != nil {
			return nil, err
		}
	} else {
		d.say("no Docker engine answers: apps are built and run as processes of this machine")
	}
	if err := os.WriteFile(config, d.configuration(registry, mirrored), 0o644); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	p, err := d.launch(config)
	if err != nil {
		return nil, err
	}
	if err := d.waitUntilUp(ctx, p); err != nil {
		p.stop()
		return nil, err
	}
	if mirrored != "" {
		d.say("pushing a toolchain image made from this machine's Go tree, for %s cannot be pulled here", toolchainName)
		if err := toolchain.Push(ctx, mirrored); err != nil {
			p.stop()
			return nil, err
		}
	}
	return p, nil
}

func (d *demo) configuration(registry, mirrored string) []byte {
	toolchains := ""
	if mirrored != "" {
		toolchains = fmt.Sprintf("\n  toolchains: {%q: %q}", toolchainName, mirrored)
	}
	return fmt.Appendf(nil, `# Made by "tagship demo". Port 0 means any free one.
nats: {url: "nats://127.0.0.1:0"}
tagwatch:
  interval: 1s
  apps:
    web:   {repo: %q, tags: "v*"}
    agent: {repo: %q, tags: "v*"}
builder:
  registry: %q%s
releaser:
  environments:
    dev:  {promote: {from: build}}
    prod: {}                          # no promote: only by request
cdnpush:
  channels:
    beta: {promote: {from: build}}
`, d.web.dir, d.agent.dir, registry, toolchains)
}

func (d *demo) launch(config string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	// Not tied to ctx: it is to be stopped gently, by stop.
	p := &process{
		command: exec.Command(self, "up", "--config", config, "--data", d.data(), "--listen", "127.0.0.1:0"),
		ended:   make(chan struct{}),
	}
	read, write := io.Pipe()
	p.command.Stdout, p.command.Stderr = write, write
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches it through stop
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start tagship up: %w", err)
	}
	var shown sync.WaitGroup
	shown.Go(func() { d.showOutput(read) })
	go func() {
		p.err = p.command.Wait()
		_ = write.Close() // a pipe's writer cannot fail to close
		shown.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (d *demo) data() string { return filepath.Join(d.dir, "data") }

func (d *demo) showOutput(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		d.print("   │ %s\n", lines.Text())
	}
}

// waitUntilUp waits for run.json, which is written when everything answers.
func (d *demo) waitUntilUp(ctx context.Context, p *process) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ended:
			return fmt.Errorf("tagship up ended: %w", p.err)
		case <-tick.C:
		}
		if run, err := up.ReadRunFile(d.data()); err == nil {
			d.addresses = run
			return nil
		}
	}
}

func (p *process) failed() bool {
	select {
	case <-p.ended:
		return p.err != nil
	default:
		return false
	}
}

// stop asks the process to stop, and kills it if it does not.
func (p *process) stop() {
	if err := p.command.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return
	}
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		_ = p.command.Process.Kill() // it may just have ended
		<-p.ended
	}
}

func engineAnswers(ctx context.Context) bool {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return false
	}
	defer engine.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = engine.Ping(ctx)
	return err == nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
