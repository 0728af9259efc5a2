package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// An attempt that ends leaves an outcome; one that kills its worker leaves
// nothing. So before a message is tried that was delivered before, its attempt
// is written down, and struck off when it ends. A message whose attempts
// vanished too often is poison.
//
// A first delivery is not written down, which keeps the usual way fast, except
// shortly after a worker's start: a server that died together with its worker
// may have forgotten that it delivered the message.

const (
	// poisonAfter is how many attempts may vanish.
	poisonAfter = 5
	// suspicion is for how long after its start a worker writes down first deliveries too.
	suspicion = 2 * time.Second
)

// attemptRecord is the value in the table of attempts.
type attemptRecord struct {
	Consumer string    `json:"consumer"`
	Subject  string    `json:"subject"`
	Vanished int       `json:"vanished"` // attempts begun and not ended, the current one included
	Failures int       `json:"failures"`
	Error    string    `json:"error,omitempty"`
	Next     time.Time `json:"next"`
}

func attemptKey(consumer string, origin events.Cause) string {
	return fmt.Sprintf("%s.%s.%d", consumer, origin.Stream, origin.Seq)
}

func (d *delivery) failures() int {
	if d.record == nil {
		return 0
	}
	return d.record.Failures
}

// beginAttempt writes down that a suspicious message is tried, and refuses one that is poison.
func (w *worker) beginAttempt(ctx context.Context, d *delivery) error {
	if d.attempt == 1 && time.Since(w.started) > suspicion {
		return nil
	}
	table := w.bus.Table(TableAttempts)
	key := attemptKey(w.Consumer.Name, d.origin)
	d.record = &attemptRecord{Consumer: w.Consumer.Name, Subject: d.subject}
	value, _, err := table.Get(ctx, key)
	switch {
	case errors.Is(err, events.ErrNotRecorded):
	case err != nil:
		return fmt.Errorf("read earlier attempts: %w", err)
	default:
		if err := json.Unmarshal(value, d.record); err != nil {
			d.log.Warn("passed over the record of earlier attempts", zap.Error(err))
		}
	}
	if d.record.Vanished >= poisonAfter {
		return events.Permanent(fmt.Errorf("killed its worker %d times", d.record.Vanished))
	}
	d.record.Vanished++
	return w.writeRecord(ctx, key, d.record)
}

func (w *worker) writeRecord(ctx context.Context, key string, r *attemptRecord) error {
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the record of attempts: %w", err)
	}
	if err := w.bus.Table(TableAttempts).Put(ctx, key, value); err != nil {
		return fmt.Errorf("record the attempt: %w", err)
	}
	return nil
}

// recordFailure strikes off the attempt as failed, and keeps why and when the next one is.
func (w *worker) recordFailure(ctx context.Context, d *delivery, cause error, delay time.Duration) {
	if d.record == nil {
		d.record = &attemptRecord{Consumer: w.Consumer.Name, Subject: d.subject}
	}
	d.record.Vanished = 0
	d.record.Failures++
	d.record.Error = oneLine(cause.Error())
	d.record.Next = time.Now().Add(delay).UTC()
	if err := w.writeRecord(ctx, attemptKey(w.Consumer.Name, d.origin), d.record); err != nil {
		d.log.Warn("could not record the failure", zap.Error(err))
	}
}

// strikeOff says that an attempt ended without success or failure. Earlier
// failures still count.
func (w *worker) strikeOff(ctx context.Context, d *delivery) {
	if d.failures() == 0 {
		w.forget(ctx, d)
		return
	}
	d.record.Vanished = 0
	if err := w.writeRecord(ctx, attemptKey(w.Consumer.Name, d.origin), d.record); err != nil {
		d.log.Warn("could not strike off the attempt", zap.Error(err))
	}
}

// forget removes the record of a message that is settled.
func (w *worker) forget(ctx context.Context, d *delivery) {
	if d.record == nil {
		return
	}
	if err := w.bus.Table(TableAttempts).Delete(ctx, attemptKey(w.Consumer.Name, d.origin)); err != nil {
		d.log.Warn("could not remove the record of attempts", zap.Error(err))
	}
}

// Attempt is a message that failed and is going to be tried again.
type Attempt struct {
	Consumer string
	Subject  string
	Failures int
	Error    string    // of the last attempt
	Next     time.Time // when the next attempt is due
}

// Retrying lists the messages that failed and are going to be tried again.
func (b *Bus) Retrying(ctx context.Context) ([]Attempt, error) {
	values, err := b.Table(TableAttempts).All(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	var all []Attempt
	for key, value := range values {
		var r attemptRecord
		if json.Unmarshal(value, &r) != nil || r.Failures == 0 {
			continue
		}
		gone, err := b.replaced(ctx, key, r)
		if err != nil {
			return nil, fmt.Errorf("list attempts: %w", err)
		}
		if !gone {
			all = append(all, Attempt{Consumer: r.Consumer, Subject: r.Subject, Failures: r.Failures, Error: r.Error, Next: r.Next})
		}
	}
	return all, nil
}

// replaced reports whether the message of a record is gone from its stream and
// will not be tried again, as only a hook can be. Its record ends with the table's age.
func (b *Bus) replaced(ctx context.Context, key string, r attemptRecord) (bool, error) {
	if streamOfSubject(r.Subject) != events.StreamHooks {
		return false, nil
	}
	if time.Since(r.Next) > hooksAge {
		return true, nil
	}
	seq, err := strconv.ParseUint(key[strings.LastIndexByte(key, '.')+1:], 10, 64)
	if err != nil {
		return false, fmt.Errorf("key %s: %w", key, err)
	}
	err = b.withRetry(ctx, func(ctx context.Context) error {
		_, err := b.get(ctx, events.StreamHooks, getRequest{Seq: seq})
		if errors.Is(err, events.ErrNotRecorded) {
			return events.Permanent(err)
		}
		return err
	})
	if errors.Is(err, events.ErrNotRecorded) {
		return true, nil
	}
	return false, err
}

// oneLine makes a text fit for a header or a line of a table.
func oneLine(s string) string {
	const most = 2000
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
