package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"go.uber.org/zap/zapcore"
)

// sweepPatience is how long a sweep over every repository may take.
const sweepPatience = 3 * time.Minute

// hookSecret is what webhooks are signed with.
const hookSecret = "It's a Secret to Everybody"

// settings is a part of the configuration.
type settings = map[string]any

// watching is tagwatch, a process of its own, on a NATS server of its own.
type watching struct {
	fleet  *fleet
	server *natsServer
	bus    *bus.Bus
	js     jetstream.JetStream
	bin    string // folder of the programs
	at     installation
	listen string
	host   string // that tagwatch calls what it watches
	count  int    // of repositories
	p      *process
	close  func() error
}

// newWatching makes all that tagwatch needs to watch a fleet. Stop ends it.
func newWatching(ctx context.Context, b *bench, bin string, f *fleet) (_ *watching, err error) {
	server, err := b.startNATS(ctx, false)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, server.stop())
		}
	}()
	dir, err := b.folder("watching")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	nc, js, err := server.client()
	if err != nil {
		return nil, err
	}
	connected, err := server.connect(ctx, "bench", zapcore.WarnLevel)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &watching{
		fleet: f, server: server, bus: connected, js: js, bin: bin,
		at: installation{dir: dir, config: filepath.Join(dir, "tagship.yaml")}, listen: fmt.Sprintf("127.0.0.1:%d", port),
		close: func() error {
			connected.Close()
			nc.Close()
			return server.stop()
		},
	}, nil
}

// stop ends tagwatch, and what it needs.
func (w *watching) stop() error {
	var err error
	if w.p != nil {
		err = w.p.stop()
	}
	return errors.Join(err, w.close())
}

// configure says how often and how the first n repositories are watched: by what
// the section of the GitHub says, or by git if there is none.
func (w *watching) configure(n int, interval time.Duration, hub settings) error {
	w.host, w.count = "git", n
	address := w.fleet.sim.Git() + "%s.git"
	enterprise := settings{}
	if hub != nil {
		w.host = w.fleet.sim.Host()
		address = w.host + "/%s"
		hub["api"], hub["archive_hosts"] = w.fleet.sim.API(), []string{w.fleet.sim.Archives()}
		hub["webhook_secrets"] = []string{hookSecret}
		hub["report"] = settings{"statuses": false, "deployments": false}
		enterprise[w.host] = hub
	}
	section, err := json.Marshal(enterprise) // which is YAML, too
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "nats: {url: %q}\ntagwatch:\n  interval: %s\n  enterprise: %s\n  apps:\n", w.server.url, interval, section)
	for _, name := range w.fleet.names[:n] {
		fmt.Fprintf(&text, "    %s:\n      repo: "+address+"\n", appName(name), name)
	}
	return os.WriteFile(w.at.config, text.Bytes(), 0o600)
}

func (w *watching) byToken(list string) settings {
	return settings{"token": w.fleet.token.Value(), "list": list}
}

func (w *watching) byApp() settings {
	return settings{"app": settings{"id": w.fleet.app.ID(), "private_key": string(w.fleet.app.PrivateKey())}}
}

// start starts tagwatch, and waits until it takes webhooks.
func (w *watching) start(ctx context.Context) (err error) {
	w.p, err = w.at.start(ctx, filepath.Join(w.bin, "tagwatch"), "--data", filepath.Join(w.at.dir, "data"), "--listen", w.listen)
	if err != nil {
		return err
	}
	return w.p.until(ctx, func() error { return askReady(ctx, "http://"+w.listen+"/readyz") })
}

// restart ends tagwatch, changes its configuration, and starts it again.
func (w *watching) restart(ctx context.Context, interval time.Duration, hub settings) error {
	p := w.p
	w.p = nil
	if err := p.stop(); err != nil {
		return err
	}
	if err := w.configure(w.count, interval, hub); err != nil {
		return err
	}
	return w.start(ctx)
}

// sweep is a sweep over every repository, as tagwatch tells of it.
type sweep struct {
	At           time.Time       `json:"at"`
	Took         events.Duration `json:"took"`
	Repositories int             `json:"repositories"`
	Changed      int             `json:"changed"`
}

// swept waits for the next sweep that begins after a time.
func (w *watching) swept(ctx context.Context, after time.Time) (sweep, error) {
	var status struct {
		Sweep   sweep
		Failing int
	}
	err := w.until(ctx, func() error {
		value, _, err := w.bus.Table(bus.TableWatch).Get(ctx, "host."+events.Escape(w.host))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(value, &status); err != nil {
			return fmt.Errorf("decode the status of %s: %w", w.host, err)
		}
		if !status.Sweep.At.After(after) {
			return fmt.Errorf("the last sweep was at %s", status.Sweep.At)
		}
		return nil
	})
	if err == nil && (status.Sweep.Repositories != w.count || status.Failing > 0) {
		err = fmt.Errorf("a sweep was over %d repositories and could not list %d, expected %d", status.Sweep.Repositories, status.Failing, w.count)
	}
	return status.Sweep, err
}

// settled waits until every repository is on record: each has a record, a
// baseline and a status, and the host a status.
func (w *watching) settled(ctx context.Context) error {
	return w.until(ctx, func() error {
		stream, err := w.js.Stream(ctx, "KV_"+bus.TableWatch)
		if err != nil {
			return fmt.Errorf("look at the table of tagwatch: %w", err)
		}
		if keys, want := stream.CachedInfo().State.Msgs, uint64(3*w.count+1); keys < want {
			return fmt.Errorf("%d keys on record, expected %d", keys, want)
		}
		return nil
	})
}

// until asks until the answer is good, as long as tagwatch runs.
func (w *watching) until(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, sweepPatience)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-w.p.ended:
			return fmt.Errorf("tagwatch ended (%v): %s", w.p.cmd.ProcessState, w.p.output.String())
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
