package publish

import (
	"context"
	"io"
)

// Object is one file in a store.
type Object struct {
	Key    string // slash-separated, as the package comment shows
	Digest string // of its content, sha256:…
	Size   int64  // in bytes
}

// Store holds the objects of channels. Every method is safe for concurrent use,
// also by several processes, and a reader sees an object whole or not at all.
// [HeadersOf] tells what a store says of an object to those who download it.
type Store interface {
	// Stat tells what is stored under a key. The error wraps [io/fs.ErrNotExist]
	// if nothing is.
	Stat(ctx context.Context, key string) (Object, error)
	// Create stores an object once. It reads r to its end, and stores nothing if
	// r fails: r is what knows the right digest and size. The error wraps
	// [io/fs.ErrExist] if something is stored under the key already.
	Create(ctx context.Context, o Object, r io.Reader) error
	// Read returns a small object, and its revision for Replace. The error wraps
	// [io/fs.ErrNotExist] if nothing is stored under the key.
	Read(ctx context.Context, key string) ([]byte, Revision, error)
	// Replace stores an object over the one of the given revision. The error
	// wraps [events.ErrConflict] if another one is there by now.
	Replace(ctx context.Context, key string, content []byte, old Revision) error
	// URL is where the object is downloaded.
	URL(key string) string
}

// Revision names a state of an object, in the store's own terms.
type Revision string

// Absent is the revision of an object that is not there.
const Absent Revision = ""
