package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// processAttributes puts a process in a group of its own, so that all of it can
// be stopped, and has the kernel kill it when the thread that started it ends.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// startTime tells when a process was started, in a form that can be compared. A
// process id that was given to another process meanwhile has another start time.
func startTime(pid int) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	fields, err := stat(pid)
	if err != nil {
		return "", err
	}
	const starttime = 22 - 3 // the 22nd field, see proc_pid_stat(5)
	return strings.TrimSpace(string(boot)) + " " + fields[starttime], nil
}

// stat is /proc/<pid>/stat from the third field on; the second may hold anything, up to the last ")".
func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	return fields, nil
}

// orphans finds the processes of a group whose first process is gone. Only those
// with the mark in their environment are: the group may be another's by now.
func orphans(group int, mark string) []int {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	const pgrp = 5 - 3 // the 5th field
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		fields, err := stat(pid)
		if err != nil || fields[pgrp] != strconv.Itoa(group) {
			continue
		}
		env, err := os.ReadFile(filepath.Join(entry, "environ"))
		if err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00"+mark+"\x00")) {
			found = append(found, pid)
		}
	}
	return found
}
