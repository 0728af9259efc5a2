// Package webhook receives the calls of git servers' webhooks, and turns them
// into hints. A hint is never believed: all that a call can do is to make
// somebody look. So a delivery is checked, stored and answered, and nothing else
// is waited for.
package webhook

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

const (
	// maxBody is what GitHub sends at most, 25 MB, and some more.
	maxBody = 26 << 20
	// patience is how long a body may take to arrive. GitHub gives up after 10 s.
	patience = 10 * time.Second
	// storeWithin is how long storing may take, counted from the end of the body,
	// so that every call is answered within a second of it.
	storeWithin = 800 * time.Millisecond
	// retryAfter is what those are told who come when there is no room or no queue.
	retryAfter = 10 * time.Second
)

// What becomes of a delivery, as Count is told.
const (
	Stored      = "stored"       // the hint is in the queue
	Ignored     = "ignored"      // nothing that a tag hangs on
	Unwatched   = "unwatched"    // about a repository or an app that nobody watches
	Ping        = "ping"         // the server tried whether somebody is there
	Disabled    = "disabled"     // no secrets are set
	Unsigned    = "unsigned"     // the signature is missing or wrong
	Malformed   = "malformed"    // what is needed of it cannot be read
	Unsupported = "unsupported"  // a content type that no webhook has
	TooLarge    = "too_large"    // the body is larger than any that GitHub sends
	Incomplete  = "incomplete"   // the body did not arrive
	Busy        = "busy"         // too many large bodies at once
	QueueFailed = "queue_failed" // the hint could not be stored
)

// Options are what both handlers need. All functions may be called concurrently.
type Options struct {
	// Store puts a hint into the queue. It returns when its context ends.
	Store func(ctx context.Context, hook *events.Hook) error
	// Count is told of every delivery: its event, which is one of few words, and what became of it.
	Count func(event, outcome string)
	Log   *zap.Logger
}

// answer is what a caller is told, and others about the call. Its text holds
// nothing of the body but names.
type answer struct {
	status  int
	outcome string
	text    string
	err     error // what went wrong on this side; logged only
}

// tell answers with a text for people.
func tell(status int, outcome, format string, args ...any) *answer {
	return &answer{status: status, outcome: outcome, text: fmt.Sprintf(format, args...)}
}

// store puts the hint into the queue. A caller that has hung up meanwhile does
// not stop it: nobody would deliver the hint again.
func (o *Options) store(ctx context.Context, hook *events.Hook, arrived time.Time) *answer {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), arrived.Add(storeWithin))
	defer cancel()
	if err := o.Store(ctx, hook); err != nil {
		return &answer{http.StatusServiceUnavailable, QueueFailed, "the queue does not answer, try again", err}
	}
	return &answer{http.StatusAccepted, Stored, "stored", nil}
}

// give answers a delivery, counts it, and logs it if it is refused.
func (o *Options) give(w http.ResponseWriter, r *http.Request, event string, a *answer) {
	o.Count(event, a.outcome)
	if a.status >= 400 {
		o.Log.Warn("a webhook's delivery is refused", zap.Int("status", a.status), zap.String("outcome", a.outcome),
			zap.String("reason", a.text), zap.Error(a.err), zap.String("event", event),
			zap.String("delivery", delivery(r)), zap.String("from", r.RemoteAddr))
	}
	if a.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	fmt.Fprintln(w, a.text) // whoever has hung up needs no answer
}

// maxDelivery is more than a server's name for a call has, which is a UUID.
const maxDelivery = 64

// delivery is the server's own name for the call; empty if it is none that can be repeated as it is.
func delivery(r *http.Request) string {
	id := r.Header.Get("X-GitHub-Delivery")
	if len(id) > maxDelivery {
		return ""
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return ""
		}
	}
	return id
}
