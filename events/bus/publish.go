package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
	"go.opentelemetry.io/otel/propagation"
)

// Headers that Tagship adds to messages.
const (
	// HeaderID is the id of a fact or dead letter, beside the body's own.
	HeaderID = "Tagship-Id"
	// HeaderReplay is the place in DEAD of the dead letter that a message replays.
	HeaderReplay = "Tagship-Replay"
	// HeaderFirst is the sequence under which a replayed message was stored first.
	HeaderFirst = "Tagship-First"
	// HeaderOnly names the one consumer that a replayed message is meant for.
	HeaderOnly = "Tagship-Only"
)

// Publish states a fact, once: if it was stated before, under the same ID, that
// is success, and Stored says so. The fact's head is completed; its cause is the
// message that ctx belongs to, if any.
//
// Every fence must hold when the fact is stored, else the error wraps
// [events.ErrConflict] and nothing was stored. At most one fence is possible,
// and its filter must match the fact's own subject.
//
// While NATS does not answer, Publish tries again for 30 s.
func (b *Bus) Publish(ctx context.Context, f events.Fact, fences ...events.Fence) (events.Stored, error) {
	origin := originOf(ctx)
	if f.Head().ID != "" {
		origin.time = time.Time{} // named by something else than its cause, it may be older than that
	}
	if err := events.Identify(f, origin.cause, b.opts.Service, time.Now()); err != nil {
		return events.Stored{}, events.Permanent(err)
	}
	body, err := events.Encode(f)
	if err != nil {
		return events.Stored{}, events.Permanent(err)
	}
	if len(fences) > 1 {
		return events.Stored{}, events.Permanent(fmt.Errorf("publish %s: %d fences given, a message can have one", f.Subject(), len(fences)))
	}
	s := statement{
		stream: f.Kind().Stream(),
		header: HeaderID,
		id:     f.Head().ID,
		once:   f.Kind().Once(),
		since:  origin.time,
		msg:    &nats.Msg{Subject: f.Subject(), Data: body, Header: nats.Header{}},
	}
	if len(fences) == 1 {
		s.fence = &fences[0]
	}
	b.crash.at("publish.before", string(f.Kind()))
	stored, err := b.state(ctx, s)
	if err != nil {
		return events.Stored{}, fmt.Errorf("publish %s: %w", f.Subject(), err)
	}
	b.crash.at("publish.after", string(f.Kind()))
	return stored, nil
}

// Request publishes a request. A request may be repeated; what it asks for happens once.
func (b *Bus) Request(ctx context.Context, r *events.Request) (events.Stored, error) {
	body, err := events.EncodeRequest(r)
	if err != nil {
		return events.Stored{}, events.Permanent(err)
	}
	msg := &nats.Msg{Subject: r.Subject(), Data: body, Header: nats.Header{}}
	// The id makes the tries of this one call one message. Two calls are two requests.
	stored, err := b.put(ctx, msg, jetstream.WithMsgID(b.nc.NewInbox()))
	if err != nil {
		return events.Stored{}, fmt.Errorf("publish request on %s: %w", msg.Subject, err)
	}
	return stored, nil
}

// Hint stores a hint to look, in place of an earlier one about the same. It takes
// no longer than ctx, so a caller who must answer in time gives it a deadline;
// while NATS does not answer, it tries again until then, for 30 s at most. A hint
// whose storing failed may be stored all the same.
func (b *Bus) Hint(ctx context.Context, h *events.Hook) (events.Stored, error) {
	body, err := events.EncodeHook(h)
	if err != nil {
		return events.Stored{}, events.Permanent(err)
	}
	msg := &nats.Msg{Subject: h.Subject(), Data: body, Header: nats.Header{}}
	stored, err := b.put(ctx, msg)
	if err != nil {
		return events.Stored{}, fmt.Errorf("publish %s: %w", msg.Subject, err)
	}
	return stored, nil
}

// put stores one message, with its own retries.
func (b *Bus) put(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (events.Stored, error) {
	var stored events.Stored
	err := b.withRetry(ctx, func(ctx context.Context) (err error) {
		stored, err = b.store(ctx, msg, opts...)
		return err
	})
	return stored, err
}

// store tries once to store a message.
func (b *Bus) store(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (events.Stored, error) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(msg.Header))
	var ack *jetstream.PubAck
	err := b.ask(ctx, askSubject(msg.Subject), func(ctx context.Context) (err error) {
		ack, err = b.js.PublishMsg(ctx, msg, opts...)
		return err
	})
	if err != nil {
		return events.Stored{}, err
	}
	return events.Stored{Cause: events.Cause{Stream: ack.Stream, Seq: ack.Sequence}, Already: ack.Duplicate}, nil
}

// statement is a message that is to be stored once.
type statement struct {
	stream string
	header string        // the header by which it is recognised
	id     string        // what that header says
	once   bool          // nothing may be on the subject before it
	since  time.Time     // it cannot have been stored before; zero if that is not known
	fence  *events.Fence // nil for a fence of its own
	msg    *nats.Msg
}

// skew is by how much the clocks of the servers of a cluster may differ.
const skew = time.Minute

// errTaken says that the compare-and-set of a statement did not hold.
var errTaken = errors.New("another message was stored first")

// state stores a statement unless it is there already. What is there is read
// from the stream's leader, and the write holds only if nothing came between,
// so two that state the same at once cannot both succeed.
func (b *Bus) state(ctx context.Context, s statement) (events.Stored, error) {
	s.msg.Header.Set(s.header, s.id)
	var stored events.Stored
	err := b.withRetry(ctx, func(ctx context.Context) (err error) {
		stored, err = b.stateOnce(ctx, s)
		return err
	})
	return stored, err
}

func (b *Bus) stateOnce(ctx context.Context, s statement) (events.Stored, error) {
	expect := events.Fence{Filter: s.msg.Subject}
	if !s.once {
		last, already, err := b.stated(ctx, s)
		if err != nil {
			return events.Stored{}, err
		}
		if already != nil {
			return *already, nil
		}
		expect.Seq = last
	}
	if s.fence != nil {
		expect = *s.fence
	}
	stored, err := b.store(ctx, s.msg, jetstream.WithExpectLastSequenceForSubject(expect.Seq, expect.Filter))
	switch {
	case hasCode(err, codeWriteInFlight):
		return events.Stored{}, err // nobody has won: read again and decide
	case !hasCode(err, codeWrongLastSequence):
		return stored, err
	}
	_, already, err := b.stated(ctx, s)
	switch {
	case err != nil:
		return events.Stored{}, err
	case already != nil:
		return *already, nil
	case s.fence != nil || s.once:
		return events.Stored{}, events.Permanent(fmt.Errorf("%w on %s", events.ErrConflict, expect.Filter))
	}
	return events.Stored{}, errTaken
}

// stated looks whether a statement is there, and returns the sequence of the
// newest message on its subject. Only messages stored since its cause can be it.
func (b *Bus) stated(ctx context.Context, s statement) (last uint64, already *events.Stored, err error) {
	newest, err := b.get(ctx, s.stream, getRequest{LastBySubject: s.msg.Subject})
	if errors.Is(err, events.ErrNotRecorded) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	at := func(m *rawMessage) *events.Stored {
		return &events.Stored{Cause: events.Cause{Stream: s.stream, Seq: m.Seq}, Already: true}
	}
	if newest.Header.Get(s.header) == s.id {
		return newest.Seq, at(newest), nil
	}
	if !s.since.IsZero() && newest.Time.Before(s.since.Add(-skew)) {
		return newest.Seq, nil, nil
	}
	next := getRequest{Seq: 1, NextBySubject: s.msg.Subject}
	if !s.since.IsZero() {
		from := s.since.Add(-skew)
		next = getRequest{StartTime: &from, NextBySubject: s.msg.Subject}
	}
	for {
		m, err := b.get(ctx, s.stream, next)
		if err != nil {
			return 0, nil, err
		}
		if m.Header.Get(s.header) == s.id {
			return newest.Seq, at(m), nil
		}
		if m.Seq >= newest.Seq {
			return newest.Seq, nil, nil
		}
		next = getRequest{Seq: m.Seq + 1, NextBySubject: s.msg.Subject}
	}
}
