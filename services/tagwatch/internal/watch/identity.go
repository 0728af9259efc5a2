package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// repoRecord is what is on record of an app's repository. It tells a repository
// that was renamed from another that took over its name.
type repoRecord struct {
	// Origin is its address when it was first looked at, which the keys of its
	// baseline and its tags are made of. They stay when its name does not.
	Origin string `json:"origin"`
	// Configured is the address that the configuration had.
	Configured string `json:"configured"`
	ID         string `json:"id,omitempty"` // see [Repo]
	Name       string `json:"name"`         // what it was called last
	// Group is the group that the app was found with; empty if it is configured.
	Group string `json:"group,omitempty"`
	// Settled and Mark are of the last listing whose every tag is on record, as
	// long as the app's tags are treated as For says.
	Settled string `json:"settled,omitempty"`
	Mark    string `json:"mark,omitempty"`
	For     string `json:"for,omitempty"`
}

func (r repoRecord) repo() Repo { return Repo{Name: r.Name, ID: r.ID} }

// known tells whether there is such a record.
func (r repoRecord) known() bool { return r.Origin != "" }

// configured is the address that the configuration gives.
func (a *watched) configured() string { return a.Host.Where(a.Repo) }

// where is the repository's address of today, as far as it is known.
func (a *watched) where() string {
	if known := a.meant(); known != nil {
		return a.Host.Where(known.repo())
	}
	return a.configured()
}

// repo is the repository to ask for: by its ID, once that is known and still the
// one that the configuration means.
func (a *watched) repo() Repo {
	known := a.meant()
	switch {
	case known == nil:
		return a.Repo
	case a.byName.Load():
		return Repo{Name: a.Repo.Name}
	}
	return known.repo()
}

// meant is the record of the repository that the configuration means; nil if there is none.
func (a *watched) meant() *repoRecord {
	known := a.known.Load()
	if known == nil || !known.known() || known.Configured != a.configured() || a.Repo.ID != "" && a.Repo.ID != known.ID {
		return nil
	}
	return known
}

// treatment names what becomes of a listing's tags. With another, a listing that
// was settled is not.
func (a *watched) treatment(origin string) string {
	return short(origin + "\n" + a.Choice.identity() + "\n" + string(a.Backfill))
}

// mark is what to ask with; empty if the listing is wanted whatever it is.
func (a *watched) mark() string {
	known := a.known.Load()
	if known == nil || known.For != a.treatment(known.Origin) || known.repo() != a.repo() {
		return ""
	}
	return known.Mark
}

// recall reads what is on record of an app's repository, unless it was read before.
func (w *Watcher) recall(ctx context.Context, a *watched) error {
	if a.known.Load() != nil {
		return nil
	}
	return w.reread(ctx, a)
}

// reread reads what is on record of an app's repository.
func (w *Watcher) reread(ctx context.Context, a *watched) error {
	value, _, err := w.Table.Get(ctx, repoKey(a.Name))
	if errors.Is(err, events.ErrNotRecorded) {
		a.known.Store(&repoRecord{})
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the record of the repository: %w", err)
	}
	return w.learn(a, value)
}

// groupName is the name of the group that the app was found with; empty if it is configured.
func (a *watched) groupName() string {
	if a.group == nil {
		return ""
	}
	return a.group.Name
}

// learn takes in a record that was read.
func (w *Watcher) learn(a *watched, value []byte) error {
	r, err := decodeRepo(a.Name, value)
	if err == nil {
		w.know(a, r)
	}
	return err
}

func decodeRepo(app string, value []byte) (r repoRecord, err error) {
	if err := json.Unmarshal(value, &r); err != nil {
		return repoRecord{}, fmt.Errorf("decode record %s: %w", repoKey(app), err)
	}
	return r, nil
}

func (w *Watcher) know(a *watched, r repoRecord) {
	before := a.known.Swap(&r)
	if before == nil || before.ID != r.ID || before.Name != r.Name {
		w.mu.Lock()
		if w.apps[a.Name] == a {
			w.index.file(a, r.repo())
		}
		w.mu.Unlock()
	}
}

// strangerError says that a repository is not the one that the app is about.
type strangerError struct{ reason string }

func (e *strangerError) Error() string { return e.reason }

// identify finds out which repository a listing is of, and returns its record.
// The error is a [*strangerError] if it is another than the app is about.
func (w *Watcher) identify(ctx context.Context, a *watched, seen Repo) (repoRecord, error) {
	for {
		before := *a.known.Load()
		now, err := a.identified(before, seen)
		if err != nil || now == before {
			return now, err
		}
		if before.known() {
			if now.Origin == before.Origin && now.Name != before.Name && !strings.EqualFold(now.Name, before.Name) {
				w.logger(a).Info("the repository has another name now", zap.String("was", before.Name), zap.String("is", now.Name))
			}
			return now, w.remember(ctx, a, now)
		}
		err = w.found(ctx, a, now)
		if !errors.Is(err, events.ErrConflict) {
			return now, err
		}
		// Another watcher saw it first: go by its record.
		if err := w.reread(ctx, a); err != nil {
			return repoRecord{}, err
		}
	}
}

// identified says what the record becomes with a repository as it was seen.
func (a *watched) identified(before repoRecord, seen Repo) (repoRecord, error) {
	configured := a.configured()
	if seen.Name == "" {
		seen.Name = a.Repo.Name // a host that does not tell names has one for each repository
	}
	same := before
	same.Configured, same.Name, same.Group = configured, seen.Name, a.groupName()
	if seen.ID != "" {
		same.ID = seen.ID
	}
	anew := repoRecord{Origin: configured, Configured: configured, ID: seen.ID, Name: seen.Name, Group: a.groupName()}
	bothKnown := before.ID != "" && seen.ID != ""
	switch {
	case a.Repo.ID != "" && seen.ID != "" && a.Repo.ID != seen.ID:
		return before, &strangerError{fmt.Sprintf("%s is the repository with the ID %s, but repo_id says %s; correct one of them", configured, seen.ID, a.Repo.ID)}
	case !before.known():
		return anew, nil
	case bothKnown && before.ID == seen.ID, !bothKnown && before.Configured == configured:
		return same, nil
	case bothKnown && before.Configured == configured && a.Repo.ID == "":
		return before, &strangerError{fmt.Sprintf("%s is another repository than it was: its ID is %s, and was %s, so somebody gave its name to another; nothing of it is released. If that is meant, set repo_id: %q",
			configured, seen.ID, before.ID, seen.ID)}
	}
	if anew.Origin == before.Origin && seen.ID != "" {
		anew.Origin += "#" + seen.ID // what is on record of the other one is not about this one
	}
	return anew, nil
}

// found records a repository that was not known before. The error wraps
// [events.ErrConflict] if another watcher was faster.
func (w *Watcher) found(ctx context.Context, a *watched, r repoRecord) error {
	value, err := json.Marshal(r)
	if err == nil {
		err = w.Table.Create(ctx, repoKey(a.Name), value)
	}
	if err != nil {
		return fmt.Errorf("record the repository: %w", err)
	}
	w.know(a, r)
	return nil
}

// remember writes the record of a repository that is on record already.
func (w *Watcher) remember(ctx context.Context, a *watched, r repoRecord) error {
	value, err := json.Marshal(r)
	if err == nil {
		err = w.Table.Put(ctx, repoKey(a.Name), value)
	}
	if err != nil {
		return fmt.Errorf("record the repository: %w", err)
	}
	w.know(a, r)
	return nil
}
