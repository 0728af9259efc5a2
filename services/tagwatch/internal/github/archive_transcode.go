package github

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// transcode reads a tar as GitHub makes it and writes the one that is kept. In
// GitHub's everything is in a folder called owner-name-commit, which becomes
// another when the repository is renamed; here it is not. What differs from one
// download of a commit to the next, or is GitHub's own choice (owners,
// permissions), is left out, so that the same commit gives the same bytes.
//
// A tar that is of another commit, or does not say of which as those of bare
// trees, gives an error that wraps [errStale].
func transcode(w io.Writer, r io.Reader, commit string) error {
	t := transcoder{in: tar.NewReader(r), out: tar.NewWriter(w), commit: commit, left: watch.MaxUnpacked}
	for {
		header, err := t.in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if err := t.entry(header); err != nil {
			return err
		}
	}
	if t.folder == "" {
		return errors.New("the archive is empty, without even the folder that GitHub makes")
	}
	// What comes after the last file is padding, and the checksum.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("read the archive: %w", err)
	}
	return t.out.Close()
}

type transcoder struct {
	in     *tar.Reader
	out    *tar.Writer
	commit string
	said   bool   // that the archive is of the commit
	folder string // that everything is in; empty before the first entry
	left   int64  // bytes in files: sparse ones are longer than the archive
}

func (t *transcoder) entry(header *tar.Header) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return t.global(header)
	}
	if !t.said {
		return fmt.Errorf("%w: the archive does not say that it is of commit %s", errStale, t.commit)
	}
	name, err := t.strip(header)
	if err != nil || name == "" {
		return err
	}
	kept := &tar.Header{Typeflag: header.Typeflag, Name: name, ModTime: header.ModTime}
	switch header.Typeflag {
	case tar.TypeReg:
		kept.Size, kept.Mode = header.Size, 0o644
		if header.Mode&0o111 != 0 {
			kept.Mode = 0o755
		}
		if t.left -= kept.Size; t.left < 0 {
			return tooLarge()
		}
	case tar.TypeDir:
		kept.Name, kept.Mode = strings.TrimRight(name, "/")+"/", 0o755
	case tar.TypeSymlink:
		kept.Linkname, kept.Mode = header.Linkname, 0o777
	default:
		return fmt.Errorf("the archive has %q of tar type %q in it, expected files, folders and symbolic links", name, header.Typeflag)
	}
	if err := t.out.WriteHeader(kept); err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	if _, err := io.Copy(t.out, t.in); err != nil {
		return fmt.Errorf("copy %q: %w", name, err)
	}
	return nil
}

// global reads which commit the archive is of, and says so in its turn, as git
// archive does.
func (t *transcoder) global(header *tar.Header) error {
	const key = "comment"
	if got := header.PAXRecords[key]; got != t.commit {
		return fmt.Errorf("%w: the archive is of commit %.64q, expected %s", errStale, got, t.commit)
	}
	if t.said {
		return nil
	}
	t.said = true
	return t.out.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{key: t.commit}})
}

// strip returns an entry's path without the folder that all are in; empty for
// the folder itself.
func (t *transcoder) strip(header *tar.Header) (string, error) {
	folder, name, inside := strings.Cut(header.Name, "/")
	isFolder := path.Clean("/"+name) == "/"
	switch {
	case folder == "" || folder == "." || folder == "..", !inside && header.Typeflag != tar.TypeDir, isFolder && header.Typeflag != tar.TypeDir:
		return "", fmt.Errorf("the archive has %q outside of the folder that GitHub makes", header.Name)
	case t.folder == "":
		t.folder = folder
	case t.folder != folder:
		return "", fmt.Errorf("the archive has the folders %q and %q, expected one that everything is in", t.folder, folder)
	}
	if isFolder {
		return "", nil
	}
	return name, nil
}
