package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// StatusPrefix is the first token of the keys that hold a [Status], and
// HostPrefix of those that hold a [HostStatus].
const (
	StatusPrefix = "app"
	HostPrefix   = "host"
)

// StatusKey is the key of an app's [Status].
func StatusKey(app string) string { return StatusPrefix + "." + events.Escape(app) }

// HostKey is the key of a [HostStatus].
func HostKey(host string) string { return HostPrefix + "." + events.Escape(host) }

// Status is what people want to know of a watched app, or of a group. It is
// written only when it changes.
type Status struct {
	Repo string `json:"repo"` // the repository's address of today
	// Configured is the address in the configuration; empty if it is the same.
	Configured string    `json:"configured,omitempty"`
	RepoID     string    `json:"repo_id,omitempty"`    // see [Repo]
	Tags       string    `json:"tags"`                 // which of its tags are versions
	BaselineAt time.Time `json:"baseline_at,omitzero"` // zero before the first look has succeeded
	// Group says that it is not of an app but of a group, whose apps have their own.
	Group bool `json:"group,omitempty"`
	// Repositories is how many are watched as apps of the group.
	Repositories int       `json:"repositories,omitempty"`
	Note         string    `json:"note,omitempty"`       // what is worth a thought, though nothing failed
	Error        string    `json:"error,omitempty"`      // why the last look failed; empty if it did not
	ErrorSince   time.Time `json:"error_since,omitzero"` // the first failure in a row
}

// HostStatus is what people want to know of a host.
type HostStatus struct {
	Host    string    `json:"host"`
	Leader  string    `json:"leader"`         // the replica that sweeps over the repositories
	Sweep   Sweep     `json:"sweep,omitzero"` // the last one that is over and asked for any
	Failing int       `json:"failing"`        // repositories that cannot be listed, or not settled, at present
	Next    time.Time `json:"next,omitzero"`  // when a repository is asked for next
	Budgets []Budget  `json:"budgets,omitempty"`
	// Error is why no repository, or none of some owner, can be asked for; see
	// [HostError]. It is no app's error then.
	Error      string    `json:"error,omitempty"`
	ErrorSince time.Time `json:"error_since,omitzero"`
}

// Sweep is what came of asking for the tags of every repository that was well.
type Sweep struct {
	At           time.Time       `json:"at"`
	Took         events.Duration `json:"took"`
	Repositories int             `json:"repositories"` // asked for
	Changed      int             `json:"changed"`      // with other tags than before
	Requests     int             `json:"requests"`     // made meanwhile, by whatever
	Points       int             `json:"points"`       // of the budget spent meanwhile
}

// Sweeps tells of every host that this process knows, ordered by name. The last
// sweep is zero, and nothing fails, where another replica leads.
func (w *Watcher) Sweeps() []HostStatus {
	var all []HostStatus
	for _, name := range slices.Sorted(maps.Keys(w.hosts)) {
		h := w.hosts[name]
		h.mu.Lock()
		status := h.status
		status.Failing = h.failures(nil)
		if h.leading {
			status.Next = h.soonest(nil)
		}
		h.mu.Unlock()
		status.Budgets = budgetsOf(h.Host)
		all = append(all, status)
	}
	return all
}

func budgetsOf(host Host) []Budget {
	if accountant, ok := host.(Accountant); ok {
		return accountant.Budgets()
	}
	return nil
}

// spentOf is what all credentials of a host have spent.
func spentOf(host Host) (sum Budget) {
	for _, b := range budgetsOf(host) {
		sum.Spent += b.Spent
		sum.Requests += b.Requests
	}
	return sum
}

// failures counts the repositories of which an app's last look failed, and
// others that are known to. The caller holds the mutex.
func (h *hosted) failures(others map[Repo]bool) int {
	failing := map[Repo]bool{}
	maps.Copy(failing, others)
	for a := range h.apps {
		if h.leading && a.plan.failing != nil {
			failing[a.repo()] = true
		}
	}
	return len(failing)
}

// soonest is when a repository is asked for next, given those that just failed;
// zero if that is not known yet. The caller holds the mutex.
func (h *hosted) soonest(failed map[Repo]bool) (next time.Time) {
	for a := range h.apps {
		due := a.plan.due
		if a.plan.asking {
			if failed[a.repo()] {
				continue
			}
			due = h.next
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next.UTC()
}

// reportHost writes the host's status after a sweep at which some failed.
// Sweeping does not depend on it, so trouble with it is only logged.
func (w *Watcher) reportHost(ctx context.Context, h *hosted, last Sweep, failed map[Repo]bool) {
	h.mu.Lock()
	h.status.Leader = w.Replica
	if last.Repositories > 0 { // else all are failing, or still at work
		h.status.Sweep = last
	}
	now := h.status
	now.Failing, now.Next = h.failures(failed), h.soonest(failed)
	h.mu.Unlock()
	now.Budgets = budgetsOf(h.Host)
	value, err := json.Marshal(now)
	if err == nil {
		err = w.Table.Put(ctx, HostKey(h.Name()), value)
	}
	if err != nil && ctx.Err() == nil {
		w.Log.Warn("cannot write the host's status", zap.String("host", h.Name()), zap.Error(err))
	}
}

// report writes the app's status if it is another than before. The look itself
// does not depend on it, so trouble with it is only logged.
func (w *Watcher) report(ctx context.Context, a *watched, baselineAt time.Time, failure error) {
	if ctx.Err() != nil || isHosts(failure) {
		return // cut short by a shutdown, or by the host: that says nothing of the repository
	}
	if err := w.readStatus(ctx, a); err != nil {
		w.logger(a).Warn("cannot read the app's status", zap.Error(err))
		return
	}
	before := *a.status.Load()
	now := Status{Repo: a.where(), Tags: a.Choice.String(), BaselineAt: baselineAt}
	if known := a.known.Load(); known != nil {
		now.RepoID = known.ID
	}
	if configured := a.configured(); configured != now.Repo {
		now.Configured = configured
	}
	same := before.Tags == now.Tags && (before.Repo == now.Repo || before.RepoID == now.RepoID && now.RepoID != "")
	if same && baselineAt.IsZero() {
		now.BaselineAt = before.BaselineAt
	}
	switch {
	case a.note != nil:
		now.Note = *a.note
	case same:
		now.Note = before.Note
	}
	now.fail(before, failure)
	if err := w.writeStatus(ctx, a.Name, before, now); err != nil {
		w.logger(a).Warn("cannot write the app's status", zap.Error(err))
		return
	}
	if now != before {
		a.status.Store(&now)
	}
}

// isHosts tells whether a failure is the host's, and says nothing of a repository.
func isHosts(failure error) bool {
	var (
		limit *LimitError
		host  *HostError
	)
	return errors.As(failure, &limit) || errors.As(failure, &host)
}

// fail notes a failure, and since when there was one.
func (s *Status) fail(before Status, failure error) {
	if failure == nil {
		return
	}
	s.Error, s.ErrorSince = failure.Error(), before.ErrorSince
	if before.Error == "" {
		s.ErrorSince = time.Now().UTC().Truncate(time.Second)
	}
}

func (w *Watcher) writeStatus(ctx context.Context, app string, before, now Status) error {
	if now == before {
		return nil
	}
	value, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("encode the status: %w", err)
	}
	return w.Table.Put(ctx, StatusKey(app), value)
}

// readStatus reads the app's status, unless it was read before.
func (w *Watcher) readStatus(ctx context.Context, a *watched) error {
	if a.status.Load() != nil {
		return nil
	}
	value, _, err := w.Table.Get(ctx, StatusKey(a.Name))
	if err != nil && !errors.Is(err, events.ErrNotRecorded) {
		return err
	}
	return a.recallStatus(value)
}

// recallStatus takes in a status as it was read; empty for none.
func (a *watched) recallStatus(value []byte) error {
	var s Status
	if len(value) > 0 {
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("decode the status of %s: %w", a.Name, err)
		}
	}
	a.status.Store(&s)
	return nil
}
