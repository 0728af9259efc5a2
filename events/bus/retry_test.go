package bus

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
)

// TestWithRetry runs in synthetic time.
func TestWithRetry(t *testing.T) {
	t.Parallel()
	api := func(status int, code jetstream.ErrorCode) error {
		return &jetstream.APIError{Code: status, ErrorCode: code}
	}
	for name, c := range map[string]struct {
		fail  error
		final bool
	}{
		"permanent":             {events.Permanent(errors.New("no")), true},
		"closed":                {nats.ErrConnectionClosed, true},
		"invalid key":           {jetstream.ErrInvalidKey, true},
		"wrong last sequence":   {api(400, codeWrongLastSequence), true},
		"write in flight":       {api(400, codeWriteInFlight), false},
		"duplicate in progress": {api(409, codeDuplicateInProgress), false},
		"too many requests":     {api(429, 10167), false},
		"no quorum":             {api(503, 10008), false},
		"nobody answers":        {nats.ErrNoResponders, false},
		"lost race":             {errTaken, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			tries, began := 0, time.Now()
			err := (&Bus{}).withRetry(t.Context(), func(context.Context) error {
				tries++
				return c.fail
			})
			took := time.Since(began)
			if !errors.Is(err, c.fail) {
				t.Errorf("%s: wanted %v, saw %v", name, c.fail, err)
			}
			if c.final && tries != 1 {
				t.Errorf("%s: wanted one try, saw %d", name, tries)
			}
			if !c.final && (tries < 10 || took < trouble-5*time.Second || took > trouble+5*time.Second) {
				t.Errorf("%s: wanted tries for %s, saw %d in %s", name, trouble, tries, took)
			}
		})
	}
}

func TestWithRetryErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		if err := (&Bus{}).withRetry(t.Context(), hang); !errors.Is(err, errNoAnswer) {
			t.Errorf("no answer: wanted an error that says so, saw %v", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(events.ErrShutdown) })
		if err := (&Bus{}).withRetry(ctx, hang); !errors.Is(err, events.ErrShutdown) || strings.Contains(err.Error(), "canceled") {
			t.Errorf("ctx ended in a try: wanted its cause alone, saw %v", err)
		}
		ctx, cancel = context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(events.ErrShutdown) })
		err := (&Bus{}).withRetry(ctx, func(context.Context) error { return nats.ErrNoResponders })
		if !errors.Is(err, events.ErrShutdown) || !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("ctx ended between tries: wanted its cause and the last error, saw %v", err)
		}
	})
}

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{0: retryFirst, 1: 2 * retryFirst, 5: 32 * retryFirst, 20: retryMost, 1 << 20: retryMost} {
		if got := retryDelay(failures); got < want*8/10 || got > want*12/10 {
			t.Errorf("after %d failures: wanted about %s, saw %s", failures, want, got)
		}
	}
}

func TestRedactURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"nats://127.0.0.1:4222":                     "nats://127.0.0.1:4222",
		"nats://ann:p@ss@a:4222,tls://token@b:4222": "nats://[redacted]@a:4222,tls://[redacted]@b:4222",
		"ann:secret@a:4222":                         "nats://[redacted]@a:4222",
	} {
		if got := redactURL(url); got != want {
			t.Errorf("%s: wanted %s, saw %s", url, want, got)
		}
	}
}
