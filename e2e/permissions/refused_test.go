package permissions_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/eventstest"
)

// connection is a plain connection that keeps what the server forbids.
type connection struct {
	*nats.Conn
	t *testing.T

	mu     sync.Mutex
	denied string
}

func (c *cluster) connect(t *testing.T, user string) *connection {
	t.Helper()
	own := &connection{t: t}
	nc, err := nats.Connect(c.url, nats.UserInfo(user, password(user)), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			own.mu.Lock()
			own.denied += err.Error() + "\n"
			own.mu.Unlock()
		}
	}))
	if err != nil {
		t.Fatalf("connect as %s: %v", user, err)
	}
	t.Cleanup(nc.Close)
	own.Conn = nc
	return own
}

// refuses reports whether the server forbids a subject in the given operation.
// The violation is known before the flush returns; the handler runs a little later.
func (c *connection) refuses(subject string, operation func(subject string) error) bool {
	c.t.Helper()
	if err := operation(subject); err != nil {
		c.t.Fatalf("%s: %v", subject, err)
	}
	if err := c.FlushTimeout(eventstest.Patience); err != nil {
		c.t.Fatal(err)
	}
	if c.LastError() == nil || !strings.Contains(c.LastError().Error(), `"`+subject+`"`) {
		return false
	}
	eventstest.Eventually(c.t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !strings.Contains(c.denied, `"`+subject+`"`) {
			return errors.New("the violation was not reported")
		}
		return nil
	})
	return true
}

func (c *connection) send(subject string) error { return c.Publish(subject, nil) }

func (c *connection) listen(subject string) error {
	_, err := c.SubscribeSync(subject)
	return err
}

// Whoever may not publish is told at once; what they may is shown by testPipeline.
func testRefusals(t *testing.T, c *cluster) {
	facts := []string{
		"tag.seen.web.v9", "tag.moved.web.v9", "tag.deleted.web.v9", "build.started.web.v9", "build.done.web.v9", "release.wanted.prod.web",
		"release.done.prod.web", "release.refused.prod.web", "cdn.done.stable.web", "log.builder.web.v9", "dead.builder.web",
	}
	requests := []string{"tag.web", "build.web", "release.dev", "release.prod", "cdn.stable"}
	change := []string{
		"$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.UPDATE.TAGS", "$JS.API.STREAM.DELETE.TAGS", "$JS.API.STREAM.PURGE.LOGS",
		"$JS.API.STREAM.MSG.DELETE.TAGS", "$JS.API.STREAM.RESTORE.TAGS", "$JS.API.STREAM.SNAPSHOT.TAGS",
		"$JS.API.CONSUMER.DURABLE.CREATE.TAGS.builder", "$JS.API.CONSUMER.RESET.TAGS.builder",
		"$JS.API.CONSUMER.CREATE.BUILDS", "$JS.API.DIRECT.GET.LOGS", "$KV.leases.release.prod.web", "$KV.watch.web", "$O.sources.M.x",
	}
	// places of others in the streams
	others := func(consumer, stream string) []string {
		return []string{
			"$JS.API.CONSUMER.CREATE." + stream + "." + consumer, "$JS.API.CONSUMER.CREATE." + stream + "." + consumer + ".x.y",
			"$JS.API.CONSUMER.DELETE." + stream + "." + consumer, "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer,
			"$JS.ACK." + stream + "." + consumer + ".1.2.3.4.5", "$JS.ACK._.hash." + stream + "." + consumer + ".1.2.3.4.5",
		}
	}
	humans := append(append(append(append(change, others("builder", "TAGS")...), others("releaser-dev-promote", "BUILDS")...),
		others("releaser-prod", "RELEASES")...), others("cdnpush", "CDN")...)
	humans = append(append(append(humans, others("tagwatch", "HOOKS")...), others("tagwatch-report", "RELEASES")...), "$KV.reports.web", "$KV.leases.watch.git")
	tests := map[string]struct{ allowed, refused []string }{
		"viewer":    {refused: append(append(append([]string{"hook.web"}, facts...), requests...), humans...)},
		"developer": {allowed: []string{"release.dev"}, refused: append(append([]string{"release.prod", "release.demo", "cdn.stable", "hook.web"}, facts...), humans...)},
		"ops": {
			allowed: []string{"release.prod", "release.demo", "tag.web", "hook.web"},
			refused: append(append([]string{"release.done.prod", "releaze.prod", "release.prod.web", "build.refused.web.v9", "release.refused.prod.web", "tag.moved.web.v9", "hook.web.v9"},
				humans...), "log.builder.web.v9", "dead.builder.web"),
		},
		"tagwatch": {
			refused: append(append(append(append([]string{"build.done.web.v9", "$JS.API.STREAM.MSG.GET.CDN", "$KV.leases.release.prod.web", "$KV.leases.build.web.v9", "$KV.attempts.builder.TAGS.1", "hook.web.v9"},
				requests...), change[:10]...), append(others("builder", "TAGS"), others("releaser-dev", "RELEASES")...)...), "dead.builder.web", "log.builder.web.v9"),
		},
		"builder": {
			allowed: []string{"tag.web"},
			refused: append(append(append(append([]string{"tag.seen.web.v9", "tag.refused.web.v9", "hook.web", "release.wanted.dev.web", "$KV.reports.web", "$KV.leases.watch.git", "$KV.watch.web", "$O.sources.M.x", "$O.sources.C.x", "$KV.leases.release.prod.web"},
				requests[1:]...), change[:11]...), others("tagwatch", "TAGS")...), others("releaser-dev-promote", "BUILDS")...),
		},
		"releaser": {
			refused: append(append(append(append([]string{"build.done.web.v9", "build.started.web.v9", "tag.seen.web.v9", "cdn.done.stable.web", "$KV.leases.build.web.v9", "$JS.API.STREAM.MSG.GET.CDN", "$O.sources.M.x"},
				requests...), change[:11]...), others("builder", "BUILDS")...), others("cdnpush", "CDN")...),
		},
		"cdnpush": {
			refused: append(append(append(append([]string{"build.done.web.v9", "release.done.prod.web", "$KV.leases.release.prod.web", "$JS.API.STREAM.MSG.GET.RELEASES"},
				requests...), change[:11]...), others("builder", "BUILDS")...), others("releaser-prod", "RELEASES")...),
		},
	}
	for user, tt := range tests {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			nc := c.connect(t, user)
			for _, subject := range tt.allowed {
				if nc.refuses(subject, nc.send) {
					t.Errorf("%s may not publish on %s, and should", user, subject)
				}
			}
			for _, subject := range tt.refused {
				if !nc.refuses(subject, nc.send) {
					t.Errorf("%s may publish on %s, and should not", user, subject)
				}
			}
			for _, subject := range []string{">", "_INBOX_admin.>", "_INBOX_" + other(user) + ".>", "$JS.API.>", "$KV.leases.>", "$SYS.>"} {
				if !nc.refuses(subject, nc.listen) {
					t.Errorf("%s may subscribe to %s, and should not", user, subject)
				}
			}
		})
	}
}

// other is a service that is not user.
func other(user string) string {
	if user == "builder" {
		return "releaser"
	}
	return "builder"
}

// The bus tells a service that publishes what it may not, soon and why, and does not try again.
func testRefusedPublish(t *testing.T, c *cluster) {
	releaser := c.bus(t, "releaser", "releaser", true)
	began := time.Now()
	_, err := releaser.Publish(t.Context(), &events.BuildFailed{
		Meta: events.Meta{ID: "forged"}, App: app, Version: version, Reason: "forged",
	})
	if !events.IsPermanent(err) || !strings.Contains(err.Error(), "not permitted") {
		t.Errorf("releaser publishes build.failed: %v, want a permanent error that says it is not permitted", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the refusal took %s", took)
	}
}

// One after the other: what the refusals are tried with would disturb the pipeline.
func TestPermissions(t *testing.T) {
	c := start(t)
	t.Run("pipeline", func(t *testing.T) {
		testPipeline(t, c)
		if n := c.complaints.Load(); n > 0 {
			t.Errorf("the server refused something %d times, see the log", n)
		}
	})
	t.Run("refusals", func(t *testing.T) { testRefusals(t, c) })
	t.Run("refused publish", func(t *testing.T) { testRefusedPublish(t, c) })
}
