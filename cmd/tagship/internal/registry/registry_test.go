package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/tagship/tagship/cmd/tagship/internal/registry"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func start(t *testing.T, dir string) *registry.Server {
	t.Helper()
	server, err := registry.Start(t.Context(), dir, "127.0.0.1:0", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server) })
	return server
}

// stop may be called again by the cleanup.
func stop(t *testing.T, server *registry.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	if err := server.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

func push(t *testing.T, server *registry.Server, ref string, img v1.Image) name.Reference {
	t.Helper()
	to, err := name.ParseReference(server.Addr() + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, img, remote.WithContext(t.Context())); err != nil {
		t.Fatalf("push %s: %v", to, err)
	}
	return to
}

func pull(t *testing.T, ref name.Reference) v1.Image {
	t.Helper()
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("pull %s: %v", ref, err)
	}
	return img
}

// content is a layer's bytes as they came over the wire, verified by the client.
func content(t *testing.T, img v1.Image) [][]byte {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, layer := range layers {
		r, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		all = append(all, body)
	}
	return all
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(64<<10, 3)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digestOf(t *testing.T, img v1.Image) v1.Hash {
	t.Helper()
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestPushAndPullSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "start")
	img := randomImage(t)
	digest := digestOf(t, img)
	first := start(t, dir)
	push(t, first, "team/web:v1.2.3", img)

	check := func(server *registry.Server) {
		t.Helper()
		repo, err := name.NewRepository(server.Addr() + "/team/web")
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range []name.Reference{repo.Tag("v1.2.3"), repo.Digest(digest.String())} {
			got := pull(t, ref)
			if d := digestOf(t, got); d != digest {
				t.Errorf("%s is %s, want %s", ref, d, digest)
			}
			if diff := cmp.Diff(content(t, img), content(t, got)); diff != "" {
				t.Errorf("layers of %s differ: %.300s", ref, diff)
			}
		}
	}
	check(first)
	stop(t, first)
	check(start(t, dir))
}

// Packages are kept as such artifacts, and later signatures too.
func TestArtifactsWithTypeAndSubject(t *testing.T) {
	server := start(t, t.TempDir())
	img := randomImage(t)
	push(t, server, "agent:v1", img)
	subject, err := partial.Descriptor(img)
	if err != nil {
		t.Fatal(err)
	}
	layer := static.NewLayer([]byte("a package"), "application/vnd.debian.binary-package")
	artifact, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       layer,
		Annotations: map[string]string{"org.opencontainers.image.title": "agent_1.0_amd64.deb"},
	})
	if err != nil {
		t.Fatal(err)
	}
	artifact = mutate.ConfigMediaType(artifact, "application/vnd.tagship.packages.v1+json")
	withSubject, ok := mutate.Subject(artifact, *subject).(v1.Image)
	if !ok {
		t.Fatal("an image with a subject is no image")
	}
	digest := digestOf(t, withSubject)
	pushed := push(t, server, "agent:packages", withSubject)

	got := pull(t, pushed.Context().Digest(digest.String()))
	manifest, err := got.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Subject == nil || manifest.Subject.Digest != subject.Digest {
		t.Errorf("subject is %v, want %s", manifest.Subject, subject.Digest)
	}
	if diff := cmp.Diff([][]byte{[]byte("a package")}, content(t, got)); diff != "" {
		t.Error(diff)
	}

	// The manifest form of OCI 1.1: artifactType with the empty config.
	raw := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"artifactType":"application/vnd.example.note",` +
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},` +
		`"layers":[{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}],` +
		`"subject":{"mediaType":"` + string(subject.MediaType) + `","digest":"` + subject.Digest.String() + `","size":` + strconv.FormatInt(subject.Size, 10) + `}}`)
	if err := remote.WriteLayer(pushed.Context(), static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json"), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+server.Addr()+"/v2/agent/manifests/note", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	if response := do(t, request); response.StatusCode != http.StatusCreated {
		t.Errorf("an OCI 1.1 artifact was answered with %s", response.Status)
	}
}

func TestNothingCanBeDeleted(t *testing.T) {
	server := start(t, t.TempDir())
	img := randomImage(t)
	push(t, server, "web:v1", img)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+server.Addr()+"/v2/web/manifests/"+digestOf(t, img).String(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if response := do(t, request); response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a delete was answered with %s, want 405", response.Status)
	}
	pull(t, mustTag(t, server.Addr()+"/web:v1"))
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, err = registry.Start(t.Context(), t.TempDir(), taken.Addr().String(), zap.NewNop())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("a taken port gives %v", err)
	}
	if _, err := registry.Start(t.Context(), "/dev/null/registry", "127.0.0.1:0", zap.NewNop()); err == nil {
		t.Error("a folder that cannot be made gives no error")
	}
	if _, err := registry.Start(t.Context(), t.TempDir(), "no address", zap.NewNop()); err == nil {
		t.Error("a senseless address gives no error")
	}
}

// A push that is under way when the registry is asked to stop is completed.
func TestCloseFinishesRequests(t *testing.T) {
	server := start(t, t.TempDir())
	body, feed := io.Pipe()
	response := upload(t, server, body)
	if _, err := feed.Write([]byte("first half, ")); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- server.Close(context.WithoutCancel(t.Context())) }()
	waitRefused(t, server.Addr())
	if _, err := feed.Write([]byte("second half")); err != nil {
		t.Fatal(err)
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if status := <-response; status != http.StatusAccepted {
		t.Errorf("the upload was answered with %d, want %d", status, http.StatusAccepted)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestCloseCutsOffWhatDoesNotEnd(t *testing.T) {
	server, err := registry.Start(t.Context(), t.TempDir(), "127.0.0.1:0", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	body, feed := io.Pipe()
	response := upload(t, server, body)
	if _, err := feed.Write([]byte("first half, ")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := server.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close gives %v, want that the time was over", err)
	}
	if err := feed.Close(); err != nil { // the client learns of the cut only once it reads on
		t.Fatal(err)
	}
	if status := <-response; status != 0 {
		t.Errorf("the upload was answered with %d", status)
	}
}

func TestLogGoesToZapAtDebug(t *testing.T) {
	core, logged := observer.New(zap.DebugLevel)
	server, err := registry.Start(t.Context(), t.TempDir(), "127.0.0.1:0", zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	stop(t, server)
	if logged.Len() == 0 {
		t.Error("nothing was logged")
	}
	for _, entry := range logged.All() {
		if entry.Level != zap.DebugLevel {
			t.Errorf("%q is logged at %s", entry.Message, entry.Level)
		}
	}
}

// upload begins the upload of a blob in one request, whose body is read only
// once the registry works on it; the answer's status follows, 0 if there is none.
func upload(t *testing.T, server *registry.Server, body io.Reader) <-chan int {
	t.Helper()
	begin, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+server.Addr()+"/v2/web/blobs/uploads/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	location, err := do(t, begin).Location()
	if err != nil {
		t.Fatal(err)
	}
	patch, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, location.String(), body)
	if err != nil {
		t.Fatal(err)
	}
	patch.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	status := make(chan int, 1)
	go func() {
		response, err := client.Do(patch)
		if err != nil {
			status <- 0
			return
		}
		status <- response.StatusCode
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
	}()
	return status
}

func do(t *testing.T, request *http.Request) *http.Response {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return response
}

func waitRefused(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s still accepts connections", addr)
		}
	}
}

func mustTag(t *testing.T, s string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(s)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}
