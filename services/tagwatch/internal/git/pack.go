package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// pack writes the archive of a commit into a file without a name to come back to:
// its digest is known only at its end, and that is what it is stored under.
func (c *cache) pack(ctx context.Context, commit string) (*watch.Archive, error) {
	file, err := os.CreateTemp(c.spool, "archive-")
	if err != nil {
		return nil, fmt.Errorf("make a file for the archive: %w", err)
	}
	spooled := &spooled{File: file}
	digest, size, err := c.packInto(ctx, commit, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("archive commit %s: %w", commit, err), spooled.Close())
	}
	return &watch.Archive{Digest: digest, Size: size, ReadSeekCloser: spooled}, nil
}

func (c *cache) packInto(ctx context.Context, commit string, file io.Writer) (digest string, size int64, err error) {
	sum := sha256.New()
	counted := &limited{w: io.MultiWriter(file, sum), most: c.settings.MaxArchive}
	// The header of the compressed file has neither a name nor a time.
	zip := gzip.NewWriter(counted)
	err = c.run(ctx, c.settings.Timeout, func(output io.Reader) error {
		if _, err := io.Copy(zip, output); err != nil {
			return err
		}
		return zip.Close()
	}, c.with("archive", "--format=tar", commit)...)
	if err != nil {
		return "", 0, err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), counted.written, nil
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

// spooled is a temporary file that is gone once it is closed.
type spooled struct{ *os.File }

func (s *spooled) Close() error {
	return errors.Join(s.File.Close(), os.Remove(s.Name()))
}
