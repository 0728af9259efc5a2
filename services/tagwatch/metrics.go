package tagwatch

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// registerMetrics exposes what sweeps cost, and what is left of budgets.
func registerMetrics(registry prometheus.Registerer, watcher *watch.Watcher) error {
	if err := registry.Register(newHostMetrics(watcher.Sweeps)); err != nil {
		return fmt.Errorf("register the metrics of hosts: %w", err)
	}
	return nil
}

// hostMetrics collects what the watcher knows of hosts when it is asked.
type hostMetrics struct {
	sweeps func() []watch.HostStatus

	last, took, repositories, failed, requests, points *prometheus.Desc
	limit, remaining, reset, blocked, made, spent      *prometheus.Desc
}

func newHostMetrics(sweeps func() []watch.HostStatus) *hostMetrics {
	host := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("tagship_tagwatch_"+name, help, []string{"host"}, nil)
	}
	budget := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("tagship_tagwatch_"+name, help, []string{"host", "credential", "resource"}, nil)
	}
	return &hostMetrics{
		sweeps:       sweeps,
		last:         host("sweep_last_seconds", "When the last sweep of this process began, Unix time."),
		took:         host("sweep_seconds", "How long the last sweep took."),
		repositories: host("sweep_repositories", "Repositories that the last sweep asked for."),
		failed:       host("sweep_failed", "Repositories that cannot be listed, or not settled, at present."),
		requests:     host("sweep_requests", "Requests that the last sweep made."),
		points:       host("sweep_points", "Points of the budget that the last sweep cost."),
		limit:        budget("budget_limit", "Points that the credential has in an hour."),
		remaining:    budget("budget_remaining", "Points that are left of it."),
		reset:        budget("budget_reset_seconds", "When the budget is full again, Unix time."),
		blocked:      budget("budget_blocked", "1 while the host wants no requests."),
		made:         budget("requests_total", "Requests that this process made."),
		spent:        budget("points_total", "Points of the budget that this process spent."),
	}
}

// Describe names every metric.
func (m *hostMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		m.last, m.took, m.repositories, m.failed, m.requests, m.points,
		m.limit, m.remaining, m.reset, m.blocked, m.made, m.spent,
	} {
		to <- desc
	}
}

// Collect gives the values of this moment.
func (m *hostMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for _, h := range m.sweeps() {
		if !h.Sweep.At.IsZero() { // else another replica leads
			gauge(m.last, unix(h.Sweep.At), h.Host)
			gauge(m.took, time.Duration(h.Sweep.Took).Seconds(), h.Host)
			gauge(m.repositories, float64(h.Sweep.Repositories), h.Host)
			gauge(m.failed, float64(h.Failing), h.Host)
			gauge(m.requests, float64(h.Sweep.Requests), h.Host)
			gauge(m.points, float64(h.Sweep.Points), h.Host)
		}
		for _, b := range h.Budgets {
			labels := []string{h.Host, b.Credential, b.Resource}
			gauge(m.limit, float64(b.Limit), labels...)
			gauge(m.remaining, float64(b.Remaining), labels...)
			gauge(m.reset, unix(b.Reset), labels...)
			blocked := 0.0
			if time.Now().Before(b.Blocked) {
				blocked = 1
			}
			gauge(m.blocked, blocked, labels...)
			to <- prometheus.MustNewConstMetric(m.made, prometheus.CounterValue, float64(b.Requests), labels...)
			to <- prometheus.MustNewConstMetric(m.spent, prometheus.CounterValue, float64(b.Spent), labels...)
		}
	}
}

// unix is a time in seconds; 0 for none.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
