package bus

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
)

// Follow returns the facts that match a filter and were stored since a time,
// oldest first, and waits for more until ctx ends. Garbage is passed over.
func (b *Bus) Follow(ctx context.Context, filter string, since time.Time) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since}
		for raw, err := range b.messages(ctx, cfg, true) {
			if err != nil {
				yield(events.Recorded{}, fmt.Errorf("follow %s: %w", filter, err))
				return
			}
			r, err := recorded(raw)
			if err != nil {
				continue
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}
