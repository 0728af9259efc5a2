package process

import (
	"bytes"
	"compress/gzip"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/zap/zaptest"

	"github.com/tagship/tagship/events"
)

func zipped(t testing.TB, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestForgedLayer has a registry answer with another layer of the same length
// than the one that the manifest names.
func TestForgedLayer(t *testing.T) {
	t.Parallel()
	archive := layer(t, entry{name: "bin/web", content: "what was built"}).Bytes()
	genuine := zipped(t, archive)
	forged := zipped(t, bytes.ReplaceAll(archive, []byte("what was built"), []byte("something else")))
	if len(forged) != len(genuine) {
		t.Fatalf("the forged layer is %d bytes long, the genuine one %d", len(forged), len(genuine))
	}
	built := static.NewLayer(genuine, types.OCILayer)
	digest, err := built.Digest()
	if err != nil {
		t.Fatal(err)
	}
	honest, forge := registry.New(registry.Logger(log.New(io.Discard, "", 0))), false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if forge && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+digest.String()) {
			_, _ = io.Copy(w, bytes.NewReader(forged)) // who breaks off has seen enough
			return
		}
		honest.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	source, err := mutate.AppendLayers(empty.Image, built)
	if err != nil {
		t.Fatal(err)
	}
	repository := strings.TrimPrefix(server.URL, "http://") + "/web"
	ref, err := name.ParseReference(repository + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, source); err != nil {
		t.Fatal(err)
	}
	manifest, err := source.Digest()
	if err != nil {
		t.Fatal(err)
	}
	images, err := NewImages(t.TempDir(), nil, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	wanted := events.Image{Repository: repository, Digest: manifest.String()}
	forge = true
	if unpacked, err := images.acquire(t.Context(), wanted); err == nil {
		text, _ := os.ReadFile(unpacked.root + "/bin/web")
		t.Fatalf("a layer with another digest was unpacked: %s", text)
	}
	forge = false
	if _, err := images.acquire(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
}
