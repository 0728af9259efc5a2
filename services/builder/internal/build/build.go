// Package build turns a version into what can be released: it compiles the
// version's source in its toolchain, assembles the runtime image and the
// packages, and stores them by digest.
//
// The step is safe to run again from its beginning after it was killed anywhere.
// One builder at a time works on a version, under a lease; what it stores is
// addressed by content; and build.done, which names the bytes that every
// environment gets, is recorded once, while the lease is held.
//
// An error that is the app's own fault, a [Failure], ends in build.failed. Any
// other error is trouble of the machinery and is tried again.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/tagship/tagship/events"
)

// heldDelay is how long a message waits whose version another builder works on.
const heldDelay = 5 * time.Second

// Record is where facts are stated and looked up.
type Record interface {
	// Publish states a fact; a fact that can happen once and is there already is no error.
	Publish(ctx context.Context, fact events.Fact, fences ...events.Fence) (events.Stored, error)
	// Last returns the newest fact on a subject; the error wraps [events.ErrNotRecorded] if there is none.
	Last(ctx context.Context, subject string) (events.Recorded, error)
	// Request publishes a request.
	Request(ctx context.Context, request *events.Request) (events.Stored, error)
	// Requests returns the requests on a subject that were stored since a time, oldest first.
	Requests(ctx context.Context, subject string, since time.Time) ([]events.Asked, error)
}

// Leases keep two builders from working on one version at once.
type Leases interface {
	// Hold runs work while it holds the lease; the error wraps [events.ErrHeld] if another does.
	Hold(ctx context.Context, key string, work func(ctx context.Context) error) error
}

// Sources are the staged archives of source code.
type Sources interface {
	// GetSource opens the archive with the given digest. Its reader fails if the
	// content is another. The error wraps [fs.ErrNotExist] if it is not there any more.
	GetSource(ctx context.Context, digest string) (io.ReadCloser, error)
}

// Logs take the output of builds while they run.
type Logs interface {
	Log(app, version string) io.WriteCloser
}

// Executor compiles.
type Executor interface {
	// Name is the executor's name in the configuration: docker or host.
	Name() string
	// Run executes the job's commands. When it returns nil, the job's outputs that the
	// commands made stand in the job's tree. It returns the toolchain image by digest, or
	// nothing if there is none. A [Failure] is the app's own fault. When ctx ends, Run
	// stops what it started before it returns. Whatever a killed predecessor left of
	// the same app and version, it removes first.
	Run(ctx context.Context, job Job) (toolchain string, err error)
}

// Job is what an executor is to do.
type Job struct {
	App, Version string
	Toolchain    string            // as the recipe names it; may be empty
	Commands     []string          // run one after the other at the root of the tree
	Env          map[string]string // of the commands
	Cache        []string          // absolute folders to keep for the app's next build
	Timeout      time.Duration     // for all commands together
	Tree         *os.Root          // the source; the outputs come to stand there too
	Outputs      []string          // clean paths in the tree, none inside another
	Log          io.Writer         // gets the output while it is written
}

// Limit bounds ctx by the job's timeout; its cause is then a [Failure].
func (j Job) Limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, j.Timeout, Failf("the commands took longer than the recipe's timeout of %s", j.Timeout))
}

// Identity is what everything that is stored says of where it came from.
type Identity struct {
	App, Version, Commit, Repo string
	Time                       time.Time // of the commit
}

// Packager makes the files for the CDN.
type Packager interface {
	// Make makes the packages, from what stands in the tree, in the given folder. A [Failure] is the app's own fault.
	Make(ctx context.Context, of Identity, recipe []events.RecipePackage, tree *os.Root, folder string) ([]PackageFile, error)
}

// PackageFile is a package and where it is on disk.
type PackageFile struct {
	events.Package
	Path string
}

// Images store images and packages in the registry. What is there already is not sent again.
type Images interface {
	// PushImage assembles the image from what stands in the tree, pushes it by digest
	// and tags it with the version. A [Failure] is the app's own fault.
	PushImage(ctx context.Context, of Identity, recipe events.RecipeImage, tree *os.Root) (events.Image, error)
	// PushPackages pushes packages as one artifact, by digest, and tags it with the version.
	PushPackages(ctx context.Context, of Identity, files []PackageFile) (events.Image, error)
}

// Builder is the step. Its fields are set once, before use; its methods may be
// called by several goroutines.
type Builder struct {
	Record   Record
	Leases   Leases
	Sources  Sources
	Logs     Logs
	Executor Executor
	Packager Packager
	Images   Images
	// Env is given to the commands of every build. Its values are secrets: they are struck out of the output.
	Env map[string]string
	// Folder is where sources are unpacked and packages made, one folder per version.
	Folder string
	// Slots bounds by its capacity how many builds run at once, whatever asked for them.
	Slots chan struct{}
	Log   *zap.Logger
}

// TagSeen handles tag.seen: it builds the version, unless it is built already.
func (b *Builder) TagSeen(ctx context.Context, d events.Delivery[*events.TagSeen]) ([]events.Fact, error) {
	o := order{app: d.Message.App, version: d.Message.Version, origin: d.Origin, time: d.Time}
	switch done, err := b.built(ctx, o.app, o.version); {
	case err != nil:
		return nil, err
	case done != nil:
		return o.already(done)
	}
	o.seen, o.seq = d.Message, d.First
	return b.build(ctx, o)
}

// Requested handles a request to build: a version that was never seen, or is
// built already, is refused; a version whose build failed is built again.
func (b *Builder) Requested(ctx context.Context, d events.Delivery[*events.Request]) ([]events.Fact, error) {
	o := order{app: d.Message.App, version: d.Message.Version, origin: d.Origin, time: d.Time, ask: d.Message, by: d.Message.By}
	switch done, err := b.built(ctx, o.app, o.version); {
	case err != nil:
		return nil, err
	case done != nil:
		return o.already(done)
	}
	subject := events.KindTagSeen.Subject(o.app, o.version)
	recorded, err := b.Record.Last(ctx, subject)
	switch {
	case errors.Is(err, events.ErrNotRecorded):
		return refuse(o.ask, "%s@%s was never seen: push the tag, or ask for a look at the repository on subject %s",
			o.app, o.version, events.TagRequested.Subject(o.app)), nil
	case err != nil:
		return nil, fmt.Errorf("look up %s: %w", subject, err)
	}
	seen, ok := recorded.Fact.(*events.TagSeen)
	if !ok {
		return nil, events.Permanent(fmt.Errorf("look up %s: found a %s", subject, recorded.Fact.Kind()))
	}
	o.seen, o.seq = seen, recorded.First
	return b.build(ctx, o)
}

// order is one version to build.
type order struct {
	app, version string
	origin       events.Cause    // the message that is handled
	time         time.Time       // when that was stored
	ask          *events.Request // nil if nobody asked
	by           string          // who asked; empty if nobody did
	seen         *events.TagSeen
	seq          uint64 // of the tag.seen fact, when it was first stored
}

// already is the outcome where the version is built. A request is answered,
// unless the build is the answer: then its message came again.
func (o order) already(done *events.BuildDone) ([]events.Fact, error) {
	if o.ask == nil || done.Cause != nil && *done.Cause == o.origin {
		return nil, events.Skip("%s@%s is already built", o.app, o.version)
	}
	return refuse(o.ask, "%s@%s is already built, and a version is immutable: to build other code, push a new tag", o.app, o.version), nil
}

func (b *Builder) built(ctx context.Context, app, version string) (*events.BuildDone, error) {
	subject := events.KindBuildDone.Subject(app, version)
	recorded, err := b.Record.Last(ctx, subject)
	if errors.Is(err, events.ErrNotRecorded) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", subject, err)
	}
	done, ok := recorded.Fact.(*events.BuildDone)
	if !ok {
		return nil, events.Permanent(fmt.Errorf("look up %s: found a %s", subject, recorded.Fact.Kind()))
	}
	return done, nil
}

// build works under the version's lease and turns the outcome into facts.
func (b *Builder) build(ctx context.Context, o order) ([]events.Fact, error) {
	select {
	case b.Slots <- struct{}{}:
		defer func() { <-b.Slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a free slot: %w", context.Cause(ctx))
	}
	var other *events.BuildDone
	err := b.Leases.Hold(ctx, events.BuildRequested.Subject(o.app, o.version), func(ctx context.Context) (err error) {
		other, err = b.leased(ctx, o)
		return err
	})
	var failure *Failure
	switch {
	case errors.Is(err, events.ErrHeld):
		return nil, events.Snooze(heldDelay, fmt.Sprintf("%s@%s is being built by another builder", o.app, o.version))
	case errors.As(err, &failure):
		failed := &events.BuildFailed{App: o.app, Version: o.version, Reason: failure.Error()}
		failed.By = o.by
		return []events.Fact{failed}, nil
	case err == nil && other != nil:
		return o.already(other)
	}
	return nil, err
}

// leased builds and records build.done, or returns what another builder
// recorded. The fact is published here, and not left to the caller, so that the
// lease covers it: the next holder either finds it, or may replace everything.
func (b *Builder) leased(ctx context.Context, o order) (other *events.BuildDone, err error) {
	if other, err = b.built(ctx, o.app, o.version); other != nil || err != nil {
		return other, err
	}
	archive, err := b.source(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	started := &events.BuildStarted{App: o.app, Version: o.version, Commit: o.seen.Commit, Executor: b.Executor.Name()}
	started.By = o.by
	if _, err := b.Record.Publish(ctx, started); err != nil {
		return nil, fmt.Errorf("publish %s: %w", started.Kind(), err)
	}
	begin := time.Now()
	done, err := b.run(ctx, o, archive)
	if err != nil {
		// What a stopping builder or a lost lease cut short is nobody's failure, whatever it looks like.
		if cause := context.Cause(ctx); cause != nil {
			return nil, fmt.Errorf("build %s@%s: %w", o.app, o.version, cause)
		}
		return nil, err
	}
	done.By, done.Took = o.by, events.Duration(time.Since(begin).Round(time.Millisecond))
	stored, err := b.Record.Publish(ctx, done)
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", done.Kind(), err)
	}
	if stored.Already { // by a builder that had lost the lease and did not know yet
		return b.built(ctx, o.app, o.version)
	}
	return nil, nil
}
