package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go/micro"
	"go.uber.org/zap"
)

// Stats is what a service says of its workers, in "nats micro info" and "nats
// micro stats --json", and on the endpoint svc.<service>.status (ADR-32).
type Stats struct {
	Consumer   string     `json:"consumer"`
	Stream     string     `json:"stream"`
	InFlight   int64      `json:"in_flight"`
	Done       int64      `json:"done"`
	Skipped    int64      `json:"skipped"`
	Failed     int64      `json:"failed"` // attempts that ended in an error, given up or not
	Retried    int64      `json:"retried"`
	Snoozed    int64      `json:"snoozed"`
	Dead       int64      `json:"dead"`
	LastDone   *time.Time `json:"last_done,omitempty"`
	Lag        *uint64    `json:"lag,omitempty"` // messages not delivered yet, to any replica
	AckPending *int       `json:"ack_pending,omitempty"`
}

// Stats returns the numbers of this process's workers, and the lag of their consumers.
func (b *Bus) Stats(ctx context.Context) []Stats {
	var all []Stats
	for _, s := range b.stats.all() {
		one := Stats{
			Consumer: s.consumer.Name, Stream: s.consumer.Stream, InFlight: s.inFlight.Load(),
			Done: s.count[outcomeDone].Load(), Skipped: s.count[outcomeSkipped].Load(),
			Failed:  s.count[outcomeRetried].Load() + s.count[outcomeDead].Load(),
			Retried: s.count[outcomeRetried].Load(), Snoozed: s.count[outcomeSnoozed].Load(), Dead: s.count[outcomeDead].Load(),
		}
		if last := s.lastDone.Load(); last > 0 {
			at := time.Unix(0, last).UTC()
			one.LastDone = &at
		}
		if c, err := b.js.Consumer(ctx, s.consumer.Stream, s.consumer.Name); err == nil {
			info := c.CachedInfo()
			one.Lag, one.AckPending = &info.NumPending, &info.NumAckPending
		}
		all = append(all, one)
	}
	return all
}

// announce makes the service answer "nats micro ls|info|stats" until left.
func (b *Bus) announce(consumers []Consumer) (leave func(), err error) {
	numbers := func() []Stats {
		// Kept short: whoever asks waits for a fraction of a second only.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return b.Stats(ctx)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	metadata := map[string]string{"host": host, "pid": fmt.Sprint(os.Getpid())}
	for i, c := range consumers {
		metadata[fmt.Sprintf("consumer_%d", i)] = c.Stream + "/" + c.Name
	}
	service, err := micro.AddService(b.nc, micro.Config{
		Name: b.opts.Service, Version: b.opts.Version, Description: "Tagship " + b.opts.Service, Metadata: metadata,
		StatsHandler: func(*micro.Endpoint) any { return numbers() },
	})
	if err != nil {
		return nil, fmt.Errorf("announce service %s: %w", b.opts.Service, err)
	}
	err = service.AddGroup("svc."+b.opts.Service).AddEndpoint("status", micro.HandlerFunc(func(r micro.Request) {
		body, err := json.Marshal(numbers())
		if err != nil {
			err = r.Error("500", err.Error(), nil)
		} else {
			err = r.Respond(body)
		}
		if err != nil {
			b.log.Debug("could not answer a question for the status", zap.Error(err))
		}
	}))
	if err != nil {
		return nil, fmt.Errorf("announce service %s: %w", b.opts.Service, err)
	}
	return func() {
		if err := service.Stop(); err != nil {
			b.log.Debug("could not take leave", zap.Error(err))
		}
	}, nil
}
