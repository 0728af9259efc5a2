package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// outcome is what became of one delivery of a message.
type outcome string

const (
	outcomeDone       outcome = "done"
	outcomeSkipped    outcome = "skipped"
	outcomeSnoozed    outcome = "snoozed"
	outcomeRetried    outcome = "retried"
	outcomeDead       outcome = "dead"
	outcomeHandedBack outcome = "handed_back"
	// outcomeUnsettled means that NATS did not take the outcome: the message
	// comes back after AckWait.
	outcomeUnsettled outcome = "unsettled"
)

func outcomes() []outcome {
	return []outcome{outcomeDone, outcomeSkipped, outcomeSnoozed, outcomeRetried, outcomeDead, outcomeHandedBack, outcomeUnsettled}
}

const (
	retryFirst = time.Second
	retryMost  = 5 * time.Minute
	// triesAtLeast are made before a message's age counts against it: a message
	// that waited long in the queue deserves its tries like any other.
	triesAtLeast = 3
)

// settle is the one place where the outcome of a handler becomes an
// acknowledgement: facts first, then the dead letter if there is one, the
// acknowledgement last.
//
//	facts, nil     publish, acknowledge
//	Skip           publish, acknowledge
//	Snooze         back after the delay
//	Permanent      publish, facts of GaveUp, dead letter, terminate
//	other error    back with growing delay; when too old, as Permanent
//	shutting down  back at once, for another replica
func (w *worker) settle(work context.Context, d *delivery, facts []events.Fact, err error) outcome {
	ctx, cancel := settling(work)
	defer cancel()
	if err != nil && errors.Is(context.Cause(work), events.ErrShutdown) {
		d.log.Info("handed back: shutting down")
		w.strikeOff(ctx, d)
		return w.handBack(d.msg)
	}
	delay, snoozeReason, snoozed := events.IsSnooze(err)
	skipReason, skipped := events.IsSkip(err)
	if err == nil || skipped || events.IsPermanent(err) {
		if publishErr := w.publishAll(ctx, facts); publishErr != nil {
			err, skipped, snoozed = publishErr, false, false
		}
	}
	switch {
	case err == nil:
		d.log.Info("done", zap.Int("facts", len(facts)))
		return w.close(ctx, d, outcomeDone)
	case skipped:
		d.log.Info("nothing to do", zap.String("reason", skipReason))
		return w.close(ctx, d, outcomeSkipped)
	case snoozed:
		d.log.Debug("later", zap.String("reason", snoozeReason), zap.Duration("in", delay))
		w.strikeOff(ctx, d)
		return w.putBack(d, delay, outcomeSnoozed)
	case events.IsPermanent(err), w.tooOld(d):
		return w.bury(ctx, d, err)
	}
	return w.retry(ctx, d, err)
}

// settling returns a context for what must still be done when work is over. It
// outlives work by one request to NATS, so that a process stops in time while
// NATS is away: the message then comes again.
func settling(work context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(work))
	stop := context.AfterFunc(work, func() {
		time.AfterFunc(apiTimeout, func() { cancel(context.Cause(work)) })
	})
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

func (w *worker) publishAll(ctx context.Context, facts []events.Fact) error {
	for _, f := range facts {
		if _, err := w.bus.Publish(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// close acknowledges a message, having waited for the server's word.
func (w *worker) close(ctx context.Context, d *delivery, result outcome) outcome {
	if !w.acknowledge(ctx, d.msg) {
		return outcomeUnsettled
	}
	w.forget(ctx, d)
	return result
}

func (w *worker) acknowledge(ctx context.Context, msg jetstream.Msg) bool {
	w.bus.crash.at("ack.before", w.Consumer.Name)
	if err := w.bus.withRetry(ctx, msg.DoubleAck); err != nil {
		w.log.Warn("acknowledgement not confirmed, the message will come again", zap.String("subject", msg.Subject()), zap.Error(err))
		return false
	}
	w.bus.crash.at("ack.after", w.Consumer.Name)
	return true
}

func (w *worker) handBack(msg jetstream.Msg) outcome {
	if err := msg.Nak(); err != nil {
		return outcomeUnsettled
	}
	return outcomeHandedBack
}

func (w *worker) putBack(d *delivery, delay time.Duration, result outcome) outcome {
	if err := d.msg.NakWithDelay(delay); err != nil {
		d.log.Warn("could not put the message back, it will come again", zap.Error(err))
		return outcomeUnsettled
	}
	return result
}

func (w *worker) tooOld(d *delivery) bool {
	return time.Since(d.time) > w.GiveUp && d.failures()+1 >= triesAtLeast
}

func (w *worker) retry(ctx context.Context, d *delivery, err error) outcome {
	delay := retryDelay(d.failures())
	d.log.Warn("failed, will be tried again", zap.Error(err), zap.Duration("in", delay))
	w.recordFailure(ctx, d, err, delay)
	return w.putBack(d, delay, outcomeRetried)
}

// retryDelay doubles with every failure and varies by a fifth, so that what
// failed together is not tried again together.
func retryDelay(failures int) time.Duration {
	delay := retryMost
	if failures < 16 {
		delay = min(retryFirst<<failures, retryMost)
	}
	return time.Duration(float64(delay) * (0.8 + 0.4*rand.Float64()))
}

// bury gives up on a message: the facts that say so, the dead letter, and only
// then the end of the message. If any of it cannot be stored now, the message
// stays; facts that can never be stored do not keep back the dead letter.
func (w *worker) bury(ctx context.Context, d *delivery, reason error) outcome {
	err := w.publishAll(ctx, w.lastWords(d, reason))
	if err != nil && lasting(err) && ctx.Err() == nil {
		d.log.Error("nobody is told that the message is given up on", zap.Error(err))
		err = nil
	}
	if err == nil {
		err = w.bus.publishDead(ctx, w.deadLetter(d, reason))
	}
	if err != nil {
		return w.retry(ctx, d, fmt.Errorf("%w; and it could not be given up on: %w", reason, err))
	}
	d.log.Error("given up on, see 'tagship dead list'", zap.NamedError("reason", reason))
	if err := w.terminate(ctx, d.msg, oneLine(reason.Error())); err != nil {
		d.log.Warn("the end of the message was not confirmed, it will come again", zap.Error(err))
		return outcomeUnsettled
	}
	w.forget(ctx, d)
	return outcomeDead
}

// terminate ends a message and waits for the server's word, which the client's
// TermWithReason does not.
func (w *worker) terminate(ctx context.Context, msg jetstream.Msg, reason string) error {
	return w.bus.withRetry(ctx, func(ctx context.Context) error {
		_, err := w.bus.nc.RequestWithContext(ctx, msg.Reply(), []byte("+TERM "+reason))
		return err
	})
}

func (w *worker) lastWords(d *delivery, reason error) []events.Fact {
	if w.GaveUp == nil || d.event == nil {
		return nil
	}
	return w.GaveUp(d.event, reason)
}
