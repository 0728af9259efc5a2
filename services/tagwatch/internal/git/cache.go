package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// newest is the one reference of a cache: the tag that was fetched last. What it
// holds need not be sent again for the next.
const newest = "refs/tagship/newest"

// attributes take precedence over those in the repository (gitattributes(5)).
// Without export-ignore off a build would lack files; with export-subst on the
// archive would depend on the references of the moment.
const attributes = "* -export-ignore -export-subst\n"

// maxPath is how long a path in a repository may be.
const maxPath = 64 << 10

// lockPause is between two tries to lock the cache.
const lockPause = 100 * time.Millisecond

// cache is a bare repository with the objects of the commit that was fetched
// last. It may be deleted at any time.
type cache struct {
	*repository
	path   string
	format string // of object ids: sha1 or sha256
	lock   *flock.Flock
}

// openCache opens the cache for commits whose ids are like the given one, and
// makes it if there is none. Another process with the same folder waits.
func (r *repository) openCache(ctx context.Context, commit string) (*cache, error) {
	c := &cache{repository: r, format: "sha1", lock: flock.New(filepath.Join(r.folder, "lock"))}
	if len(commit) == 64 {
		c.format = "sha256"
	}
	c.path = filepath.Join(r.folder, c.format+".git")
	if _, err := c.lock.TryLockContext(ctx, lockPause); err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	if _, err := os.Stat(c.path); errors.Is(err, fs.ErrNotExist) {
		if err := c.recreate(ctx); err != nil {
			c.close()
			return nil, err
		}
	}
	if err := c.unlock(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// unlock removes the locks of a git that was killed: nobody else is in the cache.
func (c *cache) unlock() error {
	for _, pattern := range []string{"*.lock", "refs/tagship/*.lock"} {
		left, err := filepath.Glob(filepath.Join(c.path, pattern))
		if err != nil {
			return fmt.Errorf("look for locks in the cache: %w", err)
		}
		for _, lock := range left {
			if err := os.Remove(lock); err != nil {
				return fmt.Errorf("remove a lock left in the cache: %w", err)
			}
		}
	}
	return nil
}

func (c *cache) close() {
	// The lock ends with the file at the latest; nothing is written after it.
	_ = c.lock.Close()
}

// recreate puts an empty cache in the place of what is there.
func (c *cache) recreate(ctx context.Context) error {
	fresh := c.path + ".new"
	if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(c.path)); err != nil {
		return fmt.Errorf("remove the cache: %w", err)
	}
	if err := c.quiet(ctx, c.settings.Timeout, "init", "--quiet", "--bare", "--template=", "--object-format="+c.format, "--", fresh); err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	info := filepath.Join(fresh, "info")
	if err := os.MkdirAll(info, 0o700); err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	if err := os.WriteFile(filepath.Join(info, "attributes"), []byte(attributes), 0o600); err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	if err := os.Rename(fresh, c.path); err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	return nil
}

// broken tells whether something in the cache is missing or damaged, as after a
// crash of the machine.
func (c *cache) broken(ctx context.Context) bool {
	err := c.quiet(ctx, c.settings.Timeout, c.with("fsck", "--no-dangling", "--no-progress")...)
	return err != nil && ctx.Err() == nil
}

func (c *cache) with(args ...string) []string {
	return append([]string{"--git-dir=" + c.path}, args...)
}

// archive fetches a tag's commit and makes the archive.
func (c *cache) archive(ctx context.Context, tag watch.Tag) (*watch.Archive, error) {
	if !c.has(ctx, tag.Commit) {
		if err := c.fetch(ctx, tag); err != nil {
			return nil, err
		}
	}
	if err := c.checkCommit(ctx, tag.Commit); err != nil {
		return nil, err
	}
	if err := c.checkSubmodules(ctx, tag.Commit); err != nil {
		return nil, err
	}
	return c.pack(ctx, tag.Commit)
}

// has tells whether the cache's one reference is the commit already.
func (c *cache) has(ctx context.Context, commit string) bool {
	id, err := c.output(ctx, "rev-parse", "--quiet", "--verify", newest+"^{}")
	return err == nil && id == commit
}

// fetch brings the commit of a tag, and no other, into the cache. It goes by the
// tag's name where it can: not every server gives away commits by their ids.
func (c *cache) fetch(ctx context.Context, tag watch.Tag) error {
	err := c.fetchReference(ctx, "refs/tags/"+tag.Name)
	if err == nil && c.has(ctx, tag.Commit) {
		return nil
	}
	if err != nil {
		now, findErr := c.find(ctx, tag.Name)
		if !errors.Is(findErr, watch.ErrNoTag) && (findErr != nil || now.Commit == tag.Commit) {
			return err // it is as it was, so the server is to blame
		}
	}
	if err := c.fetchReference(ctx, tag.Commit); err != nil {
		return fmt.Errorf("the tag moved or is gone meanwhile, and the server does not give away the commit by its id: %w", err)
	}
	if !c.has(ctx, tag.Commit) {
		return fmt.Errorf("the server gave another commit than %s", tag.Commit)
	}
	return nil
}

// fetchReference makes what a reference or id names at the server the newest.
func (c *cache) fetchReference(ctx context.Context, source string) error {
	err := c.quiet(ctx, c.settings.Timeout, c.with("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules",
		"--no-write-fetch-head", "--no-auto-maintenance", "--force", "--", c.address.url, "+"+source+":"+newest)...)
	if err != nil {
		return err
	}
	// Keeps the number of packs bounded. The commit is here already, so trouble
	// with it can wait for the next time.
	_ = c.quiet(ctx, c.settings.Timeout, c.with("gc", "--auto", "--quiet")...)
	return nil
}

// checkCommit refuses tags on blobs and trees.
func (c *cache) checkCommit(ctx context.Context, id string) error {
	kind, err := c.output(ctx, "cat-file", "-t", id)
	if err != nil {
		return err
	}
	if kind != "commit" {
		return &watch.UnfitError{Reason: fmt.Sprintf("the tag names a %s, expected a commit", kind)}
	}
	return nil
}

// checkSubmodules refuses a commit whose archive would lack parts of it.
func (c *cache) checkSubmodules(ctx context.Context, commit string) error {
	submodule := ""
	err := c.run(ctx, c.settings.Timeout, func(output io.Reader) error {
		entries := bufio.NewScanner(output)
		entries.Buffer(nil, maxPath)
		entries.Split(scanZero)
		for entries.Scan() {
			// mode, type and id, a tab, and the path; see git-ls-tree(1).
			head, path, _ := strings.Cut(entries.Text(), "\t")
			if submodule == "" && strings.HasPrefix(head, "160000 ") {
				submodule = path
			}
		}
		return entries.Err()
	}, c.with("ls-tree", "-r", "-z", "--full-tree", commit)...)
	if err != nil {
		return fmt.Errorf("list the files of the commit: %w", err)
	}
	if submodule != "" {
		return &watch.UnfitError{Reason: fmt.Sprintf("%s is a submodule, whose files are in another repository and would be missing in the build; commit the files themselves", submodule)}
	}
	return nil
}

// scanZero splits at zero bytes.
func scanZero(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// output returns the one line that git prints.
func (c *cache) output(ctx context.Context, args ...string) (string, error) {
	var line []byte
	err := c.run(ctx, c.settings.Timeout, func(output io.Reader) (err error) {
		line, err = io.ReadAll(io.LimitReader(output, maxReference))
		return err
	}, c.with(args...)...)
	return strings.TrimSpace(string(line)), err
}
