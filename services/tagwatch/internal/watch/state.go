package watch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// The keys of the table:
//
//	app.<app>                      Status, for people
//	baseline.<app>.<repo choice>   the baseline
//	tag.<app>.<repo>.<tag>         what became of one tag
//
// Repo and choice are hashes. An app with another repository starts anew, and so
// does one with another choice of tags: else widening a pattern would release
// every old tag that it did not match before.

// StatusPrefix is the first token of the keys that hold a [Status].
const StatusPrefix = "app"

// StatusKey is the key of an app's [Status].
func StatusKey(app string) string { return StatusPrefix + "." + events.Escape(app) }

func baselineKey(a *watched) string {
	return "baseline." + events.Escape(a.Name) + "." + short(a.Repository.Where()+"\n"+a.Choice.identity())
}

func tagsPrefix(a *watched) string {
	return "tag." + events.Escape(a.Name) + "." + short(a.Repository.Where())
}

// tagToken names a tag in a key. Git allows longer names than a key can hold.
func tagToken(tag string) string {
	if len(tag) > events.MaxVersion {
		sum := sha256.Sum256([]byte(tag))
		return "sha256-" + hex.EncodeToString(sum[:])
	}
	return events.Escape(tag)
}

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// outcome is what became of a tag.
type outcome string

const (
	outcomeSeen    outcome = "seen"    // it is a version
	outcomeRefused outcome = "refused" // the commit cannot be one
	outcomeOld     outcome = "old"     // it was there before, and moved since
)

// tagRecord is what is on record of one tag.
type tagRecord struct {
	Outcome outcome `json:"outcome"`
	Version string  `json:"version"`
	Commit  string  `json:"commit"`
	// Moved are the other commits it was found on, each stated once.
	Moved []string `json:"moved,omitempty"`
	// Cause is the request that led to its tag.seen, if one did.
	Cause *events.Cause `json:"cause,omitempty"`
}

func (r tagRecord) movedTo(commit string) tagRecord {
	r.Moved = append(slices.Clone(r.Moved), commit)
	return r
}

func (w *Watcher) putTag(ctx context.Context, a *watched, tag string, r tagRecord) error {
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record of tag %s: %w", tag, err)
	}
	if err := w.Table.Put(ctx, tagsPrefix(a)+"."+tagToken(tag), value); err != nil {
		return fmt.Errorf("record tag %s: %w", tag, err)
	}
	return nil
}

// tagRecords returns what is on record, by key.
func (w *Watcher) tagRecords(ctx context.Context, a *watched) (map[string]tagRecord, error) {
	values, err := w.Table.All(ctx, tagsPrefix(a))
	if err != nil {
		return nil, fmt.Errorf("read records of tags: %w", err)
	}
	records := make(map[string]tagRecord, len(values))
	for key, value := range values {
		var r tagRecord
		if err := json.Unmarshal(value, &r); err != nil {
			return nil, fmt.Errorf("decode record %s: %w", key, err)
		}
		records[key] = r
	}
	return records, nil
}

// Status is what people want to know of a watched app. It is written only when
// it changes.
type Status struct {
	Repo       string    `json:"repo"`
	Tags       string    `json:"tags"`                 // which of its tags are versions
	BaselineAt time.Time `json:"baseline_at,omitzero"` // zero before the first look has succeeded
	Error      string    `json:"error,omitempty"`      // why the last look failed; empty if it did not
	ErrorSince time.Time `json:"error_since,omitzero"` // the first failure in a row
}

// report writes the app's status if it is another than before. The look itself
// does not depend on it, so trouble with it is only logged.
func (w *Watcher) report(ctx context.Context, a *watched, baselineAt time.Time, failure error) {
	if ctx.Err() != nil {
		return // cut short by a shutdown, which says nothing of the repository
	}
	if a.status == nil {
		before, err := w.readStatus(ctx, a)
		if err != nil {
			a.log.Warn("cannot read the app's status", zap.Error(err))
			return
		}
		a.status = &before
	}
	now := Status{Repo: a.Repository.Where(), Tags: a.Choice.String(), BaselineAt: baselineAt}
	if same := a.status.Repo == now.Repo && a.status.Tags == now.Tags; same && baselineAt.IsZero() {
		now.BaselineAt = a.status.BaselineAt
	}
	if failure != nil {
		now.Error, now.ErrorSince = failure.Error(), a.status.ErrorSince
		if a.status.Error == "" {
			now.ErrorSince = time.Now().UTC().Truncate(time.Second)
		}
	}
	if now == *a.status {
		return
	}
	value, err := json.Marshal(now)
	if err == nil {
		err = w.Table.Put(ctx, StatusKey(a.Name), value)
	}
	if err != nil {
		a.log.Warn("cannot write the app's status", zap.Error(err))
		return
	}
	a.status = &now
}

func (w *Watcher) readStatus(ctx context.Context, a *watched) (Status, error) {
	value, _, err := w.Table.Get(ctx, StatusKey(a.Name))
	if errors.Is(err, events.ErrNotRecorded) {
		return Status{}, nil
	}
	var s Status
	if err == nil {
		err = json.Unmarshal(value, &s)
	}
	return s, err
}
