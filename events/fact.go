package events

import (
	"errors"
	"fmt"
	"time"
)

// Event is a message of the pipeline: a [Request], a [Fact] or a [Hook].
type Event interface {
	// Kind is what the message is.
	Kind() Kind
	// Subject is where it is published. It is meaningful for a valid message only.
	Subject() string
	// Validate reports every field that is missing or wrong, each as a [FieldError].
	Validate() error
}

// Fact is a message that says what happened.
type Fact interface {
	Event
	// Head is the part that all facts share.
	Head() *Meta
}

// Meta is what every fact says of itself.
type Meta struct {
	// ID names the fact. It is made of what may happen only once, never of a
	// clock or a random number: whoever states the same fact again, states it
	// under the same ID. Left empty, [Identify] derives it.
	ID string `json:"id"`
	// At is when it happened, in UTC.
	At time.Time `json:"at"`
	// By is who or what caused it: a person, or a service.
	By string `json:"by"`
	// Cause is the message that led to it; nil where none did.
	Cause *Cause `json:"cause,omitempty"`
}

// Head returns m itself; embedding Meta makes a struct's pointer a [Fact].
func (m *Meta) Head() *Meta { return m }

// Cause names one stored message.
type Cause struct {
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
}

func (c Cause) String() string { return fmt.Sprintf("%s:%d", c.Stream, c.Seq) }

// Identify completes the head of a fact: its time, its cause, and its ID. The ID
// is the subject for a fact that happens once, and otherwise the subject with
// the message that caused it, so that handling a message twice states one fact.
func Identify(f Fact, cause *Cause, by string, now time.Time) error {
	head := f.Head()
	if head.At.IsZero() {
		head.At = now.Truncate(time.Millisecond)
	}
	head.At = head.At.UTC()
	if head.By == "" {
		head.By = by
	}
	if head.Cause == nil && cause != nil {
		own := *cause
		head.Cause = &own
	}
	if head.ID != "" {
		return nil
	}
	switch {
	case f.Kind().Once():
		head.ID = f.Subject()
	case head.Cause != nil:
		head.ID = f.Subject() + "@" + head.Cause.String()
	default:
		return fmt.Errorf("%s has neither an ID nor a cause to derive it from", f.Subject())
	}
	return nil
}

func (m *Meta) validate(c *fieldChecks) {
	c.require("id", m.ID)
	c.require("by", m.By)
	c.forbid("at", m.At.IsZero(), "is missing, expected a time as in RFC 3339")
	c.forbid("cause", m.Cause != nil && (m.Cause.Stream == "" || m.Cause.Seq == 0), "is incomplete, expected stream and seq")
}

// ErrMalformed is wrapped by every error of [Decode] and [ParseRequest].
var ErrMalformed = errors.New("malformed message")

// Decode reads the message that was stored on a subject. A fact's unknown fields
// are ignored, for it may come from a newer Tagship; a request is read as
// [ParseRequest] does, and beside its error stands what could be understood. The
// names in the subject must be those in the body.
func Decode(subject string, body []byte) (Event, error) {
	d, _, err := split(subject)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if d.kind == HookReceived {
		return decodeHook(subject, body)
	}
	if d.fresh == nil {
		return ParseRequest(subject, body)
	}
	fact := d.fresh()
	if err := decodeJSON(body, fact); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, subject, err)
	}
	if err := fact.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, subject, err)
	}
	// Comparing the whole subject compares its names and that they are escaped as they must be.
	if stated := fact.Subject(); stated != subject {
		return nil, fmt.Errorf("%w: the body on %s says that it belongs on %s", ErrMalformed, subject, stated)
	}
	return fact, nil
}

// Encode writes a fact as it goes over the wire, after checking it.
func Encode(f Fact) ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, fmt.Errorf("encode %s: %w", f.Kind(), err)
	}
	body, err := encodeJSON(f)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", f.Kind(), err)
	}
	return body, nil
}
