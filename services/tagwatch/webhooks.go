package tagwatch

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"github.com/tagship/tagship/services/tagwatch/internal/webhook"
)

// serveWebhooks serves the routes that git servers call.
func serveWebhooks(cfg Config, watcher *watch.Watcher, rt daemon.Runtime) error {
	deliveries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tagship_tagwatch_webhooks_total", Help: "Deliveries of webhooks, by what became of them.",
	}, []string{"event", "outcome"})
	if err := rt.Metrics.Register(deliveries); err != nil {
		return fmt.Errorf("register the metrics of webhooks: %w", err)
	}
	options := webhook.Options{
		Store: func(ctx context.Context, hook *events.Hook) error {
			_, err := rt.Bus.Hint(ctx, hook)
			return err
		},
		Count: func(event, outcome string) { deliveries.WithLabelValues(event, outcome).Inc() },
		Log:   rt.Log,
	}
	watches := func(host, id, name string) bool {
		return watcher.WatchesRepo(host, watch.Repo{ID: id, Name: name})
	}
	rt.Mux.Handle("POST /webhooks/look/{app...}", webhook.NewLook(reveal(cfg.WebhookSecrets), watcher.Watches, options))
	rt.Mux.Handle("POST /webhooks/github", webhook.NewGitHub(webhookHosts(cfg), watches, options))
	return nil
}

func webhookHosts(cfg Config) []webhook.Host {
	var all []webhook.Host
	for name, hub := range cfg.hubs() {
		all = append(all, webhook.Host{Name: name, Secrets: reveal(hub.WebhookSecrets)})
	}
	return all
}
