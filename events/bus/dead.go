package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
)

// A dead letter is the message that was given up on, byte for byte, with its own
// headers and these, on dead.<service>.<app>. Golden file: testdata/dead.golden.
const (
	headerDeadSubject  = "Tagship-Dead-Subject"
	headerDeadConsumer = "Tagship-Dead-Consumer"
	headerDeadStream   = "Tagship-Dead-Stream"
	headerDeadSeq      = "Tagship-Dead-Seq"
	headerDeadStored   = "Tagship-Dead-Stored"
	headerDeadAttempts = "Tagship-Dead-Attempts"
	headerDeadReason   = "Tagship-Dead-Reason"
	headerDeadHeaders  = "Tagship-Dead-Headers" // where the message's own are too long to go with it
	headerDeadPrefix   = "Tagship-Dead-"
)

// DeadLetter is a message that a worker gave up on.
type DeadLetter struct {
	Seq      uint64 // its place in the stream DEAD, by which it is replayed or dropped
	At       time.Time
	Service  string
	Consumer string
	App      string // events.Unknown where the message does not say
	Subject  string // where the message came from
	Origin   events.Cause
	Stored   time.Time // when the message was stored there
	Attempts int
	Reason   string
	Header   nats.Header // the message's own headers
	Payload  []byte      // the message, byte for byte
	Settled  *Settlement // nil while nobody has replayed or dropped it
}

// Settlement is what somebody did about a dead letter.
type Settlement struct {
	Action string    `json:"action"` // replayed or dropped
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// Actions of a [Settlement].
const (
	Replayed = "replayed"
	Dropped  = "dropped"
)

func (w *worker) deadLetter(d *delivery, reason error) DeadLetter {
	return DeadLetter{
		Service: w.bus.opts.Service, Consumer: w.Consumer.Name, App: appOf(d),
		Subject: d.subject, Origin: d.origin, Stored: d.time, Attempts: d.attempt,
		Reason: oneLine(reason.Error()), Header: d.msg.Headers(), Payload: d.msg.Data(),
	}
}

// appOf tells whom a message concerns, from its subject or else its body.
func appOf(d *delivery) string {
	if r, ok := d.event.(*events.Request); ok {
		return r.App
	}
	kind, names, err := events.ParseSubject(d.subject)
	if err != nil {
		return events.Unknown
	}
	// A hook about a repository names no app, and what it names no app can be called.
	app := names[0]
	if prefix := string(kind); strings.HasPrefix(prefix, "release") || strings.HasPrefix(prefix, "cdn") {
		if kind.Request() {
			return events.Unknown
		}
		app = names[1]
	}
	if events.CheckApp(app) != nil {
		return events.Unknown
	}
	return app
}

func (l DeadLetter) subject() string {
	return "dead." + events.Escape(l.Service) + "." + events.Escape(l.App)
}

func (l DeadLetter) message() *nats.Msg {
	msg := &nats.Msg{Subject: l.subject(), Data: l.Payload, Header: nats.Header{}}
	if n := headerSize(l.Header); n > mostHeaders {
		msg.Header.Set(headerDeadHeaders, fmt.Sprintf("%d bytes left out", n))
		l.Header = nil
	}
	for name, values := range l.Header {
		// Instructions to JetStream were meant for the message's own stream.
		if !strings.HasPrefix(name, "Nats-") && !strings.HasPrefix(name, headerDeadPrefix) && name != HeaderID && name != HeaderOnly && name != HeaderReplay {
			msg.Header[name] = slices.Clone(values)
		}
	}
	msg.Header.Set(headerDeadSubject, l.Subject)
	msg.Header.Set(headerDeadConsumer, l.Consumer)
	msg.Header.Set(headerDeadStream, l.Origin.Stream)
	msg.Header.Set(headerDeadSeq, strconv.FormatUint(l.Origin.Seq, 10))
	msg.Header.Set(headerDeadStored, l.Stored.UTC().Format(time.RFC3339Nano))
	msg.Header.Set(headerDeadAttempts, strconv.Itoa(l.Attempts))
	msg.Header.Set(headerDeadReason, l.Reason)
	if id := l.Header.Get(HeaderID); id != "" {
		msg.Header.Set(headerDeadPrefix+"Id", id)
	}
	return msg
}

// mostHeaders is how many bytes of a message's own headers go with it. NATS takes
// 64 KiB of headers, those of the dead letter included; the message itself stays
// in its stream with all that it had.
const mostHeaders = 48 << 10

func headerSize(h nats.Header) int {
	size := 0
	for name, values := range h {
		for _, value := range values {
			size += len(name) + len(": ") + len(value) + len("\r\n")
		}
	}
	return size
}

// publishDead stores a dead letter, once per consumer and message.
func (b *Bus) publishDead(ctx context.Context, l DeadLetter) error {
	_, err := b.state(ctx, statement{
		stream: events.StreamDead,
		header: HeaderID,
		id:     l.subject() + "@" + l.Consumer + ":" + l.Origin.String(),
		since:  l.Stored,
		msg:    l.message(),
	})
	if err != nil {
		return fmt.Errorf("publish dead letter: %w", err)
	}
	return nil
}

func parseDead(raw *rawMessage) (DeadLetter, error) {
	tokens := strings.Split(raw.Subject, ".")
	if len(tokens) != 3 {
		return DeadLetter{}, fmt.Errorf("message %d in %s is no dead letter: its subject is %q", raw.Seq, events.StreamDead, raw.Subject)
	}
	l := DeadLetter{Seq: raw.Seq, At: raw.Time, Header: nats.Header{}, Payload: raw.Data}
	h := raw.Header
	broken := false
	keep := func(err error) { broken = broken || err != nil }
	var err error
	l.Service, err = events.Unescape(tokens[1])
	keep(err)
	l.App, err = events.Unescape(tokens[2])
	keep(err)
	l.Origin.Seq, err = strconv.ParseUint(h.Get(headerDeadSeq), 10, 64)
	keep(err)
	l.Attempts, err = strconv.Atoi(h.Get(headerDeadAttempts))
	keep(err)
	l.Stored, err = time.Parse(time.RFC3339Nano, h.Get(headerDeadStored))
	keep(err)
	l.Origin.Stream, l.Subject, l.Consumer, l.Reason = h.Get(headerDeadStream), h.Get(headerDeadSubject), h.Get(headerDeadConsumer), h.Get(headerDeadReason)
	if broken || l.Subject == "" || l.Consumer == "" {
		return DeadLetter{}, fmt.Errorf("message %d in %s is no dead letter: no worker put it there, for its headers %s… are missing or wrong", raw.Seq, events.StreamDead, headerDeadPrefix)
	}
	maps.Copy(l.Header, h)
	maps.DeleteFunc(l.Header, func(name string, _ []string) bool {
		// What told JetStream how to store the dead letter is none of the message's.
		return strings.HasPrefix(name, "Nats-") || strings.HasPrefix(name, headerDeadPrefix) || name == HeaderID
	})
	if id := h.Get(headerDeadPrefix + "Id"); id != "" {
		l.Header.Set(HeaderID, id)
	}
	return l, nil
}

// DeadLetters lists the dead letters, oldest first, those replayed or dropped included.
func (b *Bus) DeadLetters(ctx context.Context) ([]DeadLetter, error) {
	settled, err := b.Table(TableDead).All(ctx, "")
	if err != nil {
		return nil, err
	}
	var all []DeadLetter
	for raw, err := range b.messages(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"dead.>"}}, false) {
		if err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
		l, err := parseDead(raw)
		if err != nil {
			b.log.Warn(err.Error())
			continue
		}
		if value, ok := settled[deadKey(l.Seq)]; ok {
			l.Settled = &Settlement{}
			if err := json.Unmarshal(value, l.Settled); err != nil {
				return nil, fmt.Errorf("decode what was done about dead letter %d: %w", l.Seq, err)
			}
		}
		all = append(all, l)
	}
	return all, nil
}

func deadKey(seq uint64) string { return strconv.FormatUint(seq, 10) }

// DeadLetter returns one dead letter. The error wraps [events.ErrNotRecorded] if there is no such one.
func (b *Bus) DeadLetter(ctx context.Context, seq uint64) (DeadLetter, error) {
	var l DeadLetter
	err := b.withRetry(ctx, func(ctx context.Context) error {
		raw, err := b.get(ctx, events.StreamDead, getRequest{Seq: seq})
		if errors.Is(err, events.ErrNotRecorded) {
			return events.Permanent(err)
		}
		if err != nil {
			return err
		}
		if l, err = parseDead(raw); err != nil {
			return events.Permanent(err)
		}
		return nil
	})
	if err != nil {
		return DeadLetter{}, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	value, _, err := b.Table(TableDead).Get(ctx, deadKey(seq))
	switch {
	case errors.Is(err, events.ErrNotRecorded):
		return l, nil
	case err != nil:
		return DeadLetter{}, err
	}
	l.Settled = &Settlement{}
	if err := json.Unmarshal(value, l.Settled); err != nil {
		return DeadLetter{}, fmt.Errorf("decode what was done about dead letter %d: %w", seq, err)
	}
	return l, nil
}

// Replay puts the message of a dead letter back where it came from, for the
// consumer that gave up on it and no other. A dead letter can be replayed or
// dropped once; else the error wraps [events.ErrConflict].
func (b *Bus) Replay(ctx context.Context, seq uint64, by string) error {
	l, err := b.DeadLetter(ctx, seq)
	if err != nil {
		return err
	}
	if l.Settled != nil {
		return alreadySettled(l)
	}
	msg := &nats.Msg{Subject: l.Subject, Data: l.Payload, Header: l.Header}
	msg.Header.Set(HeaderOnly, l.Consumer)
	if msg.Header.Get(HeaderFirst) == "" { // kept, where it is a replay that died again
		msg.Header.Set(HeaderFirst, strconv.FormatUint(l.Origin.Seq, 10))
	}
	// Should this process die before it has written down what it did, the next
	// replay finds the message of this one.
	if _, err := b.state(ctx, statement{stream: l.Origin.Stream, header: HeaderReplay, id: deadKey(seq), since: l.At, msg: msg}); err != nil {
		return fmt.Errorf("replay dead letter %d: %w", seq, err)
	}
	return b.settleDead(ctx, l, Replayed, by)
}

// Drop says that nothing is to be done about a dead letter. It stays in the
// record. The error wraps [events.ErrConflict] if it was replayed or dropped before.
func (b *Bus) Drop(ctx context.Context, seq uint64, by string) error {
	l, err := b.DeadLetter(ctx, seq)
	if err != nil {
		return err
	}
	if l.Settled != nil {
		return alreadySettled(l)
	}
	return b.settleDead(ctx, l, Dropped, by)
}

func (b *Bus) settleDead(ctx context.Context, l DeadLetter, action, by string) error {
	value, err := json.Marshal(Settlement{Action: action, By: by, At: time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encode settlement: %w", err)
	}
	return b.Table(TableDead).Create(ctx, deadKey(l.Seq), value)
}

func alreadySettled(l DeadLetter) error {
	return fmt.Errorf("dead letter %d: %w: it was %s by %s at %s", l.Seq, events.ErrConflict, l.Settled.Action, l.Settled.By, l.Settled.At.Format(time.RFC3339))
}
