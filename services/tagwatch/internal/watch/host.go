package watch

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Repo names one repository of a host.
type Repo struct {
	// Name is what it is called: owner/name on GitHub, the address on a git server.
	Name string
	// ID is what the host knows it by, whatever it is called; empty while that is
	// not known, and where a host has no such thing.
	ID string
}

// Host is where repositories are: a GitHub, or any git servers. Its methods may
// be called concurrently. Where it must not be asked for a while, they return a
// [*LimitError] at once rather than wait for long; a repository that is not
// there, or not to be read, is a [*GoneError]; and what keeps them from asking for
// any repository is a [*HostError].
type Host interface {
	// Name names the host in leases, metrics and statuses, such as github.com; "git" for git servers.
	Name() string
	// Where is a repository's address for people, without credentials.
	Where(repo Repo) string
	// List lists the tags of repositories, and calls found once for each, with the
	// index in asks, as each listing becomes known, from one goroutine at a time.
	// One repository's trouble is no other's. A listing is complete or an error.
	List(ctx context.Context, asks []Ask, found func(i int, listing Listing, err error))
	// Find looks up one tag as it is now, with its commit. The error wraps
	// [ErrNoTag] if the host says that there is none.
	Find(ctx context.Context, repo Repo, tag string) (Tag, error)
	// Archive makes an archive of the commit that a tag names: a tar compressed
	// with gzip, paths beginning at the root of the repository. The error is an
	// [*UnfitError] if the commit can never be one; anything else may pass.
	Archive(ctx context.Context, repo Repo, tag Tag) (*Archive, error)
	// Pause is the time between two sweeps: the given interval, or more where the
	// host's budget demands it.
	Pause(interval time.Duration) time.Duration
}

// Verifier is a [Host] that checks signatures.
type Verifier interface {
	// Verify returns nil if the host vouches for the tag's signature, an
	// [*UnfitError] if it does not, and another error if it cannot tell now.
	Verify(ctx context.Context, repo Repo, tag Tag) error
}

// Peeler is a [Host] whose listings do not tell the commits of all tags.
type Peeler interface {
	// Peel returns the commit that a tag object leads to in the end. The error wraps
	// [ErrNoTag] if the host does not have the object any more.
	Peel(ctx context.Context, repo Repo, object string) (commit string, err error)
}

// Directory is a [Host] that knows what repositories an owner has.
type Directory interface {
	Host
	// Owned lists the repositories of an owner that have a recipe on their default
	// branch. Archived ones are left out. A list is complete or an error.
	Owned(ctx context.Context, owner string) ([]Owned, error)
	// HasRecipe looks up one repository, and tells whether it would be among the Owned.
	HasRecipe(ctx context.Context, repo Repo) (owned Owned, has bool, err error)
}

// Owned is a repository of an owner.
type Owned struct {
	Repo
	Created time.Time // when the repository was made
}

// Accountant is a [Host] that has a budget of requests.
type Accountant interface {
	// Budgets tells what is left, one entry per credential and resource, in a stable order.
	Budgets() []Budget
}

// Budget is what a credential may still do.
type Budget struct {
	Credential string    `json:"credential"`       // whose budget it is, never the secret: "token" or "app 12 acme"
	Resource   string    `json:"resource"`         // core or graphql
	Limit      int       `json:"limit"`            // per hour
	Remaining  int       `json:"remaining"`        // until Reset
	Reset      time.Time `json:"reset,omitzero"`   // when it is full again
	Blocked    time.Time `json:"blocked,omitzero"` // until when the host wants no requests; zero if it takes them
	Reason     string    `json:"reason,omitempty"` // why it is blocked
	Spent      int       `json:"spent"`            // points spent since this process started
	Requests   int       `json:"requests"`         // requests made since this process started
}

// Ask asks for the tags of a repository.
type Ask struct {
	Repo Repo
	// Mark is the [Listing.Mark] of the listing whose every tag is on record; empty for none.
	Mark string
	// Failing says that the last look failed, so that those that hang do not hold up the others.
	Failing bool
}

// Listing is what a repository's tags are.
type Listing struct {
	// Repo is the repository with its ID and its name of today, which may be
	// another than asked for.
	Repo Repo
	// Unchanged says that nothing differs from the listing that the mark is of; there are no Tags then.
	Unchanged bool
	// Mark stands for this listing in a later [Ask]; empty where a host has no such thing.
	Mark string
	Tags []Tag // every tag, in any order
}

// ErrNoTag is wrapped by an error that says that there is no such tag.
var ErrNoTag = errors.New("no such tag")

// GoneError says that a repository is not there, or must not be read: hosts do not tell these apart.
type GoneError struct{ Reason string }

func (e *GoneError) Error() string { return e.Reason }

// HostError says that the host cannot be asked for any repository: it is not
// reached, or does not accept the credentials. That is no repository's trouble.
type HostError struct{ Reason string }

func (e *HostError) Error() string { return e.Reason }

// LimitError says that the host wants no requests until a time.
type LimitError struct {
	Until  time.Time
	Reason string
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s (until %s)", e.Reason, e.Until.UTC().Format(time.RFC3339))
}
