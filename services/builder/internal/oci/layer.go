package oci

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder/internal/build"
	"github.com/tagship/tagship/services/builder/internal/tree"
)

// layer is one layer of the runtime image: files of the tree, as a normalised
// tar archive. It is compressed only when its digest is not known from an
// earlier build, or the registry does not have it.
type layer struct {
	content   func(io.Writer) error // writes the archive, the same each time
	diffID    v1.Hash
	digest    v1.Hash
	size      int64
	mediaType types.MediaType
}

var _ v1.Layer = (*layer)(nil)

func (l *layer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *layer) Size() (int64, error)                 { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error)  { return l.mediaType, nil }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return stream(l.content), nil }
func (l *layer) Compressed() (io.ReadCloser, error) {
	return stream(func(w io.Writer) error { return compress(w, l.content) }), nil
}

// stream reads what content writes.
func stream(content func(io.Writer) error) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(content(writer)) }()
	return reader
}

func compress(w io.Writer, content func(io.Writer) error) error {
	zipped := gzip.NewWriter(w)
	if err := content(zipped); err != nil {
		return err
	}
	return zipped.Close()
}

// newLayer makes the layer of a recipe's copies.
func (r *Registry) newLayer(root *os.Root, recipe events.Layer, mediaType types.MediaType, mtime time.Time) (*layer, error) {
	content := func(w io.Writer) error { return writeLayer(w, root, recipe.Copy, mtime) }
	plain := newMeter()
	if err := content(plain); err != nil {
		return nil, build.Blame(fmt.Sprintf("layer %s", recipe.Name), err)
	}
	l := &layer{content: content, diffID: plain.digest(), mediaType: mediaType}
	if r.recall(l) {
		return l, nil
	}
	zipped := newMeter()
	if err := compress(zipped, content); err != nil {
		return nil, build.Blame(fmt.Sprintf("layer %s", recipe.Name), err)
	}
	l.digest, l.size = zipped.digest(), zipped.size
	return l, r.remember(l)
}

// known is what is kept of a layer under its diff ID.
type known struct {
	Digest v1.Hash `json:"digest"`
	Size   int64   `json:"size"`
}

// knownFile lies in a folder per release of Go: another gzip may compress to other bytes.
func (r *Registry) knownFile(l *layer) string {
	return filepath.Join(r.options.Layers, runtime.Version(), l.diffID.Hex+".json")
}

func (r *Registry) recall(l *layer) bool {
	text, err := os.ReadFile(r.knownFile(l))
	var k known
	if err != nil || json.Unmarshal(text, &k) != nil || k.Size == 0 {
		return false // it is compressed again, which is all that is lost
	}
	l.digest, l.size = k.Digest, k.Size
	return true
}

func (r *Registry) remember(l *layer) error {
	text, err := json.Marshal(known{Digest: l.digest, Size: l.size})
	if err != nil {
		return fmt.Errorf("remember layer: %w", err)
	}
	file := r.knownFile(l)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("remember layer: %w", err)
	}
	// Renamed into place, lest a killed builder leaves half a file.
	part, err := os.CreateTemp(filepath.Dir(file), "part-")
	if err != nil {
		return fmt.Errorf("remember layer: %w", err)
	}
	_, err = part.Write(text)
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(part.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("remember layer: %w", errors.Join(err, os.Remove(part.Name())))
	}
	return nil
}

// writeLayer writes the archive of a layer: the copies in the order of their
// paths in the image, each after the folders it lies in.
func writeLayer(w io.Writer, root *os.Root, copies map[string]string, mtime time.Time) error {
	targets := map[string]string{} // path in the image → path in the tree
	for from, to := range copies {
		target, err := targetOf(root, from, to)
		if err != nil {
			return err
		}
		if other, taken := targets[target]; taken {
			return build.Failf("both %s and %s are copied to /%s", min(other, from), max(other, from), target)
		}
		targets[target] = from
	}
	archive := tar.NewWriter(w)
	written := map[string]bool{".": true}
	for _, target := range slices.Sorted(maps.Keys(targets)) {
		if err := writeFolders(archive, path.Dir(target), written, mtime); err != nil {
			return err
		}
		if err := tree.Pack(archive, root, targets[target], target, mtime); err != nil {
			return err
		}
		written[target] = true
	}
	return archive.Close()
}

// targetOf is the path in the image, without the leading slash, of one copy.
func targetOf(root *os.Root, from, to string) (string, error) {
	info, err := root.Lstat(path.Clean(from))
	if errors.Is(err, fs.ErrNotExist) {
		return "", build.Failf("%s does not exist after the build", from)
	}
	if err != nil {
		return "", build.Failf("%s cannot be read inside the source: %v", from, err)
	}
	target := strings.TrimPrefix(path.Clean(to), "/")
	if target == "" {
		target = "."
	}
	switch {
	case info.IsDir():
		return target, nil
	case strings.HasSuffix(from, "/"):
		return "", build.Failf("%s is a file, not a folder: leave out the slash at its end", from)
	case strings.HasSuffix(to, "/"):
		return path.Join(target, path.Base(from)), nil
	}
	return target, nil
}

func writeFolders(archive *tar.Writer, folder string, written map[string]bool, mtime time.Time) error {
	if written[folder] {
		return nil
	}
	if err := writeFolders(archive, path.Dir(folder), written, mtime); err != nil {
		return err
	}
	written[folder] = true
	return archive.WriteHeader(tree.Folder(folder, mtime))
}

// meter takes the digest and the size of what is written to it.
type meter struct {
	hash hash.Hash
	size int64
}

func newMeter() *meter { return &meter{hash: sha256.New()} }

func (m *meter) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	return m.hash.Write(p)
}

func (m *meter) digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(m.hash.Sum(nil))}
}
