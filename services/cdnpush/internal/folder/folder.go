// Package folder keeps channels in a folder, and serves it over HTTP. It is an
// adapter of publish.
//
// A file appears under its name whole, on disk, or not at all: it is written
// elsewhere in the folder first. Any number of processes may write to the folder
// at once. Nothing that a channel, an app or a file is called, nor a symbolic
// link, leads out of it.
//
// The folder ".tagship" in it is the package's own: a lock, and files being
// written. The files of a killed process are removed by the next one that opens
// the folder, known by that nobody locks them.
package folder

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/cdnpush/internal/publish"
)

const (
	ownDir   = ".tagship"
	lockFile = ownDir + "/lock"
)

// Folder is an open folder. It is safe for concurrent use.
type Folder struct {
	root    *os.Root
	digests digests
}

// Open opens a folder, which is made if missing, and removes what killed writers left in it.
func Open(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	f := &Folder{root: root}
	if err := f.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open folder %s: %w", dir, err), root.Close())
	}
	return f, nil
}

// Close releases the folder. Nothing of it may be in use.
func (f *Folder) Close() error { return f.root.Close() }

func (f *Folder) prepare() error {
	if err := f.root.Mkdir(ownDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.locked(f.sweep)
}

// sweep removes the files of writers that are dead.
func (f *Folder) sweep() error {
	entries, err := fs.ReadDir(f.root.FS(), ownDir)
	if err != nil {
		return fmt.Errorf("list unfinished files: %w", err)
	}
	for _, entry := range entries {
		name := path.Join(ownDir, entry.Name())
		if name == lockFile || !entry.Type().IsRegular() {
			continue
		}
		if err := f.removeDead(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove unfinished file %s: %w", name, err)
		}
	}
	return nil
}

func (f *Folder) removeDead(name string) (err error) {
	file, err := f.root.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if !tryLock(file) {
		return nil // its writer lives
	}
	return f.root.Remove(name)
}

// locked runs do while no other process or goroutine does.
func (f *Folder) locked(do func() error) (err error) {
	file, err := f.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("open lock of the folder: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }() // closing unlocks
	if err := lock(file); err != nil {
		return fmt.Errorf("lock the folder: %w", err)
	}
	return do()
}

// Store is the folder as a store, with the URL it is served under.
func (f *Folder) Store(base string) *Store {
	return &Store{folder: f, base: strings.TrimSuffix(base, "/")}
}

// Store implements [publish.Store].
type Store struct {
	folder *Folder
	base   string
}

var _ publish.Store = (*Store)(nil)

// Stat implements [publish.Store]. The digest is that of the bytes on disk; it is
// computed once for as long as the file stays as it is.
func (s *Store) Stat(ctx context.Context, key string) (publish.Object, error) {
	file, info, err := s.folder.open(key)
	if err != nil {
		return publish.Object{}, err
	}
	defer closeRead(file)
	digest, err := s.folder.digest(ctx, key, file, info)
	if err != nil {
		return publish.Object{}, fmt.Errorf("read %s: %w", key, err)
	}
	return publish.Object{Key: key, Digest: digest, Size: info.Size()}, nil
}

// Create implements [publish.Store].
func (s *Store) Create(ctx context.Context, o publish.Object, r io.Reader) error {
	f := s.folder
	if _, err := f.root.Lstat(o.Key); err == nil {
		return fmt.Errorf("create %s: %w", o.Key, fs.ErrExist)
	}
	temp, err := f.write(ctx, r)
	if err != nil {
		return fmt.Errorf("create %s: %w", o.Key, err)
	}
	defer temp.discard()
	if err := f.makeDir(path.Dir(o.Key)); err != nil {
		return fmt.Errorf("create %s: %w", o.Key, err)
	}
	if err := f.root.Link(temp.name, o.Key); err != nil { // fails if the name is taken, unlike a rename
		return fmt.Errorf("create %s: %w", o.Key, err)
	}
	if err := f.syncDir(path.Dir(o.Key)); err != nil {
		return fmt.Errorf("create %s: %w", o.Key, err)
	}
	return nil
}

// Read implements [publish.Store].
func (s *Store) Read(_ context.Context, key string) ([]byte, publish.Revision, error) {
	file, info, err := s.folder.open(key)
	if err != nil {
		return nil, publish.Absent, err
	}
	defer closeRead(file)
	const most = 16 << 20
	if info.Size() > most {
		return nil, publish.Absent, fmt.Errorf("read %s: it is %d bytes long, expected at most %d", key, info.Size(), most)
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return nil, publish.Absent, fmt.Errorf("read %s: %w", key, err)
	}
	return content, revision(content), nil
}

// Replace implements [publish.Store].
func (s *Store) Replace(ctx context.Context, key string, content []byte, old publish.Revision) error {
	f := s.folder
	temp, err := f.write(ctx, bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("replace %s: %w", key, err)
	}
	defer temp.discard()
	if err := f.makeDir(path.Dir(key)); err != nil {
		return fmt.Errorf("replace %s: %w", key, err)
	}
	return f.locked(func() error {
		_, current, err := s.Read(ctx, key)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if current != old {
			return fmt.Errorf("replace %s: %w", key, events.ErrConflict)
		}
		if err := f.root.Rename(temp.name, key); err != nil {
			return fmt.Errorf("replace %s: %w", key, err)
		}
		return f.syncDir(path.Dir(key))
	})
}

// URL implements [publish.Store].
func (s *Store) URL(key string) string {
	parts := strings.Split(key, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return s.base + "/" + strings.Join(parts, "/")
}

// revision names content by its digest, which is as good as a counter for
// pointers: each names the moment at which it was set.
func revision(content []byte) publish.Revision {
	sum := sha256.Sum256(content)
	return publish.Revision(hex.EncodeToString(sum[:]))
}

// open opens a regular file for reading; what else may lie in the folder does not
// exist for the store.
func (f *Folder) open(key string) (*os.File, fs.FileInfo, error) {
	info, err := f.root.Stat(key)
	if err != nil {
		return nil, nil, fmt.Errorf("look up %s: %w", key, err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("look up %s: it is not a file: %w", key, fs.ErrNotExist)
	}
	file, err := f.root.Open(key)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", key, err)
	}
	if info, err = file.Stat(); err != nil {
		closeRead(file)
		return nil, nil, fmt.Errorf("look up %s: %w", key, err)
	}
	return file, info, nil
}

// closeRead closes a file that was only read from, where nothing can be lost.
func closeRead(file *os.File) { _ = file.Close() }

// temporary is a file being written, locked by its writer as long as that lives.
type temporary struct {
	*os.File
	root *os.Root
	name string
}

// discard removes the file under its temporary name. A file that stays because
// of an error is removed by the next sweep.
func (t *temporary) discard() {
	_ = t.root.Remove(t.name)
	_ = t.Close()
}

// write writes a temporary file, to the disk itself.
func (f *Folder) write(ctx context.Context, r io.Reader) (*temporary, error) {
	temp, err := f.temporary()
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(temp, &reader{ctx, r})
	if err == nil {
		err = temp.Sync()
	}
	if err != nil {
		temp.discard()
		return nil, err
	}
	return temp, nil
}

// temporary makes a locked file. The folder's lock keeps a sweep from coming in between.
func (f *Folder) temporary() (*temporary, error) {
	t := &temporary{root: f.root, name: path.Join(ownDir, rand.Text())}
	err := f.locked(func() (err error) {
		if t.File, err = f.root.OpenFile(t.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
			return err
		}
		return lock(t.File)
	})
	if err != nil {
		return nil, fmt.Errorf("make temporary file: %w", err)
	}
	return t, nil
}

// makeDir makes a folder with those above it, and writes to the disk that they are there.
func (f *Folder) makeDir(dir string) error {
	if _, err := f.root.Stat(dir); err == nil {
		return nil
	}
	if err := f.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for dir != "." {
		dir = path.Dir(dir)
		if err := f.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (f *Folder) syncDir(dir string) error {
	opened, err := f.root.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	defer closeRead(opened)
	if err := opened.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

// reader stops reading when its context ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(b)
}
