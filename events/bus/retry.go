package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
)

// trouble is how long an operation is tried again while NATS does not answer or
// has no quorum: longer than a leader election and than the restart of a node.
const trouble = 30 * time.Second

// Codes of the JetStream API that decide what is done next (nats-server,
// server/errors.json). The client has names for some only.
const (
	codeWrongLastSequence   jetstream.ErrorCode = 10071 // another message was stored first
	codeWriteInFlight       jetstream.ErrorCode = 10164 // another message is being stored; nobody has won yet
	codeDuplicateInProgress jetstream.ErrorCode = 10158 // the same message id is being stored
	codeNoMessage           jetstream.ErrorCode = 10037
	codeNoPeers             jetstream.ErrorCode = 10005 // too few servers: a cluster that starts has yet to find itself
)

func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	for _, code := range codes {
		if api.ErrorCode == code {
			return true
		}
	}
	return false
}

// lasting reports whether trying again cannot help.
func lasting(err error) bool {
	if events.IsPermanent(err) {
		return true
	}
	for _, final := range []error{
		nats.ErrConnectionClosed, nats.ErrMaxPayload, nats.ErrBadSubject, nats.ErrInvalidMsg,
		jetstream.ErrInvalidKey, jetstream.ErrInvalidBucketName, jetstream.ErrInvalidStreamName, jetstream.ErrInvalidConsumerName, jetstream.ErrInvalidSubject,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.ErrorCode == codeDuplicateInProgress || api.ErrorCode == codeWriteInFlight || api.ErrorCode == codeNoPeers {
		return false
	}
	// 408 and 429 pass; any other 4xx says that the request itself is wrong.
	return api.Code >= 400 && api.Code < 500 && api.Code != 408 && api.Code != 429
}

// askWithRetry is withRetry for a request that NATS may not permit.
func (b *Bus) askWithRetry(ctx context.Context, uses asks, op func(context.Context) error) error {
	return b.withRetry(ctx, func(ctx context.Context) error { return b.ask(ctx, uses, op) })
}

// withRetry runs one operation, each try bounded by apiTimeout, until it
// succeeds, fails for good, ctx ends, or the trouble has lasted too long.
func (b *Bus) withRetry(ctx context.Context, op func(context.Context) error) error {
	policy := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second),
		backoff.WithMaxElapsedTime(trouble),
	)
	var last error
	err := backoff.Retry(func() error {
		if last = try(ctx, op); last != nil && lasting(last) {
			return backoff.Permanent(last)
		}
		return last
	}, backoff.WithContext(policy, ctx))
	if err == nil || ctx.Err() == nil || lasting(last) {
		return err
	}
	// Why ctx ended says more than that it did.
	cause := context.Cause(ctx)
	if last == nil || errors.Is(last, ctx.Err()) {
		return cause
	}
	return fmt.Errorf("%w (%w)", last, cause)
}

func try(ctx context.Context, op func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, apiTimeout, errNoAnswer)
	defer cancel()
	err := op(ctx)
	if errors.Is(err, context.DeadlineExceeded) && errors.Is(context.Cause(ctx), errNoAnswer) {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return err
}

var errNoAnswer = fmt.Errorf("NATS did not answer within %s", apiTimeout)
