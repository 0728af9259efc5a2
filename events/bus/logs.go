package bus

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

const (
	logChunk = 16 << 10
	logFlush = 200 * time.Millisecond
	// logBacklog is how much output is kept while NATS does not take it; a step
	// is not stopped because its output cannot be shown.
	logBacklog = 4 << 20
)

// Log returns a writer whose output appears live on log.<service>.<app>.<version>,
// a message per chunk. Writing never blocks and never fails: while NATS does not
// answer, output is kept, and beyond 4 MiB the oldest dropped, which the output
// then says. Close waits until what was written is stored, or for 30 s while NATS
// does not answer, but no longer than a stopping service has.
func (b *Bus) Log(app, version string) io.WriteCloser {
	l := &logWriter{
		bus:     b,
		subject: "log." + events.Escape(b.opts.Service) + "." + events.Escape(app) + "." + events.Escape(version),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	go l.run()
	return l
}

type logWriter struct {
	bus     *Bus
	subject string
	wake    chan struct{}
	done    chan struct{}

	mu      sync.Mutex
	buffer  []byte
	dropped int
	closed  bool
}

func (l *logWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffer = append(l.buffer, p...)
	if over := len(l.buffer) - logBacklog; over > 0 {
		l.buffer = append(l.buffer[:0], l.buffer[over:]...)
		l.dropped += over
	}
	if len(l.buffer) >= logChunk {
		l.signal()
	}
	return len(p), nil
}

func (l *logWriter) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close stores what is left.
func (l *logWriter) Close() error {
	l.mu.Lock()
	already := l.closed
	l.closed = true
	l.mu.Unlock()
	if !already {
		l.signal()
	}
	<-l.done
	return nil
}

func (l *logWriter) run() {
	defer close(l.done)
	tick := time.NewTicker(logFlush)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.wake:
		}
		for {
			chunk, last := l.next()
			stored := len(chunk) == 0 || l.store(chunk)
			if last || !stored && l.isClosed() {
				return
			}
			if len(chunk) == 0 {
				break
			}
		}
	}
}

// store stores one chunk, however long NATS is away, unless the writer was
// closed meanwhile.
func (l *logWriter) store(chunk []byte) bool {
	id := jetstream.WithMsgID(nuid.Next()) // makes the tries one message
	for {
		_, err := l.bus.put(l.bus.life, &nats.Msg{Subject: l.subject, Data: chunk, Header: nats.Header{}}, id)
		if err == nil {
			return true
		}
		if lasting(err) || l.isClosed() || l.bus.life.Err() != nil {
			l.bus.log.Warn("output not stored", zap.String("subject", l.subject), zap.Int("bytes", len(chunk)), zap.Error(err))
			return false
		}
	}
}

func (l *logWriter) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// next takes a chunk off the buffer; last says that nothing can follow it.
func (l *logWriter) next() (chunk []byte, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped > 0 {
		chunk = fmt.Appendf(chunk, "[%d bytes of output dropped: NATS did not take them in time]\n", l.dropped)
		l.dropped = 0
	}
	n := min(len(l.buffer), logChunk)
	chunk = append(chunk, l.buffer[:n]...)
	l.buffer = append(l.buffer[:0], l.buffer[n:]...)
	return chunk, l.closed && len(l.buffer) == 0
}

// Chunk is a piece of a step's output.
type Chunk struct {
	Service string
	Time    time.Time
	Data    []byte
}

// Output returns the output of all steps of a version, oldest first; with follow
// it then waits for more until ctx ends.
func (b *Bus) Output(ctx context.Context, app, version string, follow bool) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		filter := "log.*." + events.Escape(app) + "." + events.Escape(version)
		for raw, err := range b.messages(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}}, follow) {
			if err != nil {
				yield(Chunk{}, fmt.Errorf("read output of %s@%s: %w", app, version, err))
				return
			}
			if !yield(Chunk{Service: serviceOfLog(raw.Subject), Time: raw.Time, Data: raw.Data}, nil) {
				return
			}
		}
	}
}

func serviceOfLog(subject string) string {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 4 {
		return ""
	}
	service, err := events.Unescape(tokens[1])
	if err != nil {
		return tokens[1]
	}
	return service
}
