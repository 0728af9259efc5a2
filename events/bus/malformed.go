package bus

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
)

// Malformed is a message on a fact's subject that is no fact: somebody stored it
// by hand. Workers give up on those they are handed; of the others only the
// record knows.
type Malformed struct {
	Origin  events.Cause
	Subject string
	Time    time.Time
	Error   string
}

// Malformed lists the subjects of facts whose newest message is no fact. Requests
// are not among them, for they are answered.
func (b *Bus) Malformed(ctx context.Context) ([]Malformed, error) {
	var all []Malformed
	for _, filter := range []string{"tag.>", "build.>", "release.>", "cdn.>"} {
		stream, err := streamOf(filter)
		if err != nil {
			return nil, err
		}
		cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy}
		for raw, err := range b.messages(ctx, cfg, false) {
			if err != nil {
				return nil, fmt.Errorf("look for malformed messages on %s: %w", filter, err)
			}
			if strings.Count(raw.Subject, ".") < 2 {
				continue
			}
			if _, err := events.Decode(raw.Subject, raw.Data); err != nil {
				all = append(all, Malformed{
					Origin: events.Cause{Stream: stream, Seq: raw.Seq}, Subject: raw.Subject, Time: raw.Time,
					Error: oneLine(strings.TrimPrefix(err.Error(), events.ErrMalformed.Error()+": ")),
				})
			}
		}
	}
	return all, nil
}
