package up

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// lockData makes sure that only one process works on a data folder: two NATS
// servers on the same files would both accept writes and destroy each other's.
func lockData(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the data folder (see --data): %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the data folder %s: %w", dir, err)
	}
	if !locked {
		who := "another tagship up"
		if running, err := ReadRunFile(dir); err == nil {
			who = fmt.Sprintf("tagship up with process id %d", running.PID)
		}
		return nil, fmt.Errorf("%s already runs on the data folder %s; stop it, or choose another folder with --data", who, dir)
	}
	return func() {
		// The lock ends with the process anyway.
		_ = lock.Unlock()
	}, nil
}
