package process

import (
	"bytes"
	"io"
	"slices"
	"sync"
)

const (
	keptLines = 50
	maxLine   = 4096 // bytes; a longer line is kept in parts
)

// output keeps the last lines that were written, and passes all on. Safe for concurrent use.
type output struct {
	forward io.Writer
	mu      sync.Mutex
	lines   []string
	partial []byte
}

// Write implements io.Writer. It never fails: a program must not stop because
// nobody takes its output.
func (o *output) Write(p []byte) (int, error) {
	_, _ = o.forward.Write(p) // the live output is lossy by design
	o.mu.Lock()
	defer o.mu.Unlock()
	o.partial = append(o.partial, p...)
	for {
		end := bytes.IndexByte(o.partial, '\n')
		next := end + 1
		if end < 0 {
			if len(o.partial) < maxLine {
				return len(p), nil
			}
			end, next = maxLine, maxLine
		}
		o.lines = append(o.lines, string(o.partial[:end]))
		o.lines = o.lines[max(0, len(o.lines)-keptLines):]
		o.partial = o.partial[next:]
	}
}

// tail is the last lines, a begun one too.
func (o *output) tail() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := slices.Clone(o.lines)
	if len(o.partial) > 0 {
		lines = append(lines, string(o.partial))
	}
	return lines
}
