package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/cdnpush/internal/registry"
)

// upstream is a registry that holds one package, and does as change says.
func upstream(t *testing.T, content []byte, change func(http.Handler) http.Handler) (events.Image, events.Package) {
	t.Helper()
	plain := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	pushed := httptest.NewServer(plain)
	layer := static.NewLayer(content, "application/vnd.debian.binary-package")
	artifact, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		t.Fatal(err)
	}
	artifactDigest, err := artifact.Digest()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(strings.TrimPrefix(pushed.URL, "http://") + "/agent@" + artifactDigest.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, artifact, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	pushed.Close()
	server := httptest.NewServer(change(plain))
	t.Cleanup(server.Close)
	return events.Image{Repository: strings.TrimPrefix(server.URL, "http://") + "/agent", Digest: artifactDigest.String()},
		events.Package{Name: "agent.deb", Digest: digest.String(), Size: int64(len(content))}
}

func asItIs(h http.Handler) http.Handler { return h }

func fetch(t *testing.T, o registry.Options, set events.Image, p events.Package) ([]byte, error) {
	t.Helper()
	r, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	content, err := r.Open(t.Context(), set, p)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(content)
	if closeErr := content.Close(); closeErr != nil && err == nil {
		t.Errorf("close: %v", closeErr)
	}
	return body, err
}

func TestOpen(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("a package "), 100_000)
	set, p := upstream(t, content, asItIs)
	got, err := fetch(t, registry.Options{}, set, p)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	set, p := upstream(t, []byte("a package"), asItIs)
	other, size, repository := p, p, set
	other.Digest = "sha256:" + strings.Repeat("0", 64)
	size.Size++
	repository.Repository += "/nothing"
	for name, c := range map[string]struct {
		set  events.Image
		p    events.Package
		want string
	}{
		"no such package": {set, other, other.Digest},
		"other size":      {set, size, "9 bytes long there, 10 in the build's record"},
		"no such set":     {repository, p, "nothing"},
	} {
		_, err := fetch(t, registry.Options{}, c.set, c.p)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "agent.deb") || events.IsPermanent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChangedContentIsAnError(t *testing.T) {
	t.Parallel()
	set, p := upstream(t, []byte("a package"), blobs(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write([]byte("A PACKAGE")); err != nil {
			t.Error(err)
		}
	}))
	if body, err := fetch(t, registry.Options{}, set, p); err == nil {
		t.Errorf("read %q without an error", body)
	}
}

func TestStalledRegistryIsGivenUpOn(t *testing.T) {
	t.Parallel()
	set, p := upstream(t, bytes.Repeat([]byte("x"), 1<<20), blobs(func(w http.ResponseWriter, r *http.Request) {
		if _, err := w.Write([]byte("only this")); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	}))
	_, err := fetch(t, registry.Options{Stall: 50 * time.Millisecond}, set, p)
	if err == nil || !strings.Contains(err.Error(), "sent nothing for 50ms") {
		t.Errorf("error is %v", err)
	}
}

func TestCancelledReadingTellsTheCause(t *testing.T) {
	t.Parallel()
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	set, p := upstream(t, bytes.Repeat([]byte("x"), 1<<20), blobs(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		cancel(stopped)
		<-r.Context().Done()
	}))
	r, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	content, err := r.Open(ctx, set, p)
	if err == nil {
		_, err = io.ReadAll(content)
		if closeErr := content.Close(); closeErr != nil {
			t.Error(closeErr)
		}
	}
	if !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestPasswordIsSentAndNeverShown(t *testing.T) {
	t.Parallel()
	guarded := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "ann" || password != "s3cret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="packages"`)
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	set, p := upstream(t, []byte("a package"), guarded)
	if got, err := fetch(t, registry.Options{User: "ann", Password: "s3cret"}, set, p); err != nil || string(got) != "a package" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := fetch(t, registry.Options{User: "bob", Password: "wr0ng"}, set, p); err == nil || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("error is %v", err)
	}
}

// blobs answers requests for content by itself.
func blobs(answer http.HandlerFunc) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				answer(w, r)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}
