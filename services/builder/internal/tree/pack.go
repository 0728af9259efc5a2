package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// Pack writes the file or folder from of root, as the path to, into a tar
// archive. Entries come in the order of their names, belong to user and group
// 0, and are 0755 if anyone may execute them, otherwise 0644; with a non-zero
// mtime all carry that time. An [InvalidError] names what cannot be packed.
func Pack(archive *tar.Writer, root *os.Root, from, to string, mtime time.Time) error {
	return fs.WalkDir(root.FS(), path.Clean(from), func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return blame(name, err)
		}
		return packEntry(archive, root, name, path.Join(to, relative(path.Clean(from), name)), mtime)
	})
}

func relative(base, name string) string {
	switch {
	case base == ".":
		return name
	case name == base:
		return ""
	}
	return name[len(base)+1:]
}

func packEntry(archive *tar.Writer, root *os.Root, name, as string, mtime time.Time) error {
	if as == "." || as == "" {
		return nil
	}
	info, err := root.Lstat(name)
	if err != nil {
		return blame(name, err)
	}
	if mtime.IsZero() {
		mtime = info.ModTime()
	}
	// PAX keeps names of any length and bytes.
	header := &tar.Header{Name: as, Mode: 0o644, ModTime: mtime.Truncate(time.Second), Format: tar.FormatPAX}
	switch {
	case info.IsDir():
		return archive.WriteHeader(Folder(as, mtime))
	case info.Mode()&fs.ModeSymlink != 0:
		header.Typeflag, header.Mode = tar.TypeSymlink, 0o777
		if header.Linkname, err = root.Readlink(name); err != nil {
			return fmt.Errorf("read link %q: %w", name, err)
		}
		return archive.WriteHeader(header)
	case info.Mode().IsRegular():
		header.Typeflag, header.Size = tar.TypeReg, info.Size()
		if info.Mode()&0o111 != 0 {
			header.Mode = 0o755
		}
		return packFile(archive, root, name, header)
	}
	return invalid(name, "is neither a file, a folder nor a symbolic link")
}

// Folder is the header of a folder in a normalised archive.
func Folder(name string, mtime time.Time) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: mtime.Truncate(time.Second), Format: tar.FormatPAX}
}

func packFile(archive *tar.Writer, root *os.Root, name string, header *tar.Header) error {
	file, err := root.Open(name)
	if err != nil {
		return blame(name, err)
	}
	if err := archive.WriteHeader(header); err != nil {
		return errors.Join(fmt.Errorf("pack %q: %w", name, err), file.Close())
	}
	if _, err := io.Copy(archive, file); err != nil {
		return errors.Join(fmt.Errorf("pack %q: %w", name, err), file.Close())
	}
	return file.Close()
}
