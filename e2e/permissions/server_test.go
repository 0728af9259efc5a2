// Package permissions proves that deploy/users.conf gives every user what the
// work needs and nothing more: it runs the real bus as each of them against a
// server with that very configuration.
package permissions_test

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"golang.org/x/crypto/bcrypt"
)

// users of deploy/users.conf.
func users() []string {
	return []string{"admin", "tagwatch", "builder", "releaser", "cdnpush", "ops", "developer", "viewer", "sys"}
}

func password(user string) string { return "the password of " + user }

// variable of the environment in which deploy/users.conf expects the hash of the password.
func variable(user string) string { return "NATS_" + strings.ToUpper(user) + "_PASSWORD" }

// cluster is one server with the configuration of deploy/, set up by admin.
type cluster struct {
	url   string
	admin *bus.Bus
	// complaints counts what the server reported apart from any request, such as violations.
	complaints atomic.Int32
}

// start runs a server with deploy/nats.conf; only where it listens and keeps its
// data is the test's own.
func start(t *testing.T) *cluster {
	t.Helper()
	for _, user := range users() {
		hash, err := bcrypt.GenerateFromPassword([]byte(password(user)), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(variable(user), string(hash))
	}
	options, err := server.ProcessConfigFile(filepath.Join("..", "..", "deploy", "nats.conf"))
	if err != nil {
		t.Fatalf("read deploy/nats.conf: %v", err)
	}
	options.Port, options.HTTPPort, options.HTTPHost = server.RANDOM_PORT, 0, ""
	options.StoreDir, options.NoSigs, options.NoLog = t.TempDir(), true, true
	started, err := server.NewServer(options)
	if err != nil {
		t.Fatalf("make NATS server: %v", err)
	}
	started.Start()
	t.Cleanup(func() {
		started.Shutdown()
		started.WaitForShutdown()
	})
	if !started.ReadyForConnections(eventstest.Patience) {
		t.Fatal("NATS server not ready")
	}
	c := &cluster{url: started.ClientURL()}
	c.admin = c.bus(t, "admin", "setup", false)
	if err := c.admin.Ensure(t.Context(), consumers()...); err != nil {
		t.Fatalf("set up as admin: %v", err)
	}
	return c
}

// bus connects as a user. With fixed it finds streams and consumers, and makes none.
func (c *cluster) bus(t *testing.T, user, service string, fixed bool) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Options{
		Service: service, Version: "0.0.0", URL: c.url, Wait: eventstest.Patience, Grace: time.Second,
		Connection: []nats.Option{nats.UserInfo(user, password(user))},
		Topology:   bus.Topology{AckWait: 4 * time.Second, Fixed: fixed},
		Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel), zaptest.WrapOptions(zap.Hooks(func(e zapcore.Entry) error {
			if e.Message == "NATS reports an error" {
				c.complaints.Add(1)
			}
			return nil
		}))),
	})
	if err != nil {
		t.Fatalf("connect as %s: %v", user, err)
	}
	t.Cleanup(b.Close)
	return b
}

// consumers of the environments and channels that deploy/users.conf is written
// for: dev is promoted from builds, demo from dev, beta from builds.
func consumers() []bus.Consumer {
	built := []string{events.KindBuildDone.All()}
	return []bus.Consumer{
		{Name: "tagwatch", Stream: events.StreamTags, Filters: []string{"tag.*"}},
		{Name: "tagwatch", Stream: events.StreamHooks, Filters: []string{"hook.*"}},
		{Name: "tagwatch-report", Stream: events.StreamTags, Filters: []string{events.KindTagSeen.All(), events.KindTagRefused.All()}, New: true},
		{Name: "tagwatch-report", Stream: events.StreamBuilds, Filters: []string{"build.started.*.*", "build.done.*.*", "build.failed.*.*"}, New: true},
		{Name: "tagwatch-report", Stream: events.StreamReleases, Filters: []string{"release.started.*.*", "release.done.*.*", "release.failed.*.*"}, New: true},
		{Name: "builder", Stream: events.StreamTags, Filters: []string{events.KindTagSeen.All()}},
		{Name: "builder", Stream: events.StreamBuilds, Filters: []string{"build.*"}},
		{Name: "releaser-requests", Stream: events.StreamReleases, Filters: []string{"release.*"}},
		{Name: "releaser-dev", Stream: events.StreamReleases, Filters: []string{"release.wanted.dev.*"}},
		{Name: "releaser-demo", Stream: events.StreamReleases, Filters: []string{"release.wanted.demo.*"}},
		{Name: "releaser-prod", Stream: events.StreamReleases, Filters: []string{"release.wanted.prod.*"}},
		{Name: "releaser-dev-promote", Stream: events.StreamBuilds, Filters: built},
		{Name: "releaser-demo-promote", Stream: events.StreamReleases, Filters: []string{"release.done.dev.*"}},
		{Name: "cdnpush", Stream: events.StreamCDN, Filters: []string{"cdn.*"}},
		{Name: "cdnpush-beta", Stream: events.StreamBuilds, Filters: built},
	}
}
