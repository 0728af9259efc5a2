package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

// patience is how long the measurements wait for what must happen.
const patience = 30 * time.Second

// eventually asks until the answer is good.
func eventually(ctx context.Context, ask func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		if waitErr := wait(ctx, 5*time.Millisecond); waitErr != nil {
			return errors.Join(waitErr, err)
		}
	}
}

// checkRecord checks that everything is settled, and that every fact of n apps
// was stated, once, and nothing else.
func checkRecord(ctx context.Context, b *bus.Bus, n int) error {
	if err := eventually(ctx, func() error { return checkSettled(ctx, b) }); err != nil {
		return err
	}
	dead, err := b.DeadLetters(ctx)
	if err != nil {
		return err
	}
	if len(dead) > 0 {
		return fmt.Errorf("%d dead letters, the first one: %s", len(dead), dead[0].Reason)
	}
	type statement struct {
		kind events.Kind
		app  string
	}
	stated := map[statement]int{}
	for _, filter := range []string{"tag.>", "build.>", "release.>", "cdn.>"} {
		for recorded, err := range b.Facts(ctx, filter, false) {
			if err != nil {
				return err
			}
			stated[statement{recorded.Fact.Kind(), appOf(recorded.Fact)}]++
		}
	}
	apps := map[events.Kind]int{}
	for what, times := range stated {
		apps[what.kind]++
		if times != 1 {
			return fmt.Errorf("%s of %s was stated %d times", what.kind, what.app, times)
		}
	}
	want := map[events.Kind]int{
		events.KindTagSeen: n, events.KindBuildStarted: n, events.KindBuildDone: n,
		events.KindReleaseWanted: n, events.KindReleaseStarted: n, events.KindReleaseDone: n, events.KindCDNDone: n,
	}
	if !maps.Equal(apps, want) {
		return fmt.Errorf("facts were stated of so many apps: %v, expected %v", apps, want)
	}
	return nil
}

func checkSettled(ctx context.Context, b *bus.Bus) error {
	lags, err := b.Lags(ctx)
	if err != nil {
		return err
	}
	for _, lag := range lags {
		if lag.Waiting > 0 || lag.InWork > 0 {
			return fmt.Errorf("%s has %d messages waiting and %d in work", lag.Consumer, lag.Waiting, lag.InWork)
		}
	}
	return nil
}

func appOf(f events.Fact) string {
	switch f := f.(type) {
	case *events.TagSeen:
		return f.App
	case *events.BuildStarted:
		return f.App
	case *events.BuildDone:
		return f.App
	case *events.ReleaseWanted:
		return f.App
	case *events.ReleaseStarted:
		return f.App
	case *events.ReleaseDone:
		return f.App
	case *events.CDNDone:
		return f.App
	}
	return f.Subject() // none of ours
}
