package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Service is one process of a service that answers.
type Service struct {
	Name      string // tagwatch, builder, releaser or cdnpush
	ID        string // of the process, as in "nats micro ls"
	Version   string
	Host      string
	Consumers []string // that it works for, each as STREAM/name
}

// How long to wait for answers to a question that anybody may answer: nobody
// knows how many there are, so listening ends when it has become quiet.
const (
	firstAnswer = time.Second
	quiet       = 200 * time.Millisecond
)

// Services lists the processes that answer at this moment, by name and host. It
// takes a fraction of a second, and a second if none answers.
func (b *Bus) Services(ctx context.Context) ([]Service, error) {
	inbox := b.nc.NewInbox()
	answers, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask for services: %w", err)
	}
	defer func() {
		// The subscription ends with the connection at the latest.
		_ = answers.Unsubscribe()
	}()
	ping, err := micro.ControlSubject(micro.PingVerb, "", "")
	if err != nil {
		return nil, fmt.Errorf("ask for services: %w", err)
	}
	if err := b.nc.PublishRequest(ping, inbox, nil); err != nil {
		return nil, fmt.Errorf("ask for services: %w", err)
	}
	var all []Service
	for patience := firstAnswer; ; patience = quiet {
		msg, err := nextWithin(ctx, answers, patience)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("ask for services: %w", context.Cause(ctx))
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrNoResponders):
			slices.SortFunc(all, func(a, b Service) int {
				return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Host, b.Host), strings.Compare(a.ID, b.ID))
			})
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("ask for services: %w", err)
		}
		if s, ok := parseService(msg.Data); ok {
			all = append(all, s)
		}
	}
}

func nextWithin(ctx context.Context, answers *nats.Subscription, patience time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return answers.NextMsgWithContext(ctx)
}

// parseService tells Tagship's services from others on the same NATS by the
// consumers they work for.
func parseService(answer []byte) (Service, bool) {
	var p micro.Ping
	if json.Unmarshal(answer, &p) != nil {
		return Service{}, false
	}
	s := Service{Name: p.Name, ID: p.ID, Version: p.Version, Host: p.Metadata["host"]}
	for key, value := range p.Metadata {
		if strings.HasPrefix(key, "consumer_") {
			s.Consumers = append(s.Consumers, value)
		}
	}
	slices.Sort(s.Consumers)
	return s, len(s.Consumers) > 0
}
