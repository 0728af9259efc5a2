// Package publish puts the packages of a version where people download them: on
// a channel. It is the domain of cdnpush and knows no store, registry or bus.
//
// What a channel holds, by key:
//
//	<channel>/<app>/<version>/<file>       the packages, byte for byte as built
//	<channel>/<app>/<version>/SHA256SUMS   as sha256sum -c reads it; the version is complete
//	<channel>/<app>/latest.json            a [Pointer] to the newest version
//	<channel>/<app>/latest                 its version alone, for shell scripts
//
// They are written in this order, and the first two never change once they are
// there. So a publication may be killed anywhere and started again: what is there
// with the right digest is left alone, what is missing is added, and nobody who
// follows a pointer ever finds less than it promises.
package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// Record is where facts are stated and looked up; see events/bus.
type Record interface {
	Publish(ctx context.Context, fact events.Fact, fences ...events.Fence) (events.Stored, error)
	Last(ctx context.Context, filter string) (events.Recorded, error)
}

// Leases keep two processes from publishing an app to a channel at once; see events/bus.
type Leases interface {
	Hold(ctx context.Context, key string, work func(ctx context.Context) error) error
}

// Packages is where builds leave their packages.
type Packages interface {
	// Open reads one package out of its set, both named by digest. The reader
	// ends with an error, never with io.EOF, if the connection broke.
	Open(ctx context.Context, set events.Image, p events.Package) (io.ReadCloser, error)
}

// Channel is a place that packages are published to.
type Channel struct {
	Store   Store
	Promote *Promote // nil: only by request
}

// Publisher publishes. Its methods are handlers and safe for concurrent use.
type Publisher struct {
	Record   Record
	Leases   Leases
	Packages Packages
	Channels map[string]Channel
	Log      *zap.Logger
}

// busy is for how long a publication waits that finds another one at work.
const busy = 2 * time.Second

// publication is one version on its way to one channel.
type publication struct {
	channel string
	store   Store
	build   *events.BuildDone
	by      string // who asked; empty for cdnpush itself
	// requested: a person asked, rather than that it was promoted.
	requested bool
	asked     time.Time    // when
	origin    events.Cause // by which message
	begun     time.Time
}

// refusal is why nothing is published.
type refusal struct{ reason string }

func (e *refusal) Error() string { return e.reason }

// failure is why a publication that was begun cannot be completed, however often it is tried.
type failure struct{ reason string }

func (e *failure) Error() string { return e.reason }

// publish carries a publication out, under the lease of its channel and app, and
// tells the facts that end it.
func (p *Publisher) publish(ctx context.Context, pub publication) ([]events.Fact, error) {
	var done *events.CDNDone
	lease := events.CDNRequested.Subject(pub.channel, pub.build.App)
	err := p.Leases.Hold(ctx, lease, func(ctx context.Context) (err error) {
		done, err = p.publishHeld(ctx, pub)
		return err
	})
	var refused *refusal
	var failed *failure
	switch {
	case err == nil:
		return []events.Fact{done}, nil
	case errors.As(err, &refused):
		return []events.Fact{pub.refused(refused.reason)}, nil
	case errors.As(err, &failed):
		return []events.Fact{&events.CDNFailed{
			Meta: events.Meta{By: pub.by}, Channel: pub.channel, App: pub.build.App, Version: pub.build.Version, Reason: failed.reason,
		}}, nil
	case errors.Is(err, events.ErrHeld):
		return nil, events.Snooze(busy, fmt.Sprintf("another publication of %s to %s is at work", pub.build.App, pub.channel))
	}
	return nil, fmt.Errorf("publish %s %s to %s: %w", pub.build.App, pub.build.Version, pub.channel, err)
}

func (pub publication) refused(reason string) *events.CDNRefused {
	return &events.CDNRefused{Meta: events.Meta{By: pub.by}, Channel: pub.channel, App: pub.build.App, Version: pub.build.Version, Reason: reason}
}

func (p *Publisher) publishHeld(ctx context.Context, pub publication) (*events.CDNDone, error) {
	files, err := pub.files()
	if err != nil {
		return nil, err
	}
	missing, err := survey(ctx, pub.store, files)
	if err != nil {
		return nil, err
	}
	due, err := pub.latestDue(ctx)
	if err != nil {
		return nil, err
	}
	ours := len(missing) > 0 || due
	if ours {
		started := &events.CDNStarted{Meta: events.Meta{By: pub.by}, Channel: pub.channel, App: pub.build.App, Version: pub.build.Version}
		if _, err := p.Record.Publish(ctx, started); err != nil {
			return nil, err
		}
	} else if ours, err = p.startedBy(ctx, pub); err != nil {
		return nil, err
	}
	for _, f := range missing {
		if err := p.add(ctx, pub, f); err != nil {
			return nil, err
		}
	}
	latest, err := pub.moveLatest(ctx, files)
	if err != nil {
		return nil, err
	}
	return &events.CDNDone{
		Meta:      events.Meta{By: pub.by},
		Channel:   pub.channel,
		App:       pub.build.App,
		Version:   pub.build.Version,
		Files:     downloads(pub.store, files),
		Unchanged: !ours,
		Latest:    latest,
		TagSeq:    pub.build.TagSeq,
		Took:      events.Duration(time.Since(pub.begun).Round(time.Millisecond)),
	}, nil
}

// startedBy tells whether an earlier delivery of the same message began the
// publication: then what is there is its own work.
func (p *Publisher) startedBy(ctx context.Context, pub publication) (bool, error) {
	last, err := p.Record.Last(ctx, events.KindCDNStarted.Subject(pub.channel, pub.build.App))
	if errors.Is(err, events.ErrNotRecorded) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	cause := last.Fact.Head().Cause
	return cause != nil && *cause == pub.origin, nil
}

// survey tells which files are missing. It refuses if one is there with other
// bytes, so that nothing is written at all.
func survey(ctx context.Context, store Store, files []file) ([]file, error) {
	var missing []file
	var other []string
	for _, f := range files {
		have, err := store.Stat(ctx, f.Key)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, f)
		case err != nil:
			return nil, err
		case have.Digest != f.Digest:
			other = append(other, otherBytes(f, have))
		}
	}
	if len(other) > 0 {
		return nil, &refusal{strings.Join(other, "; ")}
	}
	return missing, nil
}

func otherBytes(f file, have Object) string {
	return fmt.Sprintf("%s is there already with other bytes: it is %s (%d bytes), the build made %s (%d bytes). What is published never changes: tag a new version",
		f.Key, have.Digest, have.Size, f.Digest, f.Size)
}

// add puts one missing file into the store. That another one put it there
// meanwhile is fine if it is the same.
func (p *Publisher) add(ctx context.Context, pub publication, f file) error {
	content, err := p.open(ctx, pub, f)
	if err != nil {
		return err
	}
	err = pub.store.Create(ctx, f.Object, verify(content, f.Object))
	if closeErr := content.Close(); closeErr != nil {
		p.Log.Debug("close package after reading", zap.String("file", f.name), zap.Error(closeErr))
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	have, err := pub.store.Stat(ctx, f.Key)
	if err != nil {
		return err
	}
	if have.Digest != f.Digest {
		return &failure{otherBytes(f, have)}
	}
	return nil
}

func (p *Publisher) open(ctx context.Context, pub publication, f file) (io.ReadCloser, error) {
	if f.content != nil {
		return io.NopCloser(strings.NewReader(*f.content)), nil
	}
	return p.Packages.Open(ctx, *pub.build.PackageSet, events.Package{Name: f.name, Digest: f.Digest, Size: f.Size})
}

func downloads(store Store, files []file) []events.Download {
	var all []events.Download
	for _, f := range files {
		all = append(all, events.Download{URL: store.URL(f.Key), Digest: f.Digest, Size: f.Size})
	}
	return all
}
