package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events/bus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// NATS runs in a process of its own, as it does in production, so that its share
// of the work can be told from the workers'. That process is this program again.
const serveNATSCommand = "serve-nats"

// serveNATS runs a server until stdin ends, which it does with its parent.
func serveNATS(args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet(serveNATSCommand, flag.ContinueOnError)
	store := flags.String("store", "", "folder of the streams")
	sync := flags.Bool("sync", false, "sync every write to disk before it is confirmed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "bench", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: *store, JetStreamMaxStore: 8 << 30, JetStreamMaxMemory: 256 << 20, SyncAlways: *sync,
		NoSigs: true, NoLog: true,
	})
	if err != nil {
		return fmt.Errorf("make NATS server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("NATS server not ready within 10 s")
	}
	fmt.Fprintln(stdout, s.ClientURL())
	_, err = io.Copy(io.Discard, stdin)
	s.Shutdown()
	s.WaitForShutdown()
	return err
}

// natsServer is a fresh NATS server.
type natsServer struct {
	url  string
	cmd  *exec.Cmd
	life io.Closer
}

// startNATS starts a server; sync makes it sync every write, as `tagship up` does.
func (b *bench) startNATS(ctx context.Context, sync bool) (*natsServer, error) {
	dir, err := b.folder("nats")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, serveNATSCommand, "-store="+dir, fmt.Sprintf("-sync=%t", sync))
	cmd.Stderr = b.log
	life, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	s := &natsServer{cmd: cmd, life: life}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("NATS server did not start: %w", err), s.stop())
	}
	s.url = strings.TrimSpace(line)
	return s, nil
}

func (s *natsServer) stop() error {
	return errors.Join(s.life.Close(), s.cmd.Wait())
}

// connect connects a service over TCP, writing its log as services do, to nowhere.
func (s *natsServer) connect(ctx context.Context, service string, level zapcore.Level) (*bus.Bus, error) {
	b, err := bus.Connect(ctx, bus.Options{
		Service: service, Version: "0.0.0", URL: s.url, Grace: time.Second, Log: logger(level),
	})
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", service, err)
	}
	return b, nil
}

func logger(level zapcore.Level) *zap.Logger {
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(io.Discard)), level))
}

// client connects as nobody, for what is written by hand.
func (s *natsServer) client() (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(s.url)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", s.url, err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, fmt.Errorf("use JetStream: %w", err)
	}
	return nc, js, nil
}

// suspicion is for how long after its start a worker does more for a message
// than later, to recognise messages that kill it; measured is what comes after.
const suspicion = 2100 * time.Millisecond

// wait waits, unless ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
