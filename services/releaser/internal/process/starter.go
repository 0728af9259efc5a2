package process

import (
	"errors"
	"os/exec"
	"runtime"
	"sync"
)

// Starter starts processes such that they die with this one. Linux ties that to
// the thread that started a process, so all are started by one thread, which
// lives until Close. Safe for concurrent use.
type Starter struct {
	calls  chan func()
	closed chan struct{}
	once   sync.Once
}

// NewStarter makes a starter.
func NewStarter() *Starter {
	s := &Starter{calls: make(chan func()), closed: make(chan struct{})}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		for {
			select {
			case call := <-s.calls:
				call()
			case <-s.closed:
				return
			}
		}
	}()
	return s
}

// Close ends what was started and still runs.
func (s *Starter) Close() { s.once.Do(func() { close(s.closed) }) }

func (s *Starter) start(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	cmd.SysProcAttr = processAttributes()
	select {
	case s.calls <- func() { started <- cmd.Start() }:
		return <-started
	case <-s.closed:
		return errors.New("no process is started any more")
	}
}
