package eventstest

import (
	"errors"
	"net"
	"regexp"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/tagship/tagship/events/bus"
)

// errCut is what a process sees of a connection that the kit has cut.
var errCut = errors.New("cut off by the test")

// Line is all of a process's connections to NATS. Once it is cut, nothing the
// process does is seen outside of it any more: that is what SIGKILL looks like
// from NATS and from the other processes.
type Line struct {
	// sending sees what the process is about to send; true cuts the line first.
	sending func(sent) (die bool)
	dead    chan struct{} // closed when cut

	mu    sync.Mutex
	conns []net.Conn
}

// NewLine makes a line that nothing happens to until it is cut.
func NewLine() *Line { return newLine(nil) }

func newLine(sending func(sent) bool) *Line {
	return &Line{sending: sending, dead: make(chan struct{})}
}

// Join makes a bus connect over the line.
func (l *Line) Join(o *bus.Options) {
	o.Connection = append(o.Connection, nats.SetCustomDialer(l))
}

// Dial makes a line a [nats.CustomDialer].
func (l *Line) Dial(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: Patience}).Dial(network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut() {
		return nil, errors.Join(errCut, conn.Close())
	}
	l.conns = append(l.conns, conn)
	return &lineConn{Conn: conn, line: l}, nil
}

func (l *Line) isCut() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// Cut cuts the line for good. It may be called again.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut() {
		return
	}
	close(l.dead)
	for _, conn := range l.conns {
		// Closed by the other side already, or now.
		_ = conn.Close()
	}
}

type lineConn struct {
	net.Conn
	line *Line
}

func (c *lineConn) Write(p []byte) (int, error) {
	if c.line.sending != nil && !c.line.isCut() {
		if s := parseSent(p); len(s) > 0 && c.line.sending(s) {
			c.line.Cut()
		}
	}
	if c.line.isCut() {
		return 0, errCut
	}
	return c.Conn.Write(p)
}

// sent is what one write to NATS publishes.
type sent []publication

type publication struct {
	subject string
	ack     string // what is acknowledged: +ACK, -NAK, +TERM, +WPI; empty for anything else
}

// published matches a publication in NATS's protocol, with and without headers
// (NATS client protocol, "PUB" and "HPUB"), and the start of its payload.
var published = regexp.MustCompile(`(?:^|\r\n)H?PUB (\S+)[^\r]*\r\n(\+ACK|-NAK|\+TERM|\+WPI)?`)

func parseSent(p []byte) sent {
	var s sent
	for _, m := range published.FindAllSubmatch(p, -1) {
		s = append(s, publication{subject: string(m[1]), ack: string(m[2])})
	}
	return s
}

// settles reports whether a message is settled, in whatever way.
func (s sent) settles() bool {
	for _, p := range s {
		if strings.HasPrefix(p.subject, "$JS.ACK.") && p.ack != "" && p.ack != "+WPI" {
			return true
		}
	}
	return false
}

// count counts publications on subjects that are wanted.
func (s sent) count(wanted func(subject string) bool) int {
	n := 0
	for _, p := range s {
		if wanted(p.subject) {
			n++
		}
	}
	return n
}

// recorded reports whether a subject is one of a fact or a dead letter.
func recorded(subject string) bool {
	first, _, _ := strings.Cut(subject, ".")
	switch first {
	case "tag", "build", "release", "cdn", "dead":
		return true
	}
	return false
}

// matches returns a test for subjects that match a filter.
func matches(filter string) func(subject string) bool {
	want := strings.Split(filter, ".")
	return func(subject string) bool {
		have := strings.Split(subject, ".")
		for i, token := range want {
			switch {
			case token == ">":
				return len(have) > i
			case i >= len(have), token != "*" && token != have[i]:
				return false
			}
		}
		return len(have) == len(want)
	}
}
