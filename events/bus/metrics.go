package bus

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what Prometheus sees of the workers.
type metrics struct {
	registry prometheus.Registerer
	messages *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	live     *liveCollector
}

func newMetrics(registry prometheus.Registerer, b *Bus) (*metrics, error) {
	service := prometheus.Labels{"service": b.opts.Service}
	consumer := []string{"stream", "consumer"} // two consumers may have one name, in different streams
	m := &metrics{
		registry: registry,
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tagship_messages_total", Help: "Deliveries of messages, by what became of them.", ConstLabels: service,
		}, []string{"stream", "consumer", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tagship_message_seconds", Help: "Time from delivery of a message to its settlement.", ConstLabels: service,
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 11),
		}, consumer),
		live: &liveCollector{
			bus:      b,
			inFlight: prometheus.NewDesc("tagship_in_flight", "Messages in work in this process.", consumer, service),
			lastDone: prometheus.NewDesc("tagship_last_done_seconds", "When a message was last done, in Unix seconds.", consumer, service),
			up:       prometheus.NewDesc("tagship_connected", "1 while NATS answers.", nil, service),
		},
	}
	if registry == nil {
		return m, nil
	}
	return m, errors.Join(registry.Register(m.messages), registry.Register(m.seconds), registry.Register(m.live))
}

// of makes the series of one consumer. They begin at zero, so that the first
// dead letter is seen as a change.
func (m *metrics) of(c Consumer) *consumerMetrics {
	messages := map[outcome]prometheus.Counter{}
	for _, o := range outcomes() {
		messages[o] = m.messages.WithLabelValues(c.Stream, c.Name, string(o))
	}
	return &consumerMetrics{messages: messages, seconds: m.seconds.WithLabelValues(c.Stream, c.Name)}
}

// consumerMetrics are the series of one consumer.
type consumerMetrics struct {
	messages map[outcome]prometheus.Counter
	seconds  prometheus.Observer
}

func (m *consumerMetrics) settled(result outcome, took time.Duration) {
	m.messages[result].Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) unregister() {
	if m.registry == nil {
		return
	}
	for _, c := range []prometheus.Collector{m.messages, m.seconds, m.live} {
		m.registry.Unregister(c)
	}
}

// liveCollector reads what is true at the moment of the scrape. Lag is not among
// it: NATS knows it, and its exporter tells it for all consumers at once.
type liveCollector struct {
	bus                    *Bus
	inFlight, lastDone, up *prometheus.Desc
}

func (c *liveCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.inFlight
	ch <- c.lastDone
	ch <- c.up
}

func (c *liveCollector) Collect(ch chan<- prometheus.Metric) {
	connected := 0.0
	if c.bus.Connected() {
		connected = 1
	}
	ch <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, connected)
	for _, s := range c.bus.stats.all() {
		c.send(ch, c.inFlight, float64(s.inFlight.Load()), s)
		if done := s.lastDone.Load(); done > 0 {
			c.send(ch, c.lastDone, float64(done)/float64(time.Second), s)
		}
	}
}

func (c *liveCollector) send(ch chan<- prometheus.Metric, desc *prometheus.Desc, value float64, s *consumerStats) {
	ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, s.consumer.Stream, s.consumer.Name)
}
