package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// Hold runs work while holding the lease on key, which no two processes hold at
// once as long as their clocks run: the lease is renewed three times within its
// life of half of AckWait, and ctx of work ends with the cause [events.ErrLost]
// if it could not be.
//
// A lease keeps others away; it does not stop a process that was asleep. What
// must not happen twice is committed with a [events.Fence] besides.
//
// The error wraps [events.ErrHeld] if another holds the lease. Work's own error
// is returned as it is.
func (b *Bus) Hold(ctx context.Context, key string, work func(ctx context.Context) error) error {
	life := max(b.opts.Topology.AckWait/2, 2*time.Second)
	l := &lease{bus: b, key: key, life: life, holder: b.leaseHolder()}
	if err := l.take(ctx); err != nil {
		return fmt.Errorf("take lease %s: %w", key, err)
	}
	held, cancel := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { l.keep(held, cancel) })
	defer l.drop(ctx) // deferred, for work may panic
	defer keeper.Wait()
	defer cancel(context.Canceled)
	return work(held)
}

// lease is one taking of a key, known by its holder's token.
type lease struct {
	bus      *Bus
	kv       jetstream.KeyValue
	key      string
	life     time.Duration
	holder   leaseHolder
	revision uint64
}

// take creates the key, or finds that an earlier try, whose answer was lost, did.
func (l *lease) take(ctx context.Context) error {
	value, err := json.Marshal(l.holder)
	if err != nil {
		return fmt.Errorf("encode holder: %w", err)
	}
	return l.bus.askWithRetry(ctx, askAbout("KV_"+TableLeases), func(ctx context.Context) (err error) {
		if l.kv, err = l.bus.bucket(ctx, TableLeases); err != nil {
			return err
		}
		l.revision, err = l.kv.Create(ctx, l.key, value, jetstream.KeyTTL(l.life))
		if !errors.Is(conflict(err), events.ErrConflict) {
			return err
		}
		if l.ours(ctx) {
			return nil
		}
		return events.Permanent(events.ErrHeld)
	})
}

// ours reports whether the key names this very taking, and follows its revision.
func (l *lease) ours(ctx context.Context) bool {
	entry, err := l.kv.Get(ctx, l.key)
	if err != nil {
		return false
	}
	var holder leaseHolder
	if json.Unmarshal(entry.Value(), &holder) != nil || holder.Token != l.holder.Token {
		return false
	}
	l.revision = entry.Revision()
	return true
}

type leaseHolder struct {
	Service string    `json:"service"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
	Token   string    `json:"token"`
}

func (b *Bus) leaseHolder() leaseHolder {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return leaseHolder{Service: b.opts.Service, Host: host, PID: os.Getpid(), Since: time.Now().UTC(), Token: nuid.Next()}
}

// keep renews the lease until ctx ends, or until it is lost. It publishes by hand
// because the client's Update drops the life of the key.
func (l *lease) keep(ctx context.Context, lose context.CancelCauseFunc) {
	value, err := json.Marshal(l.holder)
	if err != nil {
		lose(fmt.Errorf("%w: %w", events.ErrLost, err))
		return
	}
	expires := time.Now().Add(l.life)
	tick := time.NewTicker(l.life / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sent := time.Now()
		err := l.renew(ctx, value)
		switch {
		case err == nil:
			expires = sent.Add(l.life)
		case ctx.Err() != nil:
		case errors.Is(err, events.ErrHeld), time.Now().Add(l.life / 3).After(expires):
			l.bus.log.Warn("lease lost", zap.String("key", l.key), zap.Error(err))
			lose(fmt.Errorf("%w: %s: %w", events.ErrLost, l.key, err))
			return
		}
	}
}

func (l *lease) renew(ctx context.Context, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, l.life/3)
	defer cancel()
	ack, err := l.bus.js.PublishMsg(ctx, &nats.Msg{Subject: "$KV." + TableLeases + "." + l.key, Data: value},
		jetstream.WithExpectLastSequencePerSubject(l.revision), jetstream.WithMsgTTL(l.life))
	switch {
	case err == nil:
		l.revision = ack.Sequence
	case hasCode(err, codeWrongLastSequence) && !l.ours(ctx):
		return fmt.Errorf("%w: %w", events.ErrHeld, err)
	}
	return err
}

// drop gives the lease back, unless it is another's by now; else it ends by itself.
func (l *lease) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
	defer cancel()
	if err := l.kv.Purge(ctx, l.key, jetstream.LastRevision(l.revision), jetstream.PurgeTTL(time.Minute)); err != nil {
		l.bus.log.Debug("lease not given back, it ends by itself", zap.String("key", l.key), zap.Error(err))
	}
}
