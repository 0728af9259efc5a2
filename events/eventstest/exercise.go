package eventstest

import (
	"testing"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"golang.org/x/sync/errgroup"
)

// Subject is what [Exercise] examines: one step of a service, or several that
// follow from one another, with everything around it that is real.
type Subject struct {
	// Service is the service's name.
	Service string
	// Workers wires the service's real workers on a bus, as its Run does. It is
	// called for every life of the process; what its effects are stored in
	// (registry, target, folder) outlives the process and is made by the
	// function that makes the Subject.
	Workers func(t testing.TB, b *bus.Bus) []bus.Worker
	// Prepare states what must be on record before the trigger. May be nil.
	Prepare func(t testing.TB, b *bus.Bus)
	// Trigger is the request, hook or fact that the step answers.
	Trigger events.Event
	// Outcome is the filter of the fact that must be stated once.
	Outcome string
	// Counts tells which facts on Outcome count as the outcome; nil means all.
	// A release that found everything in place, say, does not count.
	Counts func(f events.Fact) bool
	// Effects tells how often the step took effect: containers that run, images
	// that are pushed. May be nil.
	Effects func(t testing.TB) int
	// WantEffects is what Effects must end at. Default 1.
	WantEffects int
}

// Exercise is the conformance suite that every step of every service passes. It
// lets the step meet, each in a subtest with a NATS server of its own, what a
// step meets in the course of years: its process is killed at the worst moments,
// messages come twice or are garbage, NATS goes away. Whatever happens, the
// outcome is stated once, the effects are as wanted, every request is answered,
// and every message is settled or a dead letter.
//
// NewSubject is called once per subtest and makes a Subject in a world of its own.
// Subtests run at the same time.
func Exercise(t *testing.T, newSubject func(t *testing.T) Subject) {
	t.Helper()
	// Not t.Parallel, which runs as many at once as there are processors: these
	// mostly wait.
	var all errgroup.Group
	all.SetLimit(atOnce)
	for _, s := range scenarios() {
		all.Go(func() error {
			t.Run(s.name, func(t *testing.T) { s.run(newTrial(t, newSubject(t))) })
			return nil
		})
	}
	_ = all.Wait() // each tells its own failures
}

// atOnce is how many scenarios run at the same time.
const atOnce = 8
