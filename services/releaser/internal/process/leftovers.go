package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/tagship/tagship/events"
)

// pidFile says which process runs an instance, so that a successor of a killed
// releaser finds it.
type pidFile struct {
	Pid     int    `json:"pid"`
	Started string `json:"started"`
	Release string `json:"release"`
}

func (f pidFile) mark() string { return "TAGSHIP_RELEASE=" + f.Release }

// writePidFile returns how to remove it again.
func writePidFile(dir, release string, pid int) (remove func() error, err error) {
	started, err := startTime(pid)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(pidFile{Pid: pid, Started: started, Release: release})
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, fmt.Sprintf("%s-%d.json", events.Escape(release), pid))
	if err := os.WriteFile(name, text, 0o644); err != nil {
		return nil, err
	}
	return func() error { return os.Remove(name) }, nil
}

const (
	leftoverGrace = 3 * time.Second
	leftoverPoll  = 20 * time.Millisecond
)

// stopLeftovers stops the processes of a predecessor that was killed.
func stopLeftovers(dir string, log *zap.Logger) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return fmt.Errorf("find leftover processes: %w", err)
	}
	var problems []error
	for _, name := range names {
		if err := stopLeftover(name, log); err != nil {
			problems = append(problems, fmt.Errorf("stop leftover process of %s: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

func stopLeftover(name string, log *zap.Logger) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var f pidFile
	if err := json.Unmarshal(text, &f); err != nil || f.Pid <= 1 {
		// Its writer was killed while writing, just after the start; by the
		// kernel's hand the process died with it.
		log.Warn("a process file is not readable and is removed", zap.String("file", name), zap.Error(err))
		return os.Remove(name)
	}
	for deadline := time.Now().Add(leftoverGrace); f.signal(syscall.SIGTERM); <-time.After(leftoverPoll) {
		if time.Now().After(deadline) {
			f.signal(syscall.SIGKILL)
			break
		}
	}
	log.Info("a leftover of a killed releaser is gone", zap.String("release", f.Release), zap.Int("pid", f.Pid))
	return os.Remove(name)
}

// signal reaches what is left of the process's group, and reports whether anything was.
func (f pidFile) signal(s syscall.Signal) bool {
	if started, err := startTime(f.Pid); err == nil && started == f.Started {
		return syscall.Kill(-f.Pid, s) == nil
	}
	left := false
	for _, pid := range orphans(f.Pid, f.mark()) {
		left = syscall.Kill(pid, s) == nil || left
	}
	return left
}
