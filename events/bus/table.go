package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
)

// Table is a bucket of keys and values. Keys are tokens as [events.Escape] makes
// them, joined by dots. It is safe for concurrent use.
type Table struct {
	bus  *Bus
	name string
}

// Table returns one of the tables of the topology.
func (b *Bus) Table(name string) *Table { return &Table{bus: b, name: name} }

// do binds to the bucket and runs one operation on it.
func (t *Table) do(ctx context.Context, op func(context.Context, jetstream.KeyValue) error) error {
	return t.bus.askWithRetry(ctx, askAbout("KV_"+t.name), func(ctx context.Context) error {
		bucket, err := t.bus.bucket(ctx, t.name)
		if err != nil {
			return err
		}
		return op(ctx, bucket)
	})
}

// bucket binds to a bucket once per connection.
func (b *Bus) bucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	if bound, ok := b.buckets.Load(name); ok {
		return bound.(jetstream.KeyValue), nil
	}
	bucket, err := b.js.KeyValue(ctx, name)
	if err != nil {
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			return nil, missing(jetstream.ErrStreamNotFound, "bucket", name)
		}
		return nil, fmt.Errorf("look up bucket %s: %w", name, err)
	}
	b.buckets.Store(name, bucket)
	return bucket, nil
}

// Get returns a value and its revision. The error wraps [events.ErrNotRecorded] if there is none.
func (t *Table) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	err = t.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		entry, err := kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return events.Permanent(events.ErrNotRecorded)
		}
		if err != nil {
			return err
		}
		value, revision = entry.Value(), entry.Revision()
		return nil
	})
	return value, revision, t.wrap(err, "get", key)
}

// Put sets a value, whatever was there.
func (t *Table) Put(ctx context.Context, key string, value []byte) error {
	return t.wrap(t.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Put(ctx, key, value)
		return err
	}), "put", key)
}

// Create sets a value where there is none. The error wraps [events.ErrConflict] if there is one.
func (t *Table) Create(ctx context.Context, key string, value []byte) error {
	return t.wrap(t.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Create(ctx, key, value)
		return conflict(err)
	}), "create", key)
}

// Update sets a value if its revision is still the given one. The error wraps
// [events.ErrConflict] if it is not.
func (t *Table) Update(ctx context.Context, key string, value []byte, revision uint64) error {
	return t.wrap(t.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Update(ctx, key, value, revision)
		return conflict(err)
	}), "update", key)
}

// Delete removes a value, if it is there.
func (t *Table) Delete(ctx context.Context, key string) error {
	return t.wrap(t.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		return kv.Purge(ctx, key)
	}), "delete", key)
}

// All returns the values whose keys begin with the given tokens; all of them for "".
func (t *Table) All(ctx context.Context, prefix string) (map[string][]byte, error) {
	filter := ">"
	if prefix != "" {
		filter = prefix + ".>"
	}
	var values map[string][]byte
	err := t.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		values = map[string][]byte{}
		watch, err := kv.Watch(ctx, filter, jetstream.IgnoreDeletes())
		if err != nil {
			return err
		}
		defer func() {
			// The subscription ends with the connection at the latest.
			_ = watch.Stop()
		}()
		for {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case entry := <-watch.Updates():
				if entry == nil {
					return nil
				}
				values[entry.Key()] = entry.Value()
			}
		}
	})
	return values, t.wrap(err, "list", prefix)
}

// conflict names what the client reports for both a lost race and one in flight.
func conflict(err error) error {
	if errors.Is(err, jetstream.ErrKeyExists) || hasCode(err, codeWrongLastSequence) {
		return events.Permanent(fmt.Errorf("%w: %w", events.ErrConflict, err))
	}
	return err
}

func (t *Table) wrap(err error, verb, key string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s in table %s: %w", verb, key, t.name, err)
}
