package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// conditions are what else the machine was doing.
type conditions struct {
	at         time.Time
	load       string        // of the last minute, as in uptime
	busy, idle time.Duration // of all cores together, since the machine started
}

// readConditions leaves out what the system does not tell.
func readConditions() conditions {
	c := conditions{at: time.Now(), load: "unknown"}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		c.load, _, _ = strings.Cut(string(text), " ")
	}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line)[1:] {
		// user nice system idle iowait irq softirq steal; guest time is in user already
		switch {
		case i == 3 || i == 4:
			c.idle += ticks(field)
		case i < 8:
			c.busy += ticks(field)
		}
	}
	return c
}

// ticks turns a time in /proc into a duration. Linux counts a hundred per
// second wherever Go runs (proc(5), USER_HZ).
func ticks(field string) time.Duration {
	n, err := strconv.ParseInt(field, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n) * 10 * time.Millisecond
}

// cpuOf is the processor time a process has used.
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	return ticks(fields[11]) + ticks(fields[12])
}

// cpuOfSelf is the processor time of this process: the workers'.
func cpuOfSelf() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func conditionsLine(began, ended conditions) string {
	busy := ended.busy - began.busy
	return fmt.Sprintf("%d cores, %s/%s, %s; load %s before and %s after; cores %.0f%% busy during the %.0f s, with whatever else ran",
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), began.load, ended.load,
		100*busy.Seconds()/max(1, (busy+ended.idle-began.idle).Seconds()), ended.at.Sub(began.at).Seconds())
}
