// Package oci puts what was built into an OCI registry, without a daemon: the
// runtime image, and the packages as an artifact beside it.
//
// The same input gives the same digests, whoever builds it and when. Everything
// is pushed by digest first and tagged last, so that a tag never names what is
// not there.
package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/tagship/tagship/services/builder/internal/build"
)

// https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md
const (
	annotationTitle    = "org.opencontainers.image.title"
	annotationVersion  = "org.opencontainers.image.version"
	annotationRevision = "org.opencontainers.image.revision"
	annotationSource   = "org.opencontainers.image.source"
	annotationCreated  = "org.opencontainers.image.created"
)

// Options say where the registry is and how to log in.
type Options struct {
	Registry string // host, port and perhaps a path: registry.internal:5000/team
	User     string // empty: what docker login stored on this machine, or nobody
	Password string
	Insecure bool   // plain HTTP; loopback addresses are always tried without TLS
	Platform string // of images, such as linux/amd64
	Layers   string // a folder in which the digests of known layers are kept
}

// Registry is where images and packages are stored. It may be used by several goroutines.
type Registry struct {
	options   Options
	host      name.Registry
	prefix    string
	platform  v1.Platform
	transport http.RoundTripper
}

var _ build.Images = (*Registry)(nil)

// New checks the options. It does not talk to the registry.
func New(o Options) (*Registry, error) {
	r := &Registry{options: o, transport: remote.DefaultTransport}
	host, prefix, _ := strings.Cut(o.Registry, "/")
	var err error
	if r.host, err = name.NewRegistry(host, r.nameOptions()...); err != nil {
		return nil, fmt.Errorf("registry %q: %w", o.Registry, err)
	}
	r.prefix = prefix
	if _, err := r.repository("app"); err != nil {
		return nil, fmt.Errorf("registry %q: %w", o.Registry, err)
	}
	platform, err := v1.ParsePlatform(o.Platform)
	if err != nil {
		return nil, fmt.Errorf("platform %q: %w", o.Platform, err)
	}
	r.platform = *platform
	if transport, ok := r.transport.(*http.Transport); ok {
		patient := transport.Clone()
		patient.ResponseHeaderTimeout = 5 * time.Minute // a registry may take its time over a large blob, but not for ever
		r.transport = patient
	}
	return r, nil
}

func (r *Registry) nameOptions() []name.Option {
	if r.options.Insecure {
		return []name.Option{name.Insecure}
	}
	return nil
}

func (r *Registry) repository(app string) (name.Repository, error) {
	path := app
	if r.prefix != "" {
		path = r.prefix + "/" + app
	}
	return name.NewRepository(r.host.Name()+"/"+path, r.nameOptions()...)
}

// Resolve implements [authn.Keychain]: the configured login is for the
// configured registry only; for others, such as those of base images and
// toolchains, it is what docker login stored on this machine.
func (r *Registry) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if r.options.User != "" && target.RegistryStr() == r.host.RegistryStr() {
		return &authn.Basic{Username: r.options.User, Password: r.options.Password}, nil
	}
	return authn.DefaultKeychain.Resolve(target)
}

// Login is how to log in to the registry that a reference names; empty if
// nothing is known of it.
func (r *Registry) Login(ctx context.Context, reference string) (authn.AuthConfig, error) {
	ref, err := r.reference(reference)
	if err != nil {
		return authn.AuthConfig{}, fmt.Errorf("parse reference: %w", err)
	}
	login, err := authn.Resolve(ctx, r, ref.Context())
	if err != nil {
		return authn.AuthConfig{}, fmt.Errorf("find login for %s: %w", ref.Context().RegistryStr(), err)
	}
	config, err := authn.Authorization(ctx, login)
	if err != nil {
		return authn.AuthConfig{}, fmt.Errorf("find login for %s: %w", ref.Context().RegistryStr(), err)
	}
	return *config, nil
}

// reference parses a reference to an image in this registry or another.
func (r *Registry) reference(text string) (name.Reference, error) {
	ref, err := name.ParseReference(text)
	if err != nil || ref.Context().RegistryStr() != r.host.RegistryStr() {
		return ref, err
	}
	return name.ParseReference(text, r.nameOptions()...)
}

func (r *Registry) remote(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(r), remote.WithTransport(r.transport),
		remote.WithPlatform(r.platform), remote.WithUserAgent("tagship-builder"),
	}
}

func notFound(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
