package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
)

// Settings hold for every repository.
type Settings struct {
	Program string // the path of git, see [FindProgram]
	// DataDir is a folder of this process alone, for caches and unfinished
	// archives. It may be lost at any time.
	DataDir string
	// Timeout is how long one run of git may take.
	Timeout time.Duration
	// MaxArchive is how long an archive may be, in compressed bytes.
	MaxArchive int64

	SSHKey           string // path of a private key; empty for the user's own
	KnownHosts       string // path of a known_hosts file; empty for the user's own
	CredentialHelper string // as credential.helper in git-config(1); empty for none
}

// listTimeout is how long a listing may take: it is small, so a server that
// takes longer is not well, and others are waiting.
const listTimeout = time.Minute

// FindProgram finds git.
func FindProgram() (string, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return "", fmt.Errorf("find git: %w; install git 2.32 or newer and put it on the PATH", err)
	}
	return filepath.Abs(path)
}

// Open makes what is needed to read repositories, and removes what a predecessor
// that was killed left unfinished.
func Open(s Settings, log *zap.Logger) (*Host, error) {
	folder, err := filepath.Abs(s.DataDir) // git runs in a folder of its own
	if err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	s.DataDir = folder
	spool := filepath.Join(s.DataDir, "spool")
	if err := os.RemoveAll(spool); err != nil {
		return nil, fmt.Errorf("remove unfinished archives: %w", err)
	}
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for archives: %w", err)
	}
	return &Host{settings: s, spool: spool, log: log, repositories: map[string]*Repository{}}, nil
}

// Host gives repositories, one for each address.
type Host struct {
	settings     Settings
	spool        string
	log          *zap.Logger
	repositories map[string]*Repository
}

// Repository returns the repository at an address. Apps with the same address and
// credentials share its cache. It is not safe for concurrent use.
func (h *Host) Repository(address Address) (*Repository, error) {
	sum := sha256.Sum256([]byte(address.url + "\n" + address.user + "\n" + address.password))
	key := hex.EncodeToString(sum[:8])
	if known := h.repositories[key]; known != nil {
		return known, nil
	}
	r := &Repository{
		address:  address,
		settings: h.settings,
		spool:    h.spool,
		folder:   filepath.Join(h.settings.DataDir, "repositories", key),
		log:      h.log.With(zap.Stringer("repo", address)),
	}
	if err := r.writeConfig(); err != nil {
		return nil, err
	}
	if address.exposesPassword() {
		r.log.Warn("the password goes over plain http, where others can read it; use https")
	}
	h.repositories[key] = r
	return r, nil
}

// Repository is one repository. It is safe for concurrent use.
type Repository struct {
	address  Address
	settings Settings
	spool    string
	folder   string
	log      *zap.Logger
	cache    sync.Mutex // held while the cache is in use
}

var _ watch.Repository = (*Repository)(nil)

// Where is the repository's address without credentials.
func (r *Repository) Where() string { return r.address.String() }

// Tags lists the repository's tags.
func (r *Repository) Tags(ctx context.Context) ([]watch.Tag, error) {
	var list listing
	err := r.run(ctx, min(listTimeout, r.settings.Timeout), list.read, "ls-remote", "--quiet", "--tags", "--", r.address.url)
	if err != nil {
		return nil, err
	}
	return list.tags()
}

// Archive fetches the commit of a tag and makes an archive of it.
func (r *Repository) Archive(ctx context.Context, tag watch.Tag) (*watch.Archive, error) {
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
	r.log.Warn("the cache of the repository is broken and is made anew", zap.Error(err))
	if err := c.recreate(ctx); err != nil {
		return nil, err
	}
	return c.archive(ctx, tag)
}
