package tagwatch

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/tagwatch/internal/webhook"
)

// serveWebhooks serves the routes that git servers call.
func serveWebhooks(rt daemon.Runtime, watches func(app string) bool) error {
	deliveries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tagship_tagwatch_webhooks_total", Help: "Deliveries of webhooks, by what became of them.",
	}, []string{"event", "outcome"})
	if err := rt.Metrics.Register(deliveries); err != nil {
		return fmt.Errorf("register the metrics of webhooks: %w", err)
	}
	options := webhook.Options{
		Store: func(ctx context.Context, hook *events.Hook) error {
			_, err := rt.Bus.Request(ctx, events.NewRequest(events.TagRequested, "", hook.App, "", hook.By))
			return err
		},
		Count: func(event, outcome string) { deliveries.WithLabelValues(event, outcome).Inc() },
		Log:   rt.Log,
	}
	rt.Mux.Handle("POST /webhooks/look/{app...}", webhook.NewLook(nil, watches, options))
	return nil
}
