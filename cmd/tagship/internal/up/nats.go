package up

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

// startNATS runs a NATS server in this process, with its TCP port open for the
// nats command line. Every write is synced before it is acknowledged.
func startNATS(dir, address string, log *zap.Logger) (*server.Server, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q for NATS: %w", address, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("address %q for NATS: the port is not a number", address)
	}
	if err := portFree(address); err != nil {
		return nil, fmt.Errorf("start NATS: %w; stop the other program, or set nats.url in tagship.yaml", err)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "tagship-up", Host: host, Port: port,
		JetStream: true, StoreDir: dir, JetStreamMaxStore: 64 << 30, JetStreamMaxMemory: 64 << 20, SyncAlways: true,
		NoSigs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	s.SetLoggerV2(natsLogger{log.Sugar()}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("start NATS: not ready within 10 s, see the log")
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		return nil, fmt.Errorf("start NATS: JetStream could not use %s, see the log", dir)
	}
	return s, nil
}

// portFree tells a taken port before a server does in its own way.
func portFree(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("another program has %s: %w", address, err)
	}
	return l.Close()
}

// natsLogger passes on what the server says is wrong, and leaves out the rest.
type natsLogger struct{ log *zap.SugaredLogger }

func (l natsLogger) Noticef(string, ...any)         {}
func (l natsLogger) Debugf(string, ...any)          {}
func (l natsLogger) Tracef(string, ...any)          {}
func (l natsLogger) Warnf(format string, v ...any)  { l.log.Debugf(format, v...) }
func (l natsLogger) Errorf(format string, v ...any) { l.log.Errorf(format, v...) }
func (l natsLogger) Fatalf(format string, v ...any) { l.log.Errorf(format, v...) }
