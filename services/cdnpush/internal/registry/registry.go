// Package registry reads packages from an OCI registry, where builds leave them
// as the layers of an artifact. It is an adapter of publish.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/cdnpush/internal/publish"
)

// Options says how registries are reached.
type Options struct {
	// User and Password are for basic authentication; empty means anonymous.
	User, Password string
	// Insecure allows plain HTTP to registries beyond the local network.
	Insecure bool
	// Stall is how long a registry may send nothing before it is given up on.
	// Default 1 min.
	Stall time.Duration
}

// Registry implements [publish.Packages].
type Registry struct {
	options []remote.Option
	names   []name.Option
	stall   time.Duration
}

var _ publish.Packages = (*Registry)(nil)

// New makes a reader of registries. It connects to nothing yet.
func New(o Options) (*Registry, error) {
	if o.Stall == 0 {
		o.Stall = time.Minute
	}
	base, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the registry client has no HTTP transport")
	}
	transport := base.Clone()
	transport.ResponseHeaderTimeout = o.Stall
	r := &Registry{stall: o.Stall, options: []remote.Option{remote.WithTransport(transport), remote.WithUserAgent("tagship-cdnpush")}}
	if o.User != "" || o.Password != "" {
		r.options = append(r.options, remote.WithAuth(&authn.Basic{Username: o.User, Password: o.Password}))
	}
	if o.Insecure {
		r.names = append(r.names, name.Insecure)
	}
	return r, nil
}

// Open implements [publish.Packages]. The content is verified against the digest
// while it is read: instead of its end, other content ends with an error.
func (r *Registry) Open(ctx context.Context, set events.Image, p events.Package) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	content, err := r.open(ctx, set, p)
	if err != nil {
		cancel(err)
		return nil, fmt.Errorf("fetch package %s from %s: %w", p.Name, set.Ref(), err)
	}
	stalled := fmt.Errorf("fetch package %s from %s: the registry sent nothing for %s", p.Name, set.Ref(), r.stall)
	return &watched{
		ReadCloser: content, ctx: ctx, cancel: cancel, stall: r.stall,
		timer: time.AfterFunc(r.stall, func() { cancel(stalled) }),
	}, nil
}

func (r *Registry) open(ctx context.Context, set events.Image, p events.Package) (io.ReadCloser, error) {
	ref, err := name.NewDigest(set.Ref(), r.names...)
	if err != nil {
		return nil, events.Permanent(fmt.Errorf("the build names no artifact by digest: %w", err))
	}
	digest, err := v1.NewHash(p.Digest)
	if err != nil {
		return nil, events.Permanent(err)
	}
	artifact, err := remote.Image(ref, append([]remote.Option{remote.WithContext(ctx)}, r.options...)...)
	if err != nil {
		return nil, err
	}
	// Asked for through the manifest, so that the set vouches for the package.
	layer, err := artifact.LayerByDigest(digest)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", digest, err)
	}
	if size, err := layer.Size(); err != nil || size != p.Size {
		return nil, errors.Join(err, fmt.Errorf("it is %d bytes long there, %d in the build's record", size, p.Size))
	}
	return layer.Compressed() // as stored: a package is no archive to be unpacked
}

// watched gives up on a registry that sends nothing for too long.
type watched struct {
	io.ReadCloser
	ctx    context.Context // of the request; its cause tells why reading ended
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

func (w *watched) Read(b []byte) (int, error) {
	w.timer.Reset(w.stall)
	n, err := w.ReadCloser.Read(b)
	if err != nil && !errors.Is(err, io.EOF) && w.ctx.Err() != nil {
		err = context.Cause(w.ctx)
	}
	return n, err
}

// Close ends the request.
func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel(context.Canceled)
	return w.ReadCloser.Close()
}
