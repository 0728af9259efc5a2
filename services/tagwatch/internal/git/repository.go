package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
)

// listTimeout is how long a listing may take: it is small, so a server that
// takes longer is not well, and others are waiting.
const listTimeout = time.Minute

// repository is one repository. It is safe for concurrent use.
type repository struct {
	address  Address
	settings Settings
	spool    string
	folder   string
	log      *zap.Logger
	cache    sync.Mutex // held while the cache is in use
}

// list lists the repository's tags. The mark is a digest of what git prints.
func (r *repository) list(ctx context.Context, mark string) (watch.Listing, error) {
	l, err := r.remote(ctx, "--tags", "--", r.address.url)
	if err != nil {
		return watch.Listing{}, err
	}
	if now := l.mark(); now == mark {
		return watch.Listing{Mark: now, Unchanged: true}, nil
	}
	tags, err := l.tags()
	if err == nil && len(tags) == 0 && mark != "" {
		err = r.checkNotEmpty(ctx)
	}
	return watch.Listing{Mark: l.mark(), Tags: tags}, err
}

// checkNotEmpty makes sure that a repository that had tags has branches at least.
// What answers with nothing at all, such as a proxy in trouble, is for git a
// server whose repository is empty, and every tag would be taken for deleted.
func (r *repository) checkNotEmpty(ctx context.Context) error {
	branches := 0
	err := r.run(ctx, min(listTimeout, r.settings.Timeout), func(output io.Reader) error {
		lines := bufio.NewScanner(io.LimitReader(output, maxListing))
		lines.Buffer(nil, maxReference)
		for lines.Scan() {
			branches++
		}
		return lines.Err()
	}, "ls-remote", "--quiet", "--heads", "--", r.address.url)
	if err == nil && branches == 0 {
		return errors.New("the server says that the repository is empty, which it was not; is that the server itself?")
	}
	return err
}

// find looks up one tag. Its name may come from anybody.
func (r *repository) find(ctx context.Context, tag string) (watch.Tag, error) {
	none := fmt.Errorf("%w: %s", watch.ErrNoTag, tag)
	// What git forbids in a name would be a pattern, or could not be passed on.
	if tag == "" || strings.ContainsAny(tag, "*?[\\^~: \x00\n") {
		return watch.Tag{}, none
	}
	ref := "refs/tags/" + tag
	l, err := r.remote(ctx, "--", r.address.url, ref, ref+peeled)
	if err != nil {
		return watch.Tag{}, err
	}
	tags, err := l.tags()
	if err != nil {
		return watch.Tag{}, err
	}
	for _, t := range tags {
		if t.Name == tag {
			return t, nil
		}
	}
	return watch.Tag{}, none
}

// remote asks the server for references.
func (r *repository) remote(ctx context.Context, args ...string) (*listing, error) {
	l := newListing()
	return l, r.run(ctx, min(listTimeout, r.settings.Timeout), l.read, append([]string{"ls-remote", "--quiet"}, args...)...)
}

// archiveOf fetches the commit of a tag and makes an archive of it.
func (r *repository) archiveOf(ctx context.Context, tag watch.Tag) (*watch.Archive, error) {
	r.cache.Lock()
	defer r.cache.Unlock()
	c, err := r.openCache(ctx, tag.Commit)
	if err != nil {
		return nil, err
	}
	defer c.close()
	archive, err := c.archive(ctx, tag)
	var unfit *watch.UnfitError
	if err == nil || errors.As(err, &unfit) || ctx.Err() != nil || !c.broken(ctx) {
		return archive, err
	}
	r.log.Warn("the cache of the repository is broken and is made anew", zap.Stringer("repo", r.address), zap.Error(err))
	if err := c.recreate(ctx); err != nil {
		return nil, err
	}
	return c.archive(ctx, tag)
}
