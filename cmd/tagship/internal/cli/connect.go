package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/pflag"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"go.uber.org/zap"
)

// patience is how long a command waits for NATS to answer at all.
const patience = 2500 * time.Millisecond

const defaultConfig = "tagship.yaml"

// connection is where NATS is, as the flags of a command say.
type connection struct {
	nats   string
	config string
	data   string
}

// register adds the flags. The shorthand of --config may be taken.
func (c *connection) register(set *pflag.FlagSet, shorthand string) {
	set.StringVar(&c.nats, "nats", "", "where NATS answers, such as nats://127.0.0.1:4222")
	set.StringVarP(&c.config, "config", shorthand, "", "configuration file whose section nats says where NATS is (default "+defaultConfig+", if there is one)")
	set.StringVar(&c.data, "data", ".tagship", "data folder of a running 'tagship up', which says where its NATS is")
}

// open connects, and makes sure that the streams are there.
func (c *connection) open(ctx context.Context, con Console) (*bus.Bus, error) {
	options, source, err := c.locate(con)
	if err != nil {
		return nil, daemon.WithExit(daemon.ExitUsage, err)
	}
	b, where, err := connect(ctx, options, source)
	if err != nil {
		return nil, err
	}
	if err := probe(ctx, b, where); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// locate decides where NATS is; source tells people where that comes from.
func (c *connection) locate(con Console) (options bus.Options, source string, err error) {
	running, err := readRunFile(c.data)
	if err != nil {
		return options, "", err
	}
	var section daemon.NATS
	if c.nats == "" && alive(running.PID) {
		section.URL, source = running.NATS, fmt.Sprintf("of 'tagship up', process %d", running.PID)
	} else if section, source, err = c.section(con); err != nil {
		return options, "", err
	}
	if c.nats != "" {
		section.URL, source = c.nats, "from --nats"
	}
	options, err = section.Options("cli", zap.NewNop())
	options.Wait = 0
	return options, source, err
}

// runFile is the part of run.json, which 'tagship up' keeps in its data folder,
// that says where NATS is.
type runFile struct {
	PID  int    `json:"pid"`
	NATS string `json:"nats"`
}

// readRunFile returns the zero value if there is none.
func readRunFile(dir string) (r runFile, err error) {
	path := filepath.Join(dir, "run.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("read where 'tagship up' runs: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s is not what 'tagship up' writes: %w; remove it, or name NATS with --nats", path, err)
	}
	return r, nil
}

// section reads the section nats of the configuration file; without a file it
// is what the section is when left out.
func (c *connection) section(con Console) (section daemon.NATS, source string, err error) {
	path := c.config
	if path == "" {
		path = defaultConfig
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return section, "the default address", config.Decode("", nil, &section, nil)
		}
	}
	file, err := config.Load(path, con.Getenv)
	if err != nil {
		return section, "", err
	}
	return section, "from " + path, file.Section("nats", &section)
}

// alive reports whether a process is there. One of another user counts too.
func alive(pid int) bool {
	if pid <= 0 {
		return false // which would mean a group of processes
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// connect connects as the options say; where names the address for people.
func connect(ctx context.Context, options bus.Options, source string) (b *bus.Bus, where string, err error) {
	b, err = dial(ctx, options)
	where = fmt.Sprintf("%s (%s)", withoutUser(options.URL), source)
	switch {
	case err == nil:
		return b, where, nil
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return nil, where, unavailablef("NATS at %s does not let this user in: check the credentials in section nats of tagship.yaml", where)
	case ctx.Err() != nil:
		return nil, where, context.Cause(ctx)
	}
	cause := ""
	if !errors.Is(err, nats.ErrNoServers) { // which says nothing more
		cause = fmt.Sprintf(" (%v)", rootCause(err))
	}
	return nil, where, unavailablef("NATS does not answer at %s: start everything with 'tagship up', or say where NATS is with --nats or in section nats of tagship.yaml%s", where, cause)
}

// dial gives up in time, also on an address that swallows packets.
func dial(ctx context.Context, options bus.Options) (*bus.Bus, error) {
	type outcome struct {
		bus *bus.Bus
		err error
	}
	dialled := make(chan outcome, 1)
	go func() {
		b, err := bus.Connect(ctx, options)
		dialled <- outcome{b, err}
	}()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	var err error
	select {
	case o := <-dialled:
		return o.bus, o.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timeout.C:
		err = fmt.Errorf("no answer within %s", patience)
	}
	go func() {
		if late := <-dialled; late.err == nil {
			late.bus.Close()
		}
	}()
	return nil, err
}

// probe tells a NATS that nobody has set up from one that works.
func probe(ctx context.Context, b *bus.Bus, where string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := b.LastSeq(ctx, events.KindReleaseDone.All())
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return unavailablef("NATS at %s has no streams of Tagship yet: start the services, or run 'tagship setup', or name another NATS with --nats", where)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return unavailablef("NATS at %s runs without JetStream, which Tagship needs: enable it with 'jetstream {}' in the server's configuration", where)
	case errors.Is(err, context.DeadlineExceeded):
		return unavailablef("the streams in NATS at %s do not answer: is a majority of its servers up? See 'nats server report jetstream'", where)
	}
	// A user who may not read releases may still do what the command is for.
	return nil
}

func unavailablef(format string, args ...any) error {
	return daemon.WithExit(daemon.ExitUnavailable, fmt.Errorf(format, args...))
}

// rootCause leaves out what was said around an error.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// withoutUser hides what may be a secret in a list of server URLs.
func withoutUser(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		if u, err := url.Parse(strings.TrimSpace(part)); err == nil && u.User != nil {
			u.User = nil
			parts[i] = u.String()
		} else if at := strings.LastIndexByte(part, '@'); at >= 0 {
			parts[i] = part[at+1:]
		}
	}
	return strings.Join(parts, ",")
}
