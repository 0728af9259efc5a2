package build

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
)

const (
	minSecret = 6        // shorter values, such as "off" or "true", are no secrets
	maxLine   = 16 << 10 // a longer line is passed on in parts
	tailLines = 20
	tailBytes = 4 << 10
)

// output passes a build's output on, line by line, with secrets struck out, and
// remembers its end. Its sink may fail: the build goes on, and Close tells.
type output struct {
	mu      sync.Mutex
	sink    io.WriteCloser
	sinkErr error
	secrets *strings.Replacer
	longest int // bytes of the longest secret
	pending []byte
	tail    []byte
}

func newOutput(sink io.WriteCloser, secrets []string) *output {
	o := &output{sink: sink}
	var lines []string
	for _, secret := range secrets {
		lines = slices.AppendSeq(lines, strings.Lines(secret))
	}
	// Longest first, lest a secret that begins like another leaves its rest.
	slices.SortFunc(lines, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, line := range lines {
		if line = strings.TrimSpace(line); len(line) >= minSecret {
			pairs = append(pairs, line, "***")
			o.longest = max(o.longest, len(line))
		}
	}
	o.secrets = strings.NewReplacer(pairs...)
	return o
}

// Write takes a piece of output. It never fails and may be called by several goroutines.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = append(o.pending, p...)
	if end := bytes.LastIndexByte(o.pending, '\n') + 1; end > 0 {
		o.pass(end)
	}
	if len(o.pending) > maxLine+o.longest {
		// After this only the last bytes can be the beginning of a secret.
		o.pending = []byte(o.secrets.Replace(string(o.pending)))
		o.pass(max(0, len(o.pending)-o.longest))
	}
	return len(p), nil
}

func (o *output) pass(n int) {
	text := []byte(o.secrets.Replace(string(o.pending[:n])))
	o.pending = append(o.pending[:0], o.pending[n:]...)
	o.tail = append(o.tail, text...)
	if len(o.tail) > 2*tailBytes {
		o.tail = append(o.tail[:0], o.tail[len(o.tail)-tailBytes:]...)
	}
	if o.sinkErr == nil {
		_, o.sinkErr = o.sink.Write(text)
	}
}

// Tail is the end of the output, to go after a reason; empty if there was no output.
func (o *output) Tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := string(o.tail) + o.secrets.Replace(string(o.pending))
	text = strings.TrimSpace(strings.ToValidUTF8(text[max(0, len(text)-tailBytes):], ""))
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return "; the last output was:\n" + strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// Close passes on what is left and returns the first error of the sink.
func (o *output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) > 0 {
		o.pass(len(o.pending))
	}
	closeErr := o.sink.Close()
	if o.sinkErr != nil {
		return o.sinkErr
	}
	return closeErr
}
