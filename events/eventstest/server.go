// Package eventstest is the test kit for services on the bus: a real NATS server
// per test, a recorder that waits for facts and says what it saw instead, and
// [Exercise], the conformance suite that every service's tests run.
package eventstest

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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
	t      testing.TB
	dir    string
	port   int
	server *server.Server
}

// NewServer starts a fresh server that lives as long as the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), port: server.RANDOM_PORT}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start starts the server again after Stop or Kill.
func (s *Server) Start() {
	s.t.Helper()
	options := &server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: s.port,
		JetStream: true, StoreDir: s.dir, JetStreamMaxStore: 8 << 30, JetStreamMaxMemory: 256 << 20,
		NoSigs: true, NoLog: true,
	}
	started, err := server.NewServer(options)
	if err != nil {
		s.t.Fatalf("make NATS server: %v", err)
	}
	started.Start()
	if !started.ReadyForConnections(Patience) {
		s.t.Fatalf("NATS server not ready within %s", Patience)
	}
	s.server = started
	s.port = started.Addr().(*net.TCPAddr).Port
}

// Stop shuts the server down, keeping its data. It may be called twice.
func (s *Server) Stop() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// URL is where the server answers.
func (s *Server) URL() string { return s.server.ClientURL() }

// Bus connects to the server as a service, for as long as the test lives. Times
// are short, so that what waits for them does not wait long.
func (s *Server) Bus(service string, change ...func(*bus.Options)) *bus.Bus {
	s.t.Helper()
	options := bus.Options{
		Service: service, Version: "0.0.0", URL: s.URL(), Wait: Patience, Grace: 5 * time.Second,
		Topology: bus.Topology{AckWait: 4 * time.Second},
		Log:      zaptest.NewLogger(s.t, zaptest.Level(zap.WarnLevel)),
	}
	for _, c := range change {
		c(&options)
	}
	b, err := bus.Connect(s.t.Context(), options)
	if err != nil {
		s.t.Fatalf("connect %s: %v", service, err)
	}
	s.t.Cleanup(b.Close)
	if err := b.Ensure(s.t.Context()); err != nil {
		s.t.Fatalf("make streams: %v", err)
	}
	return b
}
