package cli

import (
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events/bus"
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

// section is one top-level section, and what to decode it into.
type section struct {
	name string
	into any
	doc  string
}

func (s *sections) all() []section {
	return []section{
		{"nats", &s.nats, "Where NATS is, and what the streams are like. Every service reads it."},
		{tagwatch.Name, &s.tagwatch, "Which repositories are watched, and which of their tags are versions."},
		{builder.Name, &s.builder, "Where builds run, and the registry that images and packages are pushed to."},
		{releaser.Name, &s.releaser, "The environments, and what runs them."},
		{cdnpush.Name, &s.cdnpush, "The channels that packages are published to, and where their files are."},
	}
}

// consumers are those of the services that are configured.
func (s *sections) consumers(configured map[string]bool) []bus.Consumer {
	var all []bus.Consumer
	if configured[tagwatch.Name] {
		all = append(all, tagwatch.Consumers(s.tagwatch)...)
	}
	if configured[builder.Name] {
		all = append(all, builder.Consumers()...)
	}
	if configured[releaser.Name] {
		// Only what the workers consume is asked for, so they need nothing to work with.
		for _, w := range releaser.Workers(s.releaser, nil) {
			all = append(all, w.Consumer)
		}
	}
	if configured[cdnpush.Name] {
		all = append(all, cdnpush.Consumers(s.cdnpush)...)
	}
	return all
}
