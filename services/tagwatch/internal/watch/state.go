package watch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tagship/tagship/events"
)

// The keys of the table:
//
//	app.<app>                        Status, for people
//	host.<host>                      HostStatus, for people
//	repo.<app>                       which repository it is, and what of it is settled
//	baseline.<app>.<origin choice>   the baseline
//	tag.<app>.<origin>.<tag>         what became of one tag
//	group.<group>                    when the group was first seen
//
// Origin and choice are hashes. An app with another repository starts anew, and
// so does one with another choice of tags: else widening a pattern would release
// every old tag that it did not match before.

const repoPrefix = "repo"

func repoKey(app string) string { return repoPrefix + "." + events.Escape(app) }

func baselineKey(a *watched, origin string) string {
	return "baseline." + events.Escape(a.Name) + "." + short(origin+"\n"+a.Choice.identity())
}

func tagsPrefix(a *watched, origin string) string {
	return "tag." + events.Escape(a.Name) + "." + short(origin)
}

func tagKey(a *watched, origin, tag string) string {
	return tagsPrefix(a, origin) + "." + tagToken(tag)
}

func groupKey(group string) string { return "group." + events.Escape(group) }

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
	outcomeOld     outcome = "old"     // it was there before, and something happened to it since
)

// tagRecord is what is on record of one tag.
type tagRecord struct {
	Outcome outcome `json:"outcome"`
	Version string  `json:"version"`
	Commit  string  `json:"commit"`
	// Object is what the reference named when it was on the commit; empty if that is not known.
	Object string `json:"object,omitempty"`
	// Moved are the other commits it was found on, each stated once.
	Moved []string `json:"moved,omitempty"`
	// Gone says that it is deleted, and Deleted how often that was stated.
	Gone    bool `json:"gone,omitempty"`
	Deleted int  `json:"deleted,omitempty"`
	// Cause is the request that led to its tag.seen, if one did.
	Cause *events.Cause `json:"cause,omitempty"`
	// At is when the record was written.
	At time.Time `json:"at,omitzero"`
}

// names tells whether the record is about what a tag names: the same object, or
// the same commit annotated anew.
func (r tagRecord) names(tag Tag) bool {
	switch {
	case r.Object != "" && r.Object == tag.Object:
		return true
	case tag.Commit == "":
		return tag.Object == r.Commit
	}
	return tag.Commit == r.Commit
}

func (w *Watcher) putTag(ctx context.Context, key string, r tagRecord) error {
	value, err := json.Marshal(r)
	if err == nil {
		err = w.Table.Put(ctx, key, value)
	}
	if err != nil {
		return fmt.Errorf("record what became of the tag: %w", err)
	}
	return nil
}

// tagRecords reads what is on record of an app's tags, by key.
func (w *Watcher) tagRecords(ctx context.Context, a *watched, origin string) (map[string]tagRecord, error) {
	values, err := w.Table.All(ctx, tagsPrefix(a, origin))
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
