// Package spool makes archives of source code. The digest of one is known only at
// its end, and that is what it is stored under, so it is written into a file
// first, which is gone once it is closed.
package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// Clear makes the folder for archives, and removes what a predecessor that was
// killed left in it. Nobody else may have files there.
func Clear(folder string) error {
	if err := os.RemoveAll(folder); err != nil {
		return fmt.Errorf("remove unfinished archives: %w", err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("make the folder for archives: %w", err)
	}
	return nil
}

// Pack compresses the tar that write writes into a file in the folder. The same
// tar gives the same bytes. The error is that of write, or an [*watch.UnfitError]
// if the archive has more than most bytes.
func Pack(folder string, most int64, write func(tar io.Writer) error) (*watch.Archive, error) {
	created, err := os.CreateTemp(folder, "archive-")
	if err != nil {
		return nil, fmt.Errorf("make a file for the archive: %w", err)
	}
	spooled := &file{File: created}
	sum := sha256.New()
	counted := &limited{w: io.MultiWriter(created, sum), most: most}
	// The header of the compressed file has neither a name nor a time.
	zip := gzip.NewWriter(counted)
	if err = write(zip); err == nil {
		err = zip.Close()
	}
	if err == nil {
		_, err = created.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, spooled.Close())
	}
	return &watch.Archive{Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil)), Size: counted.written, ReadSeekCloser: spooled}, nil
}

// limited refuses to grow beyond a number of bytes.
type limited struct {
	w             io.Writer
	most, written int64
}

func (l *limited) Write(p []byte) (int, error) {
	if l.written+int64(len(p)) > l.most {
		return 0, &watch.UnfitError{Reason: fmt.Sprintf("the source is longer than %d bytes when compressed; keep large files elsewhere", l.most)}
	}
	n, err := l.w.Write(p)
	l.written += int64(n)
	return n, err
}

// file is a temporary file that is gone once it is closed.
type file struct{ *os.File }

func (f *file) Close() error { return errors.Join(f.File.Close(), os.Remove(f.Name())) }
