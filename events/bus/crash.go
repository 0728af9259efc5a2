package bus

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// CrashVariable is the environment variable of a test seam: it names a point at
// which the process kills itself as SIGKILL does, so that a test of the finished
// programs can break them between an effect, its fact and the acknowledgement.
// Unset, as it is outside of tests, it costs a comparison with nil. The points:
//
//	publish.before:<kind>     a fact of that kind is about to be stored
//	publish.after:<kind>      it is stored
//	ack.before:<consumer>     a message of that consumer is about to be acknowledged
//	ack.after:<consumer>      it is
//
// A number at the end, as in publish.after:build.done:2, means the second time
// that the point is reached.
const CrashVariable = "TAGSHIP_CRASH"

// crash is where the process is to kill itself; nil for nowhere.
type crash struct {
	point string
	left  atomic.Int64
}

func newCrash(point string) (*crash, error) {
	if point == "" {
		return nil, nil
	}
	c, times := &crash{point: point}, 1
	if at := strings.LastIndexByte(point, ':'); strings.Count(point, ":") == 2 {
		n, err := strconv.Atoi(point[at+1:])
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s=%s: %q is not a number above 0", CrashVariable, point, point[at+1:])
		}
		c.point, times = point[:at], n
	}
	when, of, _ := strings.Cut(c.point, ":")
	switch when {
	case "publish.before", "publish.after", "ack.before", "ack.after":
	default:
		of = ""
	}
	if of == "" {
		return nil, fmt.Errorf("%s=%s is no point to crash at", CrashVariable, point)
	}
	c.left.Store(int64(times))
	return c, nil
}

// at kills the process if this is the point, and never returns then.
func (c *crash) at(when, of string) {
	if c == nil || c.point != when+":"+of || c.left.Add(-1) != 0 {
		return
	}
	// A process can always signal itself.
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
