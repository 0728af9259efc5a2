package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

// Outcomes of a release in its history.
const (
	outcomeDone      = "done"
	outcomeUnchanged = "unchanged" // it ran there already
	outcomeFailed    = "failed"
	outcomeRefused   = "refused"
	outcomeInFlight  = "in flight"
)

// pastRelease is how `tagship history --json` tells a release.
type pastRelease struct {
	At       time.Time       `json:"at"` // of its end; of its beginning while it is in flight
	Env      string          `json:"env"`
	App      string          `json:"app"`
	Version  string          `json:"version"`
	Outcome  string          `json:"outcome"` // done, unchanged, failed, refused, in flight
	By       string          `json:"by"`      // who asked, or the service that did so by itself
	Promoted string          `json:"promoted,omitempty"`
	Took     events.Duration `json:"took,omitempty"` // from its start to its end
	Reason   string          `json:"reason,omitempty"`
	Running  string          `json:"running,omitempty"` // what ran after it failed

	wanted events.Cause // zero for a request that was refused at once
	began  time.Time
}

func historyCommand(c Console) *cobra.Command {
	var conn connection
	var most int
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "history ENV [APP]",
		Short:   "The releases of an environment, newest first",
		Example: "  tagship history prod web -n 5",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPlace(events.ReleaseRequested, args[0]); err != nil {
				return err
			}
			app := ""
			if len(args) == 2 {
				app = args[1]
				if err := checkApp(app); err != nil {
					return err
				}
			}
			if most < 1 {
				return usagef("-n is %d, expected at least 1", most)
			}
			b, err := conn.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer b.Close()
			past, err := readHistory(cmd.Context(), b, args[0], app)
			if err != nil {
				return err
			}
			if len(past) == 0 {
				return refusedf("nothing was ever released to %s%s; 'tagship status' shows what runs where", args[0], ofApp(app))
			}
			past = past[:min(most, len(past))]
			if asJSON {
				return writeJSON(c.Out, past)
			}
			writeHistory(c, past)
			return nil
		},
	}
	conn.register(cmd.Flags(), "f")
	cmd.Flags().IntVarP(&most, "number", "n", 20, "how many to show")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func ofApp(app string) string {
	if app == "" {
		return ""
	}
	return " of app " + app
}

// readHistory puts together the releases of an environment, newest first.
func readHistory(ctx context.Context, b *bus.Bus, env, app string) ([]pastRelease, error) {
	var all []*pastRelease
	wanted := map[events.Cause]*pastRelease{}
	for r, err := range b.Facts(ctx, "release.*."+token(env)+"."+token(app), false) {
		if err != nil {
			return nil, err
		}
		cause := events.Cause{}
		if head := r.Fact.Head(); head.Cause != nil {
			cause = *head.Cause
		}
		release := wanted[cause]
		if release == nil {
			release = &pastRelease{By: r.Fact.Head().By}
			if _, begins := r.Fact.(*events.ReleaseWanted); begins {
				release.wanted = events.Cause{Stream: events.StreamReleases, Seq: r.Seq}
				wanted[release.wanted] = release
			}
			all = append(all, release)
		}
		release.add(r.Fact)
	}
	past := make([]pastRelease, len(all))
	for i, release := range all {
		past[i] = *release
	}
	slices.SortStableFunc(past, func(a, b pastRelease) int { return b.At.Compare(a.At) })
	return past, nil
}

// add takes over what a fact says of the release.
func (p *pastRelease) add(f events.Fact) {
	switch f := f.(type) {
	case *events.ReleaseWanted:
		p.Env, p.App, p.Version, p.Promoted = f.Env, f.App, f.Version, f.Promoted
		p.At, p.Outcome = f.At, outcomeInFlight
	case *events.ReleaseStarted:
		p.Env, p.App, p.Version = f.Env, f.App, f.Version
		p.At, p.began, p.Outcome = f.At, f.At, outcomeInFlight
	case *events.ReleaseDone:
		p.Env, p.App, p.Version = f.Env, f.App, f.Version
		p.At, p.Outcome, p.Took = f.At, outcomeDone, f.Took
		if f.Unchanged {
			p.Outcome = outcomeUnchanged
		}
	case *events.ReleaseFailed:
		p.Env, p.App, p.Version = f.Env, f.App, f.Version
		p.At, p.Outcome, p.Reason, p.Running = f.At, outcomeFailed, f.Reason, f.Running
		if !p.began.IsZero() {
			p.Took = events.Duration(max(0, f.At.Sub(p.began)))
		}
	case *events.ReleaseRefused:
		p.Env, p.App, p.Version = f.Env, f.App, f.Version
		p.At, p.Outcome, p.Reason = f.At, outcomeRefused, f.Reason
	}
}

func writeHistory(c Console, past []pastRelease) {
	var t table
	t.head("time", "version", "outcome", "by", "took", "")
	for _, p := range past {
		outcome := map[string]paint{outcomeDone: green, outcomeFailed: red, outcomeRefused: yellow}[p.Outcome]
		took := "-"
		if p.Took > 0 {
			took = lasted(time.Duration(p.Took))
		}
		t.row(cell{p.At.In(c.Now().Location()).Format("2006-01-02 15:04:05"), plain}, cell{about(p.App, p.Version), bold},
			cell{p.Outcome, outcome}, cell{by(p), plain}, cell{took, plain}, cell{remark(p), plain})
	}
	t.write(c.Out, painterFor(c.Out), "")
}

// by tells who or what wanted a release.
func by(p pastRelease) string {
	switch p.Promoted {
	case "":
		return p.By
	case "build":
		return "promoted as built"
	}
	return "promoted from " + p.Promoted
}

func remark(p pastRelease) string {
	text := clip(p.Reason, 160)
	if p.Outcome == outcomeFailed {
		if p.Running == "" {
			return text + "; nothing runs there"
		}
		text += "; back to " + p.Running
	}
	return text
}
