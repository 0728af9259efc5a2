package process

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Whiteouts say what a layer removes from those below it (OCI image
// specification 1.1, layer.md).
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// unpacker lays the layers of an image on top of each other. Whatever the
// layers name, nothing outside of the root is touched: os.Root refuses it.
type unpacker struct {
	root *os.Root
	left int64 // how many bytes of files may still be unpacked
}

// maxImage bounds an unpacked image, in bytes: a damaged or hostile layer of a
// few bytes can claim to be a file of any size.
const maxImage = 64 << 30

// apply unpacks one layer, the uncompressed tar archive r.
func (u *unpacker) apply(r io.Reader) error {
	added := map[string]bool{} // an opaque whiteout leaves what its own layer adds
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the layer: %w", err)
		}
		name := inRoot(header.Name)
		if name == "." {
			continue
		}
		dir, base := path.Split(name)
		dir = path.Clean(dir)
		switch {
		case base == whiteoutOpaque:
			err = u.empty(dir, added)
		case strings.HasPrefix(base, whiteoutPrefix):
			err = u.root.RemoveAll(path.Join(dir, strings.TrimPrefix(base, whiteoutPrefix)))
		default:
			err = u.add(name, dir, header, archive)
			for n := name; n != "."; n = path.Dir(n) {
				added[n] = true
			}
		}
		if err != nil {
			return fmt.Errorf("unpack %q: %w", header.Name, err)
		}
	}
}

// inRoot is a name in an archive as a path below the root, wherever it pretends to lead.
func inRoot(name string) string {
	if clean := path.Clean("/" + name); clean != "/" {
		return clean[1:]
	}
	return "."
}

func (u *unpacker) add(name, dir string, header *tar.Header, content io.Reader) error {
	if err := u.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	perm := header.FileInfo().Mode().Perm()
	if header.Typeflag == tar.TypeDir {
		return u.mkdir(name, perm)
	}
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeReg:
		return u.write(name, perm, content)
	case tar.TypeSymlink:
		return u.root.Symlink(inside(dir, header.Linkname), name)
	case tar.TypeLink:
		return u.root.Link(inRoot(header.Linkname), name)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return nil // making devices takes privileges, and the machine has its own
	}
	return fmt.Errorf("entry of unknown type %q", header.Typeflag)
}

func (u *unpacker) mkdir(name string, perm fs.FileMode) error {
	info, err := u.root.Lstat(name)
	if err == nil && !info.IsDir() {
		err = errors.Join(u.root.Remove(name), fs.ErrNotExist)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = u.root.Mkdir(name, 0o755)
	}
	if err != nil {
		return err
	}
	// The owner keeps access, so that upper layers and the removal can get in.
	return u.root.Chmod(name, perm|0o700)
}

func (u *unpacker) write(name string, perm fs.FileMode, content io.Reader) error {
	file, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm|0o200)
	if err != nil {
		return err
	}
	written, err := io.Copy(file, io.LimitReader(content, u.left+1))
	if u.left -= written; u.left < 0 {
		err = errors.New("the image is larger than may be unpacked")
	}
	// The mode is set again because the process's umask took its share.
	return errors.Join(err, file.Chmod(perm), file.Close())
}

func (u *unpacker) empty(dir string, keep map[string]bool) error {
	entries, err := fs.ReadDir(u.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		switch {
		case !keep[name]:
			err = u.root.RemoveAll(name)
		case entry.IsDir():
			err = u.empty(name, keep)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inside is the target of a symbolic link in dir such that it stays below the
// root: there is no chroot, so an absolute target would mean the machine's file.
func inside(dir, target string) string {
	if !path.IsAbs(target) {
		if joined := path.Join(dir, target); filepath.IsLocal(joined) {
			return target
		}
		target = path.Join("/", dir, target)
	}
	relative, err := filepath.Rel(path.Join("/", dir), path.Clean(target))
	if err != nil {
		return inRoot(target) // not reached: both are absolute
	}
	return relative
}
