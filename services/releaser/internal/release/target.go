package release

import (
	"context"
	"slices"
	"strings"

	"github.com/tagship/tagship/events"
)

// Plan is what a target is to run: one version of one app, under a release id.
type Plan struct {
	// Release is the id of the release. The target keeps it beside what it runs
	// and recognises by it what an earlier attempt has begun.
	Release string
	Env     string
	App     string
	Version string
	Image   events.Image
	Deploy  events.Deploy
}

// Environment is what the program finds in its environment, apart from what the
// image carries: the recipe's, and what is always there.
func (p Plan) Environment() map[string]string {
	env := map[string]string{}
	for name, value := range p.Deploy.Env {
		env[name] = value
	}
	env["TAGSHIP_APP"] = p.App
	env["TAGSHIP_ENV"] = p.Env
	env["TAGSHIP_VERSION"] = p.Version
	env["TAGSHIP_RELEASE"] = p.Release
	return env
}

// State is what a target reports of one release.
type State struct {
	// Healthy counts the instances that run the plan's digest under the plan's
	// release id and are healthy now.
	Healthy int
	// Settled is set if the release has all the traffic and nothing else of the app runs.
	Settled bool
	// Failed is set if waiting is of no use: an instance has exited, or the target gave up.
	Failed bool
	// Problem says what is not healthy yet, and what the newest check found.
	Problem string
	// Output is the end of what the unhealthy instances wrote.
	Output []string
	// Address is where the app answers; empty if it listens on no port.
	Address string
}

// Target is a system that runs the apps of one environment.
//
// A release goes Apply, Observe until healthy for long enough, Settle. A
// rollback is the same with the plan of what ran before. A target may do the
// work itself (start containers, move the traffic) or hand the plan to a system
// that rolls out on its own and only be asked: then Settle confirms what that
// system has done already.
//
// All methods may be called again at any time with the same plan, by this
// process or the successor of a killed one, and continue what was begun. No two
// calls run at once for one app. Different apps are worked on concurrently.
//
// An error that is a [*Fault] says that the app, not the target, is at fault.
// Any other error is the target's trouble and worth a retry.
type Target interface {
	// Apply begins to run the plan beside what runs now, and returns without
	// waiting for health. What runs and has the traffic keeps both.
	Apply(ctx context.Context, p Plan) error
	// Observe reports how the plan's release fares. A release the target does
	// not know has the zero State.
	Observe(ctx context.Context, p Plan) (State, error)
	// Settle gives all the traffic to the plan's release, without failing a
	// request, and then stops all else of the app.
	Settle(ctx context.Context, p Plan) error
	// Clear stops all of the app.
	Clear(ctx context.Context, app string) error
}

// Fault is an error the app brought about; the release fails for it.
type Fault struct {
	Reason string   // what went wrong, for people
	Output []string // the end of what the app wrote
}

const (
	maxOutputLines = 10
	maxOutputLine  = 300 // bytes
)

// Error is the reason and the last lines of output.
func (f *Fault) Error() string {
	if len(f.Output) == 0 {
		return f.Reason
	}
	lines := slices.Clone(f.Output[max(0, len(f.Output)-maxOutputLines):])
	for i, line := range lines {
		if len(line) > maxOutputLine {
			line = line[:maxOutputLine] + "…"
		}
		lines[i] = strings.ToValidUTF8(line, "\uFFFD")
	}
	return f.Reason + "; its last output:\n" + strings.Join(lines, "\n")
}
