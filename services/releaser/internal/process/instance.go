package process

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
)

const (
	firstRestart = 500 * time.Millisecond
	lastRestart  = 30 * time.Second
	// steady is how long a process must run for the next restart to be quick again.
	steady = time.Minute
	// pipeGrace is how long a process that has ended may keep its output open,
	// through a child that lives on.
	pipeGrace = 2 * time.Second
)

// instance is one process of a release. Once kept, it is started again whenever it exits.
type instance struct {
	release string
	command command
	starter *Starter
	pidDir  string
	out     *output
	grace   time.Duration
	started func() // called whenever it has been started, with its port
	log     *zap.Logger

	keep    chan struct{} // closed when it is to be started again
	stop    chan struct{} // closed when it is to end
	ended   chan struct{} // closed when it has ended for good
	keeping sync.Once
	ending  sync.Once

	mu   sync.Mutex
	pid  int    // 0 if it does not run
	port int    // told to it as PORT
	exit string // how it ended the last time
}

func (i *instance) begin() {
	i.keep, i.stop, i.ended = make(chan struct{}), make(chan struct{}), make(chan struct{})
	go i.supervise()
}

func (i *instance) supervise() {
	defer close(i.ended)
	delay := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstRestart), backoff.WithMaxInterval(lastRestart), backoff.WithMaxElapsedTime(0))
	for {
		begun := time.Now()
		how := i.runOnce()
		i.mu.Lock()
		i.pid, i.exit = 0, how
		i.mu.Unlock()
		select {
		case <-i.stop:
			return
		case <-i.keep:
		}
		if i.isEnding() {
			return
		}
		if time.Since(begun) > steady {
			delay.Reset()
		}
		wait := delay.NextBackOff()
		i.log.Warn("process "+how, zap.String("release", i.release), zap.Duration("again_in", wait))
		select {
		case <-i.stop:
			return
		case <-time.After(wait):
		}
	}
}

// A program that was just unpacked may still be open for writing: in a child that
// was forked meanwhile, until it has executed its own program
// (https://go.dev/issue/22315).
const (
	busyPatience = 5 * time.Second
	busyPoll     = 20 * time.Millisecond
)

// launch starts the process.
func (i *instance) launch(port int) (*exec.Cmd, error) {
	for deadline := time.Now().Add(busyPatience); ; <-time.After(busyPoll) {
		cmd := exec.Command(i.command.path)
		cmd.Args, cmd.Dir = i.command.args, i.command.dir
		cmd.Env = append(slices.Clone(i.command.env), "PORT="+strconv.Itoa(port))
		cmd.Stdout, cmd.Stderr = i.out, i.out
		cmd.WaitDelay = pipeGrace
		err := i.starter.start(cmd)
		if !errors.Is(err, syscall.ETXTBSY) || time.Now().After(deadline) {
			return cmd, err
		}
	}
}

// runOnce runs the process and says how it ended.
func (i *instance) runOnce() string {
	port, err := freePort()
	if err != nil {
		return fmt.Sprintf("could not get a port: %s", err)
	}
	cmd, err := i.launch(port)
	if err != nil {
		return fmt.Sprintf("could not be started: %s", err)
	}
	// The process file is written before anybody can rely on the process.
	removePidFile, err := writePidFile(i.pidDir, i.release, cmd.Process.Pid)
	if err != nil {
		i.log.Warn("a process would not be found after a crash", zap.String("release", i.release), zap.Error(err))
	} else {
		defer func() {
			if err := removePidFile(); err != nil {
				i.log.Warn("a process file stays behind", zap.Error(err))
			}
		}()
	}
	i.mu.Lock()
	i.pid, i.port = cmd.Process.Pid, port
	i.mu.Unlock()
	i.started()

	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case err = <-exited:
	case <-i.stop:
		err = i.terminate(cmd.Process.Pid, exited)
	}
	// What the process has started and left behind goes with it.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails if nothing is left
	if err == nil {
		return "exited with status 0"
	}
	return "ended: " + err.Error()
}

// terminate asks the process group to stop and, after the grace, makes it.
func (i *instance) terminate(group int, exited <-chan error) error {
	_ = syscall.Kill(-group, syscall.SIGTERM) // fails if it has just exited
	select {
	case err := <-exited:
		return err
	case <-time.After(i.grace):
		_ = syscall.Kill(-group, syscall.SIGKILL)
		return <-exited
	}
}

// keepRunning has the process started again whenever it exits.
func (i *instance) keepRunning() { i.keeping.Do(func() { close(i.keep) }) }

// end stops the process for good, and returns when it is gone.
func (i *instance) end() {
	i.ending.Do(func() { close(i.stop) })
	<-i.ended
}

func (i *instance) isEnding() bool {
	select {
	case <-i.stop:
		return true
	default:
		return false
	}
}

// look tells the port it was given, whether it runs, and how it ended the last time.
func (i *instance) look() (port int, runs bool, exit string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.port, i.pid != 0, i.exit
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}
