package webhook

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// How much memory bodies may take together. Nearly every delivery is small, and
// who sends large ones must not keep the small ones out.
const (
	firstPiece = 4 << 10   // what a body is given to begin with
	smallBody  = 64 << 10  // up to this, a body counts as small
	smallRoom  = 32 << 20  // for all small bodies
	largeRoom  = 128 << 20 // for all others; one of the largest takes up to 42 MiB while it grows
)

// errBusy says that there is no room for a body.
var errBusy = errors.New("too many bodies at once")

// room is a number of bytes that may be taken, and given back.
type room struct {
	limit int64
	taken atomic.Int64
}

func (r *room) take(n int) bool {
	if r.taken.Add(int64(n)) > r.limit {
		r.give(n)
		return false
	}
	return true
}

func (r *room) give(n int) { r.taken.Add(-int64(n)) }

// rooms is the memory that bodies may take.
type rooms struct{ small, large room }

func newRooms() *rooms {
	return &rooms{small: room{limit: smallRoom}, large: room{limit: largeRoom}}
}

// of is where a piece of memory is taken.
func (r *rooms) of(n int) *room {
	if n <= smallBody {
		return &r.small
	}
	return &r.large
}

// body is a body in memory. Who does not need it any more must release it.
type body struct {
	rooms *rooms
	bytes []byte
}

// read reads a body of the given length, negative if that is not known, and
// passes it on to seen as it arrives. It takes room for no more than twice what
// has arrived, so that announcing a large body costs others nothing.
func (b *body) read(from io.Reader, length int64, seen io.Writer) error {
	for {
		if len(b.bytes) == cap(b.bytes) {
			if err := b.grow(length); err != nil {
				return err
			}
		}
		n, err := from.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		_, _ = seen.Write(b.bytes[len(b.bytes) : len(b.bytes)+n]) // hashes do not fail
		b.bytes = b.bytes[:len(b.bytes)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (b *body) grow(length int64) error {
	size := max(firstPiece, 2*cap(b.bytes))
	if whole := int(length) + 1; length >= 0 && whole > cap(b.bytes) { // the byte more is where the end is found
		size = min(size, whole)
	}
	if !b.rooms.of(size).take(size) {
		return errBusy
	}
	larger := make([]byte, len(b.bytes), size)
	copy(larger, b.bytes)
	b.rooms.of(cap(b.bytes)).give(cap(b.bytes))
	b.bytes = larger
	return nil
}

func (b *body) release() {
	b.rooms.of(cap(b.bytes)).give(cap(b.bytes))
	b.bytes = nil
}

// hurry gives a request's body a time by which it must have arrived.
func hurry(w http.ResponseWriter, within time.Duration) {
	// Where this is not possible, the server's own limit holds.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(within))
}

// unread is what a caller is told whose body could not be read.
func unread(err error) *answer {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return bodyTooLarge()
	case errors.Is(err, errBusy):
		return tell(http.StatusServiceUnavailable, Busy, "too many deliveries at once, try again")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return tell(http.StatusRequestTimeout, Incomplete, "the body took too long to arrive")
	}
	return &answer{http.StatusBadRequest, Incomplete, "the body did not arrive as a whole", err}
}

func bodyTooLarge() *answer {
	return tell(http.StatusRequestEntityTooLarge, TooLarge, "the body is larger than %d bytes", maxBody)
}
