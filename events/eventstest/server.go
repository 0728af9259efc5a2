// Package eventstest is the test kit for services on the bus: a real NATS server
// per test, a recorder that waits for facts and says what it saw instead, and
// [Exercise], the conformance suite that every service's tests run.
package eventstest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events/bus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// Patience is how long the kit waits for what is to happen. It is generous,
// because a machine that runs many tests at once is slow; nothing waits longer
// than it must.
const Patience = 60 * time.Second

// Server is an embedded NATS server with JetStream on disk, which a test may
// stop and start again on the same address and data.
type Server struct {
	// Connection adds to how the kit connects, such as a user and password.
	Connection []nats.Option

	t       testing.TB
	options server.Options
	server  *server.Server
}

// NewServer starts a fresh server that lives as long as the test.
func NewServer(t testing.TB, change ...func(*server.Options)) *Server {
	t.Helper()
	s := &Server{t: t, options: server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 8 << 30, JetStreamMaxMemory: 256 << 20,
		NoSigs: true, NoLog: true,
	}}
	for _, c := range change {
		c(&s.options)
	}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start starts the server again after Stop.
func (s *Server) Start() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) start() error {
	options := s.options // the server writes to it
	started, err := server.NewServer(&options)
	if err != nil {
		return fmt.Errorf("make NATS server: %w", err)
	}
	started.Start()
	if !started.ReadyForConnections(Patience) {
		return fmt.Errorf("NATS server not ready within %s", Patience)
	}
	s.server = started
	s.options.Port = started.Addr().(*net.TCPAddr).Port
	return nil
}

// Stop shuts the server down, keeping its data. It may be called twice.
func (s *Server) Stop() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// URL is where the server answers.
func (s *Server) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.options.Port) }

// AckWait is how long a message stays with a dead worker of the kit's.
const AckWait = 2 * time.Second

// Bus connects to the server as a service, for as long as the test lives. Times
// are short, so that what waits for them does not wait long.
func (s *Server) Bus(service string, change ...func(*bus.Options)) *bus.Bus {
	s.t.Helper()
	b, err := s.connect(s.t.Context(), service, change...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(b.Close)
	if err := b.Ensure(s.t.Context()); err != nil {
		s.t.Fatalf("make streams: %v", err)
	}
	return b
}

func (s *Server) connect(ctx context.Context, service string, change ...func(*bus.Options)) (*bus.Bus, error) {
	options := bus.Options{
		Service: service, Version: "0.0.0", URL: s.URL(), Wait: Patience, Grace: 5 * time.Second,
		Topology: bus.Topology{AckWait: AckWait}, Connection: slices.Clone(s.Connection),
		Log: zaptest.NewLogger(s.t, zaptest.Level(zap.WarnLevel)),
	}
	for _, c := range change {
		c(&options)
	}
	b, err := bus.Connect(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", service, err)
	}
	return b, nil
}

// JetStream is a connection of nobody's, for what only hands and garbage do.
func (s *Server) JetStream() jetstream.JetStream {
	s.t.Helper()
	nc, err := nats.Connect(s.URL(), s.Connection...)
	if err != nil {
		s.t.Fatalf("connect to %s: %v", s.URL(), err)
	}
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}
