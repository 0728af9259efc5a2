// Package tree moves trees of files into and out of tar archives.
//
// What comes in is not trusted: an archive is written through an [os.Root], so
// that no entry and no symbolic link leads out of the folder, and is bounded in
// the number and the size of its files. What goes out is normalised: the same
// files give the same bytes on every machine.
package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
)

// Limits bound what an archive may unpack to.
type Limits struct {
	Files int   // entries of any type
	Bytes int64 // content of all files together
}

// InvalidError says that an archive, or a tree, holds something that is not
// accepted. Reading it again does not help.
type InvalidError struct {
	Name   string // the entry
	Reason string
}

func (e *InvalidError) Error() string { return fmt.Sprintf("%q %s", e.Name, e.Reason) }

func invalid(name, format string, args ...any) error {
	return &InvalidError{Name: name, Reason: fmt.Sprintf(format, args...)}
}

// Unpack writes the entries of a tar archive into root and returns the newest
// modification time among its files; zero if there are none.
//
// Folders, files, symbolic and hard links are accepted; nothing that exists is
// replaced. Files are 0755 if anyone may execute them, otherwise 0644. A
// symbolic link is kept as it is, wherever it points, but never followed out of
// root. An [InvalidError] is the archive's fault; every other error may pass.
func Unpack(r io.Reader, root *os.Root, limits Limits) (newest time.Time, err error) {
	u := unpacker{archive: tar.NewReader(r), root: root, left: limits}
	for {
		header, err := u.archive.Next()
		if errors.Is(err, io.EOF) {
			return u.newest, nil
		}
		if errors.Is(err, tar.ErrHeader) {
			return u.newest, invalid("archive", "is not a tar archive: %v", err)
		}
		if err != nil {
			return u.newest, fmt.Errorf("read archive: %w", err)
		}
		if err := u.entry(header); err != nil {
			return u.newest, err
		}
	}
}

type unpacker struct {
	archive *tar.Reader
	root    *os.Root
	left    Limits
	newest  time.Time
}

func (u *unpacker) entry(header *tar.Header) error {
	if header.Typeflag == tar.TypeXGlobalHeader { // git archive keeps the commit in one
		return nil
	}
	if u.left.Files--; u.left.Files < 0 {
		return invalid(header.Name, "is one file too many for a source")
	}
	name := path.Clean(header.Name)
	if !filepath.IsLocal(name) {
		return invalid(header.Name, "is a path out of the archive")
	}
	if name == "." {
		return nil
	}
	if err := u.write(name, header); err != nil {
		return blame(header.Name, err)
	}
	return nil
}

func (u *unpacker) write(name string, header *tar.Header) error {
	if header.Typeflag == tar.TypeDir {
		return u.root.MkdirAll(name, 0o755)
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeReg:
		return u.file(name, header)
	case tar.TypeSymlink:
		return u.root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		target := path.Clean(header.Linkname)
		if !filepath.IsLocal(target) {
			return invalid(header.Name, "is a hard link to %q, out of the archive", header.Linkname)
		}
		return u.root.Link(target, name)
	default:
		return invalid(header.Name, "is neither a file, a folder nor a link (tar type %q)", header.Typeflag)
	}
}

func (u *unpacker) file(name string, header *tar.Header) error {
	if u.left.Bytes -= header.Size; u.left.Bytes < 0 {
		return invalid(header.Name, "is %d bytes, more than is left of the limit", header.Size)
	}
	mode := fs.FileMode(0o644)
	if header.Mode&0o111 != 0 {
		mode = 0o755
	}
	file, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, u.archive)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	if header.ModTime.After(u.newest) {
		u.newest = header.ModTime
	}
	return u.root.Chtimes(name, header.ModTime, header.ModTime)
}

// blame tells the archive's fault from the disk's: what an archive can bring
// about by its names and links alone is the archive's.
func blame(name string, err error) error {
	var known *InvalidError
	if errors.As(err, &known) {
		return err
	}
	var errno syscall.Errno
	var onPath *fs.PathError
	var onLink *os.LinkError
	byName := errors.As(err, &onPath) || errors.As(err, &onLink)
	switch {
	case errors.As(err, &errno):
		switch errno {
		case syscall.EEXIST, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EINVAL, syscall.ENOENT, syscall.EMLINK:
			return invalid(name, "cannot be unpacked: %v", errno)
		}
	case byName: // os.Root's refusal to follow a path out of the folder has no error number
		return invalid(name, "leads out of the archive")
	}
	return fmt.Errorf("unpack %q: %w", name, err)
}
