package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tagship/tagship/events"
)

// record is what is known of a version, and what of it is shown. The table holds
// one for each version, under <app>.<version>.
type record struct {
	Build  build             `json:"build,omitzero"`
	Places map[string]*place `json:"places,omitempty"` // by environment
	Status Status            `json:"status,omitzero"`  // as it was posted last
}

// build is what is known of a version's build.
type build struct {
	Seq    uint64 `json:"seq"`   // where the newest fact was stored first
	State  State  `json:"state"` // in_progress, success or failure
	Reason string `json:"reason,omitempty"`
}

// place is what is known of a version in one environment.
type place struct {
	Seq     uint64 `json:"seq"`     // where the newest fact was stored first
	Release string `json:"release"` // the id of the release that it is about
	State   State  `json:"state"`   // how that release fares

	// What is known of the newest release that has ended.
	Ended   uint64 `json:"ended,omitempty"`   // where that was stored first; 0 if none has
	Outcome State  `json:"outcome,omitempty"` // success or failure
	Reason  string `json:"reason,omitempty"`  // of a failure
	Running string `json:"running,omitempty"` // what runs after a failure; empty for nothing

	Deployment int64 `json:"deployment,omitempty"` // of Release at the forge; 0 if none is made
	Shown      State `json:"shown,omitempty"`      // how it was shown last
}

// merge takes in a fact unless a newer one is known already, and tells whether it
// did. What is about something else is passed over.
func (k *record) merge(v *version, r events.Recorded) bool {
	about, known := topicOf(r.Fact)
	if !known || about.app != v.app || about.version != v.name {
		return false
	}
	switch f := r.Fact.(type) {
	case *events.BuildStarted:
		return k.mergeBuild(build{Seq: r.First, State: InProgress})
	case *events.BuildDone:
		return k.mergeBuild(build{Seq: r.First, State: Success})
	case *events.BuildFailed:
		return k.mergeBuild(build{Seq: r.First, State: Failure, Reason: clip(f.Reason, maxText)})
	case *events.ReleaseStarted:
		return k.mergePlace(f.Env, place{Seq: r.First, Release: f.ReleaseID, State: InProgress})
	case *events.ReleaseDone:
		return k.mergePlace(f.Env, place{Seq: r.First, Release: f.ReleaseID, State: Success})
	case *events.ReleaseFailed:
		return k.mergePlace(f.Env, place{Seq: r.First, Release: f.ReleaseID, State: Failure, Reason: clip(f.Reason, maxText), Running: f.Running})
	}
	return false // of a tag, the fact itself says all there is to show
}

func (k *record) mergeBuild(b build) bool {
	if b.Seq <= k.Build.Seq {
		return false
	}
	k.Build = b
	return true
}

func (k *record) mergePlace(env string, p place) bool {
	before := k.Places[env]
	if before == nil {
		before = &place{}
	}
	if p.Seq <= before.Seq {
		return false
	}
	if p.State == InProgress { // the outcome before it stands until this one ends
		p.Ended, p.Outcome, p.Reason, p.Running = before.Ended, before.Outcome, before.Reason, before.Running
	} else {
		p.Ended, p.Outcome = p.Seq, p.State
	}
	if p.Release == before.Release {
		p.Deployment, p.Shown = before.Deployment, before.Shown
	}
	if k.Places == nil {
		k.Places = map[string]*place{}
	}
	k.Places[env] = &p
	return true
}

func recordKey(v *version) string { return events.Escape(v.app) + "." + events.Escape(v.name) }

func (r *Reporter) read(ctx context.Context, v *version) (*record, error) {
	value, _, err := r.Table.Get(ctx, recordKey(v))
	if errors.Is(err, events.ErrNotRecorded) {
		return &record{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is shown of %s %s: %w", v.app, v.name, err)
	}
	var known record
	if err := json.Unmarshal(value, &known); err != nil {
		return nil, fmt.Errorf("decode what is shown of %s %s: %w", v.app, v.name, err)
	}
	return &known, nil
}

func (r *Reporter) write(ctx context.Context, v *version, known *record) error {
	value, err := json.Marshal(known)
	if err != nil {
		return fmt.Errorf("encode what is shown of %s %s: %w", v.app, v.name, err)
	}
	if err := r.Table.Put(ctx, recordKey(v), value); err != nil {
		return fmt.Errorf("record what is shown of %s %s: %w", v.app, v.name, err)
	}
	return nil
}
