package host

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// KillLeftovers ends every process of builds in a folder that a killed builder left.
func KillLeftovers(folder string) {
	if path, err := filepath.Abs(folder); err == nil {
		killMarked(path)
	}
}

// killMarked ends every process of a build in dir or below: those a command left behind,
// those that a cancelled command had put out of its process group, and those of
// a builder that was killed. It finds them by their environment, which needs
// /proc; elsewhere only the process group of a cancelled command ends.
func killMarked(dir string) {
	mark := []byte(treeVariable + "=" + dir)
	for range 100 { // a process may fork while it is found
		if killOnce(mark) == 0 {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}

func killOnce(mark []byte) (alive int) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return 0 // the pattern is well-formed
	}
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile, or another user's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		for variable := range bytes.SplitSeq(environ, []byte{0}) {
			below, marked := bytes.CutPrefix(variable, mark)
			if marked && (len(below) == 0 || below[0] == '/') && syscall.Kill(pid, syscall.SIGKILL) == nil {
				alive++
			}
		}
	}
	return alive
}
