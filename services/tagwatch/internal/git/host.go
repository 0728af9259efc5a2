package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/spool"
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
	// Parallel is how many repositories of a server are listed at once; as many
	// again whose last listing failed.
	Parallel int
	// MaxArchive is how long an archive may be, in compressed bytes.
	MaxArchive int64

	SSHKey           string // path of a private key; empty for the user's own
	KnownHosts       string // path of a known_hosts file; empty for the user's own
	CredentialHelper string // as credential.helper in git-config(1); empty for none
}

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
	folder = filepath.Join(s.DataDir, "spool")
	if err := spool.Clear(folder); err != nil {
		return nil, err
	}
	return &Host{
		settings: s, spool: folder, log: log,
		repositories: map[string]*repository{},
		places:       map[line]chan struct{}{},
	}, nil
}

// Host is all git servers: it reads repositories wherever they are.
type Host struct {
	settings Settings
	spool    string
	log      *zap.Logger

	mu           sync.RWMutex
	repositories map[string]*repository // by the name in [watch.Repo]
	places       map[line]chan struct{} // one for each repository that is listed
}

var _ watch.Host = (*Host)(nil)

// Add makes the repository at an address known, and returns what it is called.
// Apps with the same address and credentials share its cache.
func (h *Host) Add(address Address) (watch.Repo, error) {
	sum := sha256.Sum256([]byte(address.url + "\n" + address.user + "\n" + address.password))
	key := hex.EncodeToString(sum[:8])
	h.mu.Lock()
	defer h.mu.Unlock()
	name := address.String()
	if other := h.repositories[name]; other != nil && other.address != address {
		name += "#" + key // the same for people, but reached in another way
	}
	if h.repositories[name] != nil {
		return watch.Repo{Name: name}, nil
	}
	r := &repository{
		address:  address,
		settings: h.settings,
		spool:    h.spool,
		folder:   filepath.Join(h.settings.DataDir, "repositories", key),
		log:      h.log,
	}
	if err := r.writeConfig(); err != nil {
		return watch.Repo{}, err
	}
	if address.exposesPassword() {
		h.log.Warn("the password goes over plain http, where others can read it; use https", zap.Stringer("repo", address))
	}
	h.repositories[name] = r
	return watch.Repo{Name: name}, nil
}

// repository returns a repository that was added.
func (h *Host) repository(repo watch.Repo) (*repository, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if r := h.repositories[repo.Name]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("no repository %q was added", repo.Name)
}

// Name is what stands for all git servers.
func (h *Host) Name() string { return "git" }

// Where is the repository's address without credentials.
func (h *Host) Where(repo watch.Repo) string {
	r, err := h.repository(repo)
	if err != nil {
		return repo.Name
	}
	return r.address.String()
}

// Pause is the interval, a tenth more or less, so that many replicas and
// installations do not ask in step.
func (h *Host) Pause(interval time.Duration) time.Duration {
	return time.Duration(float64(interval) * (0.9 + 0.2*rand.Float64()))
}

// Find looks up one tag.
func (h *Host) Find(ctx context.Context, repo watch.Repo, tag string) (watch.Tag, error) {
	r, err := h.repository(repo)
	if err != nil {
		return watch.Tag{}, err
	}
	return r.find(ctx, tag)
}

// Archive fetches the commit of a tag and makes an archive of it. It is the
// commit that counts: where the tag has moved or is gone meanwhile, the commit is
// fetched by its id, if the server gives it away.
func (h *Host) Archive(ctx context.Context, repo watch.Repo, tag watch.Tag) (*watch.Archive, error) {
	r, err := h.repository(repo)
	if err != nil {
		return nil, err
	}
	return r.archiveOf(ctx, tag)
}
