package rancher

import "time"

// container is an instance of a service's launch config.
type container struct {
	id, name string
	launch   string // its launch config; empty for the primary one
	version  string // of the launch config
	image    string
	checked  bool // it has a health check
	once     bool // it ends well, and is not started again
	done     bool // it ended well
	wanted   bool // it is to run, though it may fail to
	state    string
	health   string
	message  string
	due      time.Time // when the state ends
	removed  time.Time
}

// Container is what there is to see of a container.
type Container struct{ ID, Name, Image, State, Health string }

// fine tells whether it is as it should be.
func (c *container) fine() bool {
	return c.done || c.state == "running" && (!c.checked || c.health == "healthy")
}

// gone tells whether it was told to stop, and did.
func (c *container) gone() bool { return !c.removed.IsZero() || !c.wanted && c.state == "stopped" }

// up starts it.
func (c *container) up(s *Sim) {
	c.wanted, c.done = true, false
	c.state, c.health, c.due = "starting", "", s.now.Add(s.opts.Step)
}

// down stops it.
func (c *container) down(s *Sim) {
	if c.wanted {
		c.wanted = false
		c.state, c.health, c.due = "stopping", "", s.now.Add(s.opts.Step)
	}
}

// remove ends it for good.
func (c *container) remove(s *Sim) {
	if c.removed.IsZero() {
		c.wanted, c.state, c.health, c.message, c.removed = false, "removed", "", "", s.now
	}
}

// tick lets it live for a moment. A container that was told to stop stays so; one
// that failed is started again, for ever.
func (c *container) tick(s *Sim) {
	if !c.removed.IsZero() || s.now.Before(c.due) {
		return
	}
	image := s.images[c.image]
	next := s.now.Add(s.opts.Step)
	switch c.state {
	case "starting":
		if image.Missing != "" {
			c.state, c.message, c.due = "error", image.Missing, next
			return
		}
		c.state, c.message, c.due = "running", "", s.now.Add(s.opts.Probe)
		if c.checked {
			c.health = "initializing"
		}
		if image.Crashes {
			c.due = s.now.Add(10 * s.opts.Probe)
		}
	case "running":
		switch {
		case image.Crashes, c.once:
			c.state, c.health, c.due, c.done = "stopped", "", next, !image.Crashes
		case c.checked && image.Unhealthy:
			c.health = "unhealthy"
		case c.checked:
			c.health = "healthy"
		}
	case "error", "stopping":
		c.state, c.due = "stopped", next
	case "stopped":
		if c.wanted && !c.done {
			c.up(s)
		}
	}
}
