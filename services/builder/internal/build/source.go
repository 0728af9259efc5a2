package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/tagship/tagship/events"
)

// A source is kept for a while only. A version that is built after that, such as
// one whose build was asked for again, waits until tagwatch has staged its source
// again. The request for that is on record, so that whichever builder gets the
// message next knows of it.
const (
	askAgain   = time.Minute      // between two requests to stage a source
	stageLimit = 15 * time.Minute // from the first request on, until the build has failed
	stageSoon  = 2 * time.Second  // how long the message waits after a request
	stageLater = 10 * time.Second // how long it waits otherwise
)

// source opens the staged source. If that is gone, it makes sure that it was asked
// for, and returns an [events.Snooze]; a [Failure] if it does not come back.
func (b *Builder) source(ctx context.Context, o order) (io.ReadCloser, error) {
	archive, err := b.Sources.GetSource(ctx, o.seen.Source.Digest)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return archive, err
	}
	now := time.Now()
	asked, err := b.asked(ctx, o, now)
	if err != nil {
		return nil, err
	}
	if len(asked) > 0 {
		if err := b.stillHoping(ctx, o, asked[0], now); err != nil {
			return nil, err
		}
		if now.Sub(asked[len(asked)-1].Time) < askAgain {
			return nil, events.Snooze(stageLater, fmt.Sprintf("the source of %s@%s is gone, and is being staged again", o.app, o.version))
		}
	}
	if _, err := b.Record.Request(ctx, events.NewRequest(events.TagRequested, "", o.app, o.version, askedBy)); err != nil {
		return nil, fmt.Errorf("ask for the source of %s@%s: %w", o.app, o.version, err)
	}
	return nil, events.Snooze(stageSoon, fmt.Sprintf("the source of %s@%s is gone, and was asked for", o.app, o.version))
}

// askedBy is who asks for sources.
const askedBy = "builder"

// asked returns the requests for the version's source that builders made since
// the message came.
func (b *Builder) asked(ctx context.Context, o order, now time.Time) ([]events.Asked, error) {
	since := now.Add(-2 * stageLimit) // older ones are of a builder that was stopped meanwhile
	if o.time.After(since) {
		since = o.time
	}
	all, err := b.Record.Requests(ctx, events.TagRequested.Subject(o.app), since)
	if err != nil {
		return nil, err
	}
	var own []events.Asked
	for _, a := range all {
		if a.Request.Version == o.version && a.Request.By == askedBy {
			own = append(own, a)
		}
	}
	return own, nil
}

// stillHoping returns a [Failure] if the source was refused since it was first
// asked for, or has been asked for for too long.
func (b *Builder) stillHoping(ctx context.Context, o order, first events.Asked, now time.Time) error {
	subject := events.KindTagRefused.Subject(o.app, o.version)
	recorded, err := b.Record.Last(ctx, subject)
	switch {
	case errors.Is(err, events.ErrNotRecorded):
	case err != nil:
		return fmt.Errorf("look up %s: %w", subject, err)
	case recorded.Seq > first.Origin.Seq:
		if refused, ok := recorded.Fact.(*events.TagRefused); ok {
			return Failf("the source is gone, and cannot be staged again: %s; once that is mended, ask for the build again on subject %s",
				refused.Reason, events.BuildRequested.Subject(o.app))
		}
	}
	if now.Sub(first.Time) > stageLimit {
		return Failf("the source is gone, and was not staged again within %s: see that tagwatch runs and watches %s, then ask for the build again on subject %s",
			stageLimit, o.app, events.BuildRequested.Subject(o.app))
	}
	return nil
}
