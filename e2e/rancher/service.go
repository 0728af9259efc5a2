package rancher

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Service is a service with its containers.
type Service struct {
	sim      *Sim
	stack    *Stack
	id, name string
	uuid     string
	created  time.Time
	removed  time.Time

	state      string
	due        time.Time // when the state may end
	edited     time.Time // when a PUT in the middle of a state ends that state
	stuck      bool
	broken     string // why it is in trouble for good
	idle       bool   // it is inactive, and its containers do not run
	starts     bool   // it is activated as soon as it was created
	scale      int
	retainIP   bool
	metadata   map[string]any
	launches   []*launch // the primary one first
	upgrade    map[string]any
	containers []*container
}

// launch is a launch config: the primary one, or that of a sidekick.
type launch struct {
	name      string // empty for the primary one
	config    map[string]any
	previous  map[string]any // what an upgrade replaced
	batch     int
	pause     time.Duration
	starts    bool // new containers are started before old ones are stopped
	nextBatch time.Time
}

func (l *launch) image() string {
	image, _ := l.config["imageUuid"].(string)
	return image
}

func (l *launch) version() string {
	version, _ := l.config["version"].(string)
	return version
}

func (l *launch) label(name string) string {
	labels, _ := l.config["labels"].(map[string]any)
	value, _ := labels[name].(string)
	return value
}

// none tells whether an upgrade removes the sidekick.
func (l *launch) none() bool { return l.name != "" && strings.HasSuffix(l.image(), "rancher/none") }

// ID is the service's id, such as 1s12.
func (v *Service) ID() string { return v.id }

// State is the state that the service is in.
func (v *Service) State() string {
	v.sim.mu.Lock()
	defer v.sim.mu.Unlock()
	v.sim.settle()
	return v.state
}

// Containers are the containers that were not removed, oldest first.
func (v *Service) Containers() []Container {
	v.sim.mu.Lock()
	defer v.sim.mu.Unlock()
	v.sim.settle()
	var list []Container
	for _, c := range v.containers {
		if c.removed.IsZero() {
			list = append(list, Container{ID: c.id, Name: c.name, Image: c.image, State: c.state, Health: c.health})
		}
	}
	return list
}

// Act is a person that takes an action in the UI, such as finishupgrade, with
// the body of the API's action, or nil. The error is that of the API.
func (v *Service) Act(action string, body map[string]any) error {
	v.sim.mu.Lock()
	defer v.sim.mu.Unlock()
	v.sim.settle()
	if err := v.act(action, body); err != nil {
		return err
	}
	return nil
}

// Edit is a hand that changes the launch config behind everybody's back, without an upgrade.
func (v *Service) Edit(change func(launchConfig map[string]any)) {
	v.sim.mu.Lock()
	defer v.sim.mu.Unlock()
	v.launches[0].config = maps.Clone(v.launches[0].config)
	change(v.launches[0].config)
}

// Stick makes the service stay in the state that it changes from, such as
// rolling-back, until it is called with false.
func (v *Service) Stick(stuck bool) {
	v.sim.mu.Lock()
	defer v.sim.mu.Unlock()
	v.sim.settle()
	v.stuck = stuck
}

// Break puts the service into the state error, with a message.
func (v *Service) Break(message string) {
	v.sim.mu.Lock()
	defer v.sim.mu.Unlock()
	v.sim.settle()
	v.enter("error")
	v.broken = message
}

// want is how many containers a launch config is to have.
func (v *Service) want(l *launch) int {
	switch {
	case v.idle || l.none():
		return 0
	case l.label("io.rancher.scheduler.global") == "true":
		return v.sim.opts.Hosts
	}
	return v.scale
}

// start starts a new container.
func (v *Service) start(l *launch) *container {
	name := v.stack.name + "-" + v.name
	if l.name != "" {
		name += "-" + l.name
	}
	c := &container{
		id: v.sim.id("i"), launch: l.name, version: l.version(), image: l.image(),
		checked: l.config["healthCheck"] != nil, once: l.label("io.rancher.container.start_once") == "true",
	}
	c.name = fmt.Sprintf("%s-%d", name, len(v.containers)+1)
	c.up(v.sim)
	v.containers = append(v.containers, c)
	return c
}

// of are the containers of a launch config: those of its version, and others.
func (v *Service) of(l *launch) (now, old []*container) {
	for _, c := range v.containers {
		switch {
		case !c.removed.IsZero() || c.launch != l.name:
		case c.version == l.version():
			now = append(now, c)
		default:
			old = append(old, c)
		}
	}
	return now, old
}

// enter changes the state.
func (v *Service) enter(state string) {
	v.state, v.due, v.edited = state, v.sim.now.Add(v.sim.opts.Step), time.Time{}
	if state == "removed" {
		v.removed = v.sim.now
	}
}

// tick lets the service live for a moment.
func (v *Service) tick() {
	for _, c := range v.containers {
		c.tick(v.sim)
	}
	if v.stuck {
		return
	}
	if !v.edited.IsZero() && !v.sim.now.Before(v.edited) {
		// A PUT ends what is under way, whether it is done or not.
		v.enter(after(v.state))
		return
	}
	over := v.work() && !v.sim.now.Before(v.due)
	if next := after(v.state); next != "" && over {
		v.enter(next)
	}
	if v.starts && v.state == "inactive" {
		v.starts, v.idle = false, false
		v.enter("activating")
	}
}

// work does what the state is for, and tells whether it is done.
func (v *Service) work() bool {
	// Every launch config gets its turn, though one of them is not done.
	done := true
	for _, l := range v.launches {
		switch v.state {
		case "active", "activating", "updating-active":
			done = v.fill(l) && done
		case "upgrading", "finishing-upgrade":
			done = v.roll(l) && done
		case "rolling-back":
			done = v.restore(l) && done
		case "deactivating", "removing":
			done = v.halt(l) && done
		case "restarting":
			done = v.fine(l) && done
		}
	}
	if done && v.state == "finishing-upgrade" && !v.sim.now.Before(v.due) {
		v.clean()
	}
	if done && v.state == "removing" {
		for _, c := range v.containers {
			c.remove(v.sim)
		}
	}
	return done
}

// fill starts or removes containers until there are as many as wanted.
func (v *Service) fill(l *launch) bool {
	now, _ := v.of(l)
	want := v.want(l)
	for len(now) < want {
		now = append(now, v.start(l))
	}
	for i, c := range now {
		switch {
		case i >= want:
			c.remove(v.sim)
		case !c.wanted:
			c.up(v.sim)
		}
	}
	return v.fine(l)
}

// fine tells whether the containers of the launch config are as they should be.
func (v *Service) fine(l *launch) bool {
	now, _ := v.of(l)
	return !slices.ContainsFunc(now, func(c *container) bool { return c.wanted && !c.fine() })
}

// roll replaces old containers by new ones, batch after batch; each waits until
// the containers of the one before are fine.
func (v *Service) roll(l *launch) bool {
	now, old := v.of(l)
	want := v.want(l)
	old = slices.DeleteFunc(old, func(c *container) bool { return !c.wanted && c.gone() })
	if slices.ContainsFunc(old, func(c *container) bool { return !c.wanted }) || !v.fine(l) {
		return false // some are still stopping, or starting
	}
	missing := max(0, want-len(now))
	if missing == 0 && len(old) == 0 {
		return true
	}
	// Where new and old are more than wanted, old ones are to stop, and else new ones
	// to start; one batch is on its way at a time.
	spare := len(now) + len(old) - want
	switch {
	case l.starts && missing > 0 && spare <= 0, !l.starts && missing > 0 && spare < 0, len(old) == 0:
		if l.starts && !v.pause(l) {
			return false
		}
		n := missing
		if len(old) > 0 || !l.starts {
			n = min(n, max(l.batch, 1))
		}
		for range n {
			v.start(l)
		}
	default:
		if !l.starts && !v.pause(l) {
			return false
		}
		for _, c := range old[:min(len(old), max(l.batch, 1))] {
			c.down(v.sim)
		}
	}
	return false
}

// pause tells whether the time between batches is over, and begins the next.
func (v *Service) pause(l *launch) bool {
	if v.sim.now.Before(l.nextBatch) {
		return false
	}
	l.nextBatch = v.sim.now.Add(l.pause)
	return true
}

// restore starts the containers again that an upgrade stopped, and removes its own.
func (v *Service) restore(l *launch) bool {
	now, others := v.of(l)
	for _, c := range others {
		c.down(v.sim)
		if c.gone() {
			c.remove(v.sim)
		}
	}
	for _, c := range now {
		if !c.wanted {
			c.up(v.sim)
		}
	}
	for range v.want(l) - len(now) {
		v.start(l)
	}
	_, others = v.of(l)
	return len(others) == 0 && v.fine(l)
}

// halt stops all containers.
func (v *Service) halt(l *launch) bool {
	done := true
	for _, c := range v.containers {
		if c.launch == l.name && c.removed.IsZero() {
			c.down(v.sim)
			done = done && c.gone()
		}
	}
	return done
}

// clean removes what an upgrade left, for good.
func (v *Service) clean() {
	for _, l := range v.launches {
		_, old := v.of(l)
		for _, c := range old {
			c.remove(v.sim)
		}
		l.previous = nil
	}
	v.launches = slices.DeleteFunc(v.launches, (*launch).none)
}

// health is the healthState of all containers that are to run.
func (v *Service) health() string {
	var all, fine, starting, unhealthy, done int
	for _, c := range v.containers {
		if !c.removed.IsZero() || !c.wanted {
			continue
		}
		all++
		switch {
		case c.done:
			done++
		case c.fine():
			fine++
		case c.health == "unhealthy":
			unhealthy++
		case c.state == "starting" || c.health == "initializing":
			starting++
		}
	}
	switch {
	case all > 0 && done == all:
		return "started-once"
	case fine+done == all:
		return "healthy"
	case unhealthy == all:
		return "unhealthy"
	case unhealthy == 0 && starting > 0 && fine == 0 && v.checked():
		return "initializing"
	}
	return "degraded"
}

// checked tells whether the service has a health check.
func (v *Service) checked() bool { return v.launches[0].config["healthCheck"] != nil }

// transitioning says whether the service changes its state, and what hinders it.
func (v *Service) transitioning() (is, message string) {
	if v.state == "error" {
		return "error", v.broken
	}
	if after(v.state) == "" {
		return "no", ""
	}
	for _, c := range v.containers {
		if c.removed.IsZero() && c.message != "" {
			return "yes", c.message
		}
	}
	return "yes", "In Progress"
}
