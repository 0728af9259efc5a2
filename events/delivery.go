package events

import (
	"context"
	"errors"
	"time"
)

// Delivery is one message in a handler's hands. The same message may be
// delivered again, to this handler or another, until it is settled.
type Delivery[M Event] struct {
	Message M
	Origin  Cause     // where the message is stored; the cause of the facts that follow from it
	Time    time.Time // when it was stored
	Attempt int       // 1 for the first delivery
	// First is the sequence under which the message was stored first. It differs
	// from Origin's for a dead letter that is replayed, and says how old the
	// message really is beside others of its stream.
	First uint64
}

// Handler does one step for one message and returns the facts to publish. It
// owns nothing but its step: facts are published, and the message settled, by
// whoever calls it. It must return soon after ctx is done.
type Handler[M Event] func(ctx context.Context, d Delivery[M]) ([]Fact, error)

// Recorded is a fact as it stands in its stream.
type Recorded struct {
	Fact Fact
	Seq  uint64
	Time time.Time // when it was stored
	// First is the sequence under which it was stored first; see [Delivery].
	First uint64
}

// Asked is a request as it stands in its stream.
type Asked struct {
	Request *Request
	Origin  Cause
	Time    time.Time // when it was stored
}

// Stored tells where a published message is.
type Stored struct {
	Cause
	// Already is set if the same fact was there before.
	Already bool
}

// Fence makes a publication conditional: it is stored only if the newest message
// whose subject matches Filter has the sequence Seq, 0 meaning that there is none.
type Fence struct {
	Filter string
	Seq    uint64
}

var (
	// ErrConflict is wrapped by the error of a publication whose fence did not hold.
	ErrConflict = errors.New("another message was stored first")
	// ErrNotRecorded is wrapped by the error of a look-up that found no fact.
	ErrNotRecorded = errors.New("not recorded")
	// ErrHeld is wrapped by the error of taking a lease that another holds.
	ErrHeld = errors.New("held by another")
	// ErrLost is the cause of a context that ended because its lease was lost.
	ErrLost = errors.New("lease lost")
	// ErrShutdown is the cause of a context that ended because the service stops.
	ErrShutdown = errors.New("shutting down")
)
