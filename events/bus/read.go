package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// getRequest asks a stream's leader for one message (JetStream API,
// $JS.API.STREAM.MSG.GET). Unlike a direct get it is never answered by a replica
// that is behind.
type getRequest struct {
	Seq           uint64     `json:"seq,omitempty"`
	LastBySubject string     `json:"last_by_subj,omitempty"`
	NextBySubject string     `json:"next_by_subj,omitempty"`
	StartTime     *time.Time `json:"start_time,omitempty"`
}

type rawMessage struct {
	Subject string
	Seq     uint64
	Time    time.Time
	Header  nats.Header
	Data    []byte
}

// get reads one message; the error wraps [events.ErrNotRecorded] if there is none.
func (b *Bus) get(ctx context.Context, stream string, r getRequest) (*rawMessage, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request for a message: %w", err)
	}
	subject := "$JS.API.STREAM.MSG.GET." + stream
	var reply *nats.Msg
	if err := b.ask(ctx, askSubject(subject), func(ctx context.Context) (err error) {
		reply, err = b.nc.RequestWithContext(ctx, subject, body)
		return err
	}); err != nil {
		return nil, fmt.Errorf("read from %s: %w", stream, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Time    time.Time `json:"time"`
			Headers []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, fmt.Errorf("read from %s: decode the answer: %w", stream, err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == codeNoMessage:
		return nil, events.ErrNotRecorded
	case answer.Error != nil:
		return nil, fmt.Errorf("read from %s: %w", stream, answer.Error)
	}
	m := answer.Message
	raw := &rawMessage{Subject: m.Subject, Seq: m.Seq, Time: m.Time, Data: m.Data}
	if len(m.Headers) > 0 {
		if raw.Header, err = nats.DecodeHeadersMsg(m.Headers); err != nil {
			return nil, fmt.Errorf("read from %s: decode the headers of message %d: %w", stream, m.Seq, err)
		}
	}
	return raw, nil
}

// Last returns the newest fact on a subject, which may be a filter. The error
// wraps [events.ErrNotRecorded] if there is none. Garbage that somebody stored on
// the subject is passed over.
func (b *Bus) Last(ctx context.Context, filter string) (events.Recorded, error) {
	stream, err := streamOf(filter)
	if err != nil {
		return events.Recorded{}, events.Permanent(err)
	}
	var last events.Recorded
	err = b.withRetry(ctx, func(ctx context.Context) error {
		raw, err := b.get(ctx, stream, getRequest{LastBySubject: filter})
		if errors.Is(err, events.ErrNotRecorded) {
			return events.Permanent(err)
		}
		if err != nil {
			return err
		}
		if last, err = recorded(raw); err != nil {
			last, err = b.lastReadable(ctx, stream, filter, raw.Seq)
		}
		return err
	})
	if err != nil {
		return events.Recorded{}, fmt.Errorf("look up %s: %w", filter, err)
	}
	return last, nil
}

// lastReadable walks a subject to its newest message that is a fact. It is
// needed only where somebody stored garbage by hand.
func (b *Bus) lastReadable(ctx context.Context, stream, filter string, until uint64) (events.Recorded, error) {
	var last events.Recorded
	for seq := uint64(1); seq <= until; {
		raw, err := b.get(ctx, stream, getRequest{Seq: seq, NextBySubject: filter})
		if err != nil {
			return events.Recorded{}, err
		}
		if r, err := recorded(raw); err == nil {
			last = r
		}
		seq = raw.Seq + 1
	}
	if last.Fact == nil {
		return events.Recorded{}, events.Permanent(events.ErrNotRecorded)
	}
	return last, nil
}

func recorded(raw *rawMessage) (events.Recorded, error) {
	event, err := events.Decode(raw.Subject, raw.Data)
	if err != nil {
		return events.Recorded{}, err
	}
	fact, ok := event.(events.Fact)
	if !ok {
		return events.Recorded{}, fmt.Errorf("%s is no fact", raw.Subject)
	}
	return events.Recorded{Fact: fact, Seq: raw.Seq, Time: raw.Time, First: firstSeq(raw.Header, raw.Seq)}, nil
}

// firstSeq is where a message was stored first: where it is, unless it is a replay.
func firstSeq(header nats.Header, seq uint64) uint64 {
	first, err := strconv.ParseUint(header.Get(HeaderFirst), 10, 64)
	if err != nil || first == 0 || first > seq {
		return seq
	}
	return first
}

// LastSeq is the sequence of the newest message that matches a filter, 0 if
// there is none: what a fence over that filter is to expect.
func (b *Bus) LastSeq(ctx context.Context, filter string) (uint64, error) {
	stream, err := streamOf(filter)
	if err != nil {
		return 0, events.Permanent(err)
	}
	var seq uint64
	err = b.withRetry(ctx, func(ctx context.Context) error {
		raw, err := b.get(ctx, stream, getRequest{LastBySubject: filter})
		switch {
		case errors.Is(err, events.ErrNotRecorded):
			seq = 0
			return nil
		case err != nil:
			return err
		}
		seq = raw.Seq
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", filter, err)
	}
	return seq, nil
}

// Requests returns the requests on a subject that were stored since a time,
// oldest first. Malformed ones are passed over.
func (b *Bus) Requests(ctx context.Context, subject string, since time.Time) ([]events.Asked, error) {
	stream, err := streamOf(subject)
	if err != nil {
		return nil, events.Permanent(err)
	}
	var all []events.Asked
	next := getRequest{StartTime: &since, NextBySubject: subject}
	for {
		var raw *rawMessage
		err := b.withRetry(ctx, func(ctx context.Context) (err error) {
			raw, err = b.get(ctx, stream, next)
			if errors.Is(err, events.ErrNotRecorded) {
				return events.Permanent(err)
			}
			return err
		})
		if errors.Is(err, events.ErrNotRecorded) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("look up requests on %s: %w", subject, err)
		}
		if r, err := events.ParseRequest(raw.Subject, raw.Data); err == nil {
			all = append(all, events.Asked{Request: r, Origin: events.Cause{Stream: stream, Seq: raw.Seq}, Time: raw.Time})
		}
		next = getRequest{Seq: raw.Seq + 1, NextBySubject: subject}
	}
}

// streamOf tells the stream that a filter lies in, by its first token.
func streamOf(filter string) (string, error) {
	first, _, _ := strings.Cut(filter, ".")
	switch first {
	case "dead":
		return events.StreamDead, nil
	case "log":
		return events.StreamLogs, nil
	}
	if stream := events.Kind(first).Stream(); stream != "" {
		return stream, nil
	}
	return "", fmt.Errorf("filter %q lies in no stream of Tagship", filter)
}

// Newest returns the newest fact of each subject that matches a filter, in the
// order in which they were stored. Garbage is passed over, and hides no fact
// stored before it.
func (b *Bus) Newest(ctx context.Context, filter string) ([]events.Recorded, error) {
	newest := map[string]events.Recorded{} // a subject comes twice if it is written to meanwhile
	for raw, err := range b.messages(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy}, false) {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", filter, err)
		}
		r, err := recorded(raw)
		if err != nil {
			b.log.Warn("passed over a malformed message", zap.String("subject", raw.Subject), zap.Uint64("seq", raw.Seq), zap.Error(err))
			r, err = b.Last(ctx, raw.Subject)
			if errors.Is(err, events.ErrNotRecorded) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", filter, err)
			}
		}
		newest[raw.Subject] = r
	}
	return slices.SortedFunc(maps.Values(newest), func(a, b events.Recorded) int { return cmp.Compare(a.Seq, b.Seq) }), nil
}

// Facts returns the facts that match a filter, oldest first; with follow it then
// waits for more until ctx ends. Garbage is passed over.
func (b *Bus) Facts(ctx context.Context, filter string, follow bool) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for raw, err := range b.messages(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}}, follow) {
			if err != nil {
				yield(events.Recorded{}, fmt.Errorf("read %s: %w", filter, err))
				return
			}
			r, err := recorded(raw)
			if err != nil {
				continue
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// messages reads a stream in order. Without follow it ends where the stream
// ended when it began, as the leader tells: the server may place the reader at a
// replica that is behind. All filters must lie in one stream.
func (b *Bus) messages(ctx context.Context, cfg jetstream.OrderedConsumerConfig, follow bool) iter.Seq2[*rawMessage, error] {
	return func(yield func(*rawMessage, error) bool) {
		stream, err := streamOf(cfg.FilterSubjects[0])
		if err != nil {
			yield(nil, err)
			return
		}
		var end uint64
		if !follow {
			for _, filter := range cfg.FilterSubjects {
				last, err := b.LastSeq(ctx, filter)
				if err != nil {
					yield(nil, err)
					return
				}
				end = max(end, last)
			}
			if end == 0 {
				return
			}
		}
		cfg.InactiveThreshold = readerLife
		var consumer jetstream.Consumer
		if err := b.askWithRetry(ctx, askAbout(stream), func(ctx context.Context) (err error) {
			consumer, err = b.js.OrderedConsumer(ctx, stream, cfg)
			return err
		}); err != nil {
			yield(nil, err)
			return
		}
		defer b.forgetReader(stream, consumer)
		reader, err := consumer.Messages()
		if err != nil {
			yield(nil, err)
			return
		}
		defer reader.Stop()
		stop := context.AfterFunc(ctx, reader.Stop)
		defer stop()
		var wait []jetstream.NextOpt
		if !follow {
			wait = append(wait, jetstream.NextMaxWait(trouble)) // what was there may have been too old to stay
		}
		for {
			msg, err := reader.Next(wait...)
			switch {
			case ctx.Err() != nil:
				if !follow {
					yield(nil, context.Cause(ctx))
				}
				return
			case errors.Is(err, jetstream.ErrNoHeartbeat):
				continue // the ordered consumer is made anew by the client
			case err != nil:
				yield(nil, err)
				return
			}
			meta, err := msg.Metadata()
			if err != nil {
				yield(nil, err)
				return
			}
			raw := &rawMessage{Subject: msg.Subject(), Seq: meta.Sequence.Stream, Time: meta.Timestamp, Header: msg.Headers(), Data: msg.Data()}
			if !yield(raw, nil) || !follow && raw.Seq >= end {
				return
			}
		}
	}
}

// readerLife is how long the server keeps the place of a reader that is gone.
const readerLife = 30 * time.Second

// forgetReader frees a reader's place in a stream at once: a server has a limit
// of places, which many readers in a row would reach within the life of each.
func (b *Bus) forgetReader(stream string, consumer jetstream.Consumer) {
	info := consumer.CachedInfo()
	if info == nil {
		return
	}
	if err := b.nc.Publish("$JS.API.CONSUMER.DELETE."+stream+"."+info.Name, nil); err != nil {
		b.log.Debug("reader not forgotten, it ends by itself", zap.String("stream", stream), zap.Error(err))
	}
}
