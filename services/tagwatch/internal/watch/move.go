package watch

import (
	"context"
	"fmt"
	"slices"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// suspicious is how many tags on one commit are no accident: an attacker moves
// all there are, so that whoever uses any of them gets his commit.
const suspicious = 3

// moves counts the tags of a repository that were moved to a commit.
type moves map[string]int

// countMoves counts those on record, and those that a listing shows.
func (s *survey) countMoves(listing []candidate) moves {
	counted := moves{}
	for _, r := range s.records {
		for _, commit := range r.Moved {
			counted[commit]++
		}
	}
	for _, c := range listing {
		if r, known := s.recordOf(c.Name); known {
			counted.note(c, r)
		}
	}
	return counted
}

// note counts a tag that is on another commit than its record says. What is not
// told by a listing is counted when it is looked up.
func (m moves) note(c candidate, r tagRecord) {
	if c.Commit != "" && r.Outcome != outcomeRefused && !r.names(c.Tag) && !slices.Contains(r.Moved, c.Commit) {
		m[c.Commit]++
	}
}

// suspicion says why a commit looks like an attacker's; empty if it does not.
func (m moves) suspicion(commit string) string {
	if n := m[commit]; n >= suspicious {
		return fmt.Sprintf("%d tags of this repository were moved to the commit %s, as an attacker would do to reach whoever uses any of them", n, commit)
	}
	return ""
}

// move states that a tag names another commit, once for each.
func (s *survey) move(ctx context.Context, c candidate, r tagRecord) error {
	if s.isAsked(c) {
		s.found.refused = s.refusal(c, fmt.Sprintf("the tag %s has moved from %s to %s, and a version is immutable; push a new tag", c.Name, r.Commit, c.Commit))
	}
	if slices.Contains(r.Moved, c.Commit) {
		if r.Gone {
			r.Gone = false
			return s.put(ctx, c.Name, r)
		}
		return nil
	}
	fact := &events.TagMoved{App: s.a.Name, Version: c.version, Tag: c.Name, Repo: s.where, Old: r.Commit, New: c.Commit,
		Pusher: s.asked.by, Suspicion: s.moves.suspicion(c.Commit)}
	fact.ID = fact.Subject() + "@" + c.Commit
	stored, err := s.w.Record.Publish(ctx, fact)
	if err != nil {
		return err
	}
	if !stored.Already {
		s.w.logger(s.a).Error("TAG MOVED: it names another commit than it did, which is not built; find out who moved it, and push a new tag",
			zap.String("tag", c.Name), zap.String("version", c.version), zap.String("old", r.Commit), zap.String("new", c.Commit),
			zap.String("pusher", fact.Pusher), zap.String("suspicion", fact.Suspicion))
	}
	r.Moved, r.Gone = append(slices.Clone(r.Moved), c.Commit), false
	return s.put(ctx, c.Name, r)
}
