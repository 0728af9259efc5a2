package up

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder"
	"github.com/tagship/tagship/services/cdnpush"
	"github.com/tagship/tagship/services/releaser"
	"github.com/tagship/tagship/services/tagwatch"
)

// sections is a whole tagship.yaml.
type sections struct {
	nats     daemon.NATS
	tagwatch tagwatch.Config
	builder  builder.Config
	releaser releaser.Config
	cdnpush  cdnpush.Config
}

// laptop holds what "tagship up" does unless tagship.yaml says otherwise: all of
// it on this machine, and taken over quickly after a crash, because nobody else
// can be at work.
func laptop() sections {
	var s sections
	s.nats.AckWait = events.Duration(10 * time.Second)
	s.nats.Grace = events.Duration(5 * time.Second)
	s.builder.Registry = "127.0.0.1:0"
	s.builder.Executor = "auto"
	return s
}

// readConfig reads every section and reports all problems at once.
func readConfig(path string) (sections, error) {
	s := laptop()
	file, err := config.Load(path, os.LookupEnv)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; write one as README shows, or name it with --config", err)
		}
		return s, daemon.WithExit(daemon.ExitUsage, err)
	}
	err = config.Join(
		file.Unknown(daemon.Sections()...),
		file.Section("nats", &s.nats),
		file.Section(tagwatch.Name, &s.tagwatch),
		file.Section(builder.Name, &s.builder),
		file.Section(releaser.Name, &s.releaser),
		file.Section(cdnpush.Name, &s.cdnpush),
	)
	if err == nil && s.nats.Replicas != 1 {
		err = fmt.Errorf("nats.replicas is %d, but 'tagship up' is one server: leave it out, or run the services by themselves", s.nats.Replicas)
	}
	return s, daemon.WithExit(daemon.ExitUsage, err)
}

// natsAddress is where the embedded NATS listens: the host and port of nats.url.
func (s *sections) natsAddress() (string, error) {
	parsed, err := url.Parse(s.nats.URL)
	if err != nil || parsed.Host == "" || parsed.Port() == "" {
		return "", daemon.WithExit(daemon.ExitUsage, fmt.Errorf("nats.url %q: 'tagship up' listens there, expected for example nats://127.0.0.1:4222", s.nats.URL))
	}
	return parsed.Host, nil
}
