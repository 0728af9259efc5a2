package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
)

// Lag is how far one consumer is behind.
type Lag struct {
	Consumer string
	Stream   string
	Waiting  uint64        // not delivered yet
	InWork   int           // delivered and not settled, those that wait for their next attempt included
	Retrying int           // failed, and to be tried again
	Oldest   time.Duration // age of the oldest message that is not settled; 0 if all are
	Workers  int           // idle workers: requests for a message that wait at the server
}

// Lags tells the lag of every durable consumer of the pipeline, in the order of
// the streams.
func (b *Bus) Lags(ctx context.Context) ([]Lag, error) {
	retrying, err := b.Retrying(ctx)
	if err != nil {
		return nil, err
	}
	var all []Lag
	for _, name := range []string{events.StreamHooks, events.StreamTags, events.StreamBuilds, events.StreamReleases, events.StreamCDN} {
		lags, err := b.lagsOf(ctx, name, retrying)
		if err != nil {
			return nil, fmt.Errorf("list consumers of %s: %w", name, err)
		}
		all = append(all, lags...)
	}
	return all, nil
}

func (b *Bus) lagsOf(ctx context.Context, name string, retrying []Attempt) ([]Lag, error) {
	var lags []Lag
	err := b.askWithRetry(ctx, askAbout(name), func(ctx context.Context) error {
		lags = nil
		stream, err := b.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return missing(err, "stream", name)
		}
		if err != nil {
			return err
		}
		lister := stream.ListConsumers(ctx)
		for info := range lister.Info() {
			if info.Config.Durable == "" {
				continue // somebody reads the record
			}
			lag, err := b.lagOf(ctx, info, retrying)
			if err != nil {
				return err
			}
			lags = append(lags, lag)
		}
		return lister.Err()
	})
	slices.SortFunc(lags, func(a, b Lag) int { return strings.Compare(a.Consumer, b.Consumer) })
	return lags, err
}

func (b *Bus) lagOf(ctx context.Context, info *jetstream.ConsumerInfo, retrying []Attempt) (Lag, error) {
	lag := Lag{
		Consumer: info.Name, Stream: info.Stream,
		Waiting: info.NumPending, InWork: info.NumAckPending, Workers: info.NumWaiting,
	}
	for _, a := range retrying {
		if a.Consumer == info.Name && streamOfSubject(a.Subject) == info.Stream {
			lag.Retrying++
		}
	}
	if lag.Waiting == 0 && lag.InWork == 0 {
		return lag, nil
	}
	filters := info.Config.FilterSubjects
	if info.Config.FilterSubject != "" {
		filters = []string{info.Config.FilterSubject}
	}
	for _, filter := range filters {
		raw, err := b.get(ctx, info.Stream, getRequest{Seq: info.AckFloor.Stream + 1, NextBySubject: filter})
		if errors.Is(err, events.ErrNotRecorded) {
			continue
		}
		if err != nil {
			return lag, err
		}
		lag.Oldest = max(lag.Oldest, time.Since(raw.Time))
	}
	return lag, nil
}

func streamOfSubject(subject string) string {
	stream, err := streamOf(subject)
	if err != nil {
		return ""
	}
	return stream
}
