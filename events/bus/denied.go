package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// NATS reports a permission violation apart from the request it belongs to,
// which would just never be answered. So whoever asks says which subjects the
// asking may use, and is interrupted when one of them is reported.

// asks tells whether a subject is one that a request to NATS uses.
type asks func(subject string) bool

// askSubject is for a request that uses one subject.
func askSubject(used string) asks {
	return func(subject string) bool { return subject == used }
}

// askAbout is for requests of the JetStream API, which name the stream or bucket
// they are about in one of their tokens.
func askAbout(stream string) asks {
	bucket := ""
	if name, ok := strings.CutPrefix(stream, "KV_"); ok {
		bucket = "$KV." + name + "."
	}
	if name, ok := strings.CutPrefix(stream, "OBJ_"); ok {
		bucket = "$O." + name + "."
	}
	return func(subject string) bool {
		if bucket != "" && strings.HasPrefix(subject, bucket) {
			return true
		}
		api, ok := strings.CutPrefix(subject, "$JS.API.")
		if !ok {
			return false
		}
		for token := range strings.SplitSeq(api, ".") {
			if token == stream {
				return true
			}
		}
		return false
	}
}

// denials are those who wait for an answer of NATS.
type denials struct {
	mu      sync.Mutex
	waiting map[*waiter]bool
}

type waiter struct {
	asks   asks
	cancel context.CancelCauseFunc
}

// errDenied is the cause of a context that ended because of a permission violation.
var errDenied = errors.New("not permitted for this user, see the permissions in the configuration of NATS")

// ask runs one request, and makes a permission violation its permanent error at once.
func (b *Bus) ask(ctx context.Context, uses asks, request func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &waiter{asks: uses, cancel: cancel}
	b.denials.mu.Lock()
	b.denials.waiting[w] = true
	b.denials.mu.Unlock()
	defer func() {
		b.denials.mu.Lock()
		delete(b.denials.waiting, w)
		b.denials.mu.Unlock()
	}()
	err := request(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errDenied) {
		return events.Permanent(cause)
	}
	return err
}

// tell interrupts those whom a violation concerns, and reports whether there are any.
func (d *denials) tell(subject string, violation error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	told := false
	for w := range d.waiting {
		if w.asks(subject) {
			w.cancel(fmt.Errorf("%w: %w", errDenied, violation))
			told = true
		}
	}
	return told
}

// asyncError takes what the connection reports outside of any request.
func (b *Bus) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) && b.denials.tell(quoted(err.Error()), err) {
		return
	}
	fields := []zap.Field{zap.Error(err)}
	if sub != nil {
		fields = append(fields, zap.String("subscription", sub.Subject))
	}
	b.log.Error("NATS reports an error", fields...)
}

// quoted is what stands between the first two quotation marks.
func quoted(s string) string {
	_, rest, _ := strings.Cut(s, `"`)
	subject, _, found := strings.Cut(rest, `"`)
	if !found {
		return ""
	}
	return subject
}
