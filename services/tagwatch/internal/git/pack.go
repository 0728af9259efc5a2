package git

import (
	"context"
	"fmt"
	"io"

	"github.com/tagship/tagship/services/tagwatch/internal/spool"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// pack makes the archive of a commit that is in the cache.
func (c *cache) pack(ctx context.Context, commit string) (*watch.Archive, error) {
	archive, err := spool.Pack(c.spool, c.settings.MaxArchive, func(tar io.Writer) error {
		return c.run(ctx, c.settings.Timeout, func(output io.Reader) error {
			_, err := io.Copy(tar, output)
			return err
		}, c.with("archive", "--format=tar", commit)...)
	})
	if err != nil {
		return nil, fmt.Errorf("archive commit %s: %w", commit, err)
	}
	return archive, nil
}
