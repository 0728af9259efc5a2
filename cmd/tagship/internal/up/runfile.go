package up

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"
)

// RunFile is run.json in the data folder: where everything answers, for scripts.
type RunFile struct {
	PID      int                          `json:"pid"`
	NATS     string                       `json:"nats"`
	Registry string                       `json:"registry"`
	CDN      string                       `json:"cdn"`
	Webhooks string                       `json:"webhooks"`
	Apps     map[string]map[string]string `json:"apps"` // environment, app: address
}

func runFilePath(dir string) string { return filepath.Join(dir, "run.json") }

// ReadRunFile reads run.json of a data folder. The file is there while `tagship
// up` runs; after a crash it may be left over, so check that PID is alive.
func ReadRunFile(dir string) (RunFile, error) {
	var r RunFile
	data, err := os.ReadFile(runFilePath(dir))
	if err != nil {
		return r, fmt.Errorf("read run file: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("decode %s: %w", runFilePath(dir), err)
	}
	return r, nil
}

// runFile keeps run.json true while the process runs.
type runFile struct {
	dir string

	mu      sync.Mutex
	content RunFile
}

// setApp records where an app answers in an environment.
func (r *runFile) setApp(env, app, address string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if address == "" || r.content.Apps[env][app] == address {
		return nil
	}
	apps := maps.Clone(r.content.Apps[env])
	if apps == nil {
		apps = map[string]string{}
	}
	apps[app] = address
	r.content.Apps[env] = apps
	return r.write()
}

// write replaces the file in one step, so that a reader sees the old or the new one.
func (r *runFile) write() error {
	data, err := json.MarshalIndent(r.content, "", "  ")
	if err != nil {
		return fmt.Errorf("encode run file: %w", err)
	}
	if err := renameio.WriteFile(runFilePath(r.dir), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write run file: %w", err)
	}
	return nil
}

func (r *runFile) publish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.write()
}

func (r *runFile) remove() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return os.Remove(runFilePath(r.dir))
}
