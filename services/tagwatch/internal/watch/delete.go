package watch

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// settleMissing states which tags are gone: those that this complete listing
// lacks, and the one before lacked too. It tells whether none is left in doubt.
func (s *survey) settleMissing(ctx context.Context, listing []candidate) (complete bool, err error) {
	there := make(map[string]bool, len(listing))
	for _, c := range listing {
		there[c.Name] = true
	}
	doubtful := map[string]time.Time{}
	var problems []error
	for tag := range s.versions() {
		if there[tag] {
			continue
		}
		since, missed := s.a.missing[tag]
		if !missed || !since.Before(s.began) {
			// A listing that was asked for before the first one was at hand proves nothing more.
			doubtful[tag] = time.Now()
			if missed {
				doubtful[tag] = since
			}
			continue
		}
		if err := s.gone(ctx, tag); err != nil {
			problems = append(problems, fmt.Errorf("tag %s: %w", tag, err))
			doubtful[tag] = since
		}
	}
	s.a.missing = doubtful
	return len(doubtful) == 0, errors.Join(problems...)
}

// versions are the tags on record that are versions of the app, or were there
// before, and that are not known to be gone.
func (s *survey) versions() map[string]bool {
	tags := map[string]bool{}
	for tag := range s.baseline.tags {
		tags[tag] = true
	}
	prefix := tagsPrefix(s.a, s.repo.Origin) + "."
	for key := range s.records {
		if tag, err := events.Unescape(key[len(prefix):]); err == nil {
			tags[tag] = true
		}
	}
	for tag := range tags {
		version, is := s.a.Choice.Version(tag)
		r, known := s.recordOf(tag)
		if !is || !known || r.Version != version || !r.deletable() || !utf8.ValidString(tag) {
			delete(tags, tag)
		}
	}
	return tags
}

// deletable tells whether it is news that the tag is gone.
func (r tagRecord) deletable() bool {
	return !r.Gone && r.Outcome != outcomeRefused && events.CheckVersion(r.Version) == nil
}

// gone states that a tag on record was deleted, once for each time it was.
func (s *survey) gone(ctx context.Context, tag string) error {
	r, known := s.recordOf(tag)
	if !known || !r.deletable() {
		return nil
	}
	fact := &events.TagDeleted{App: s.a.Name, Version: r.Version, Tag: tag, Repo: s.where, Pusher: s.asked.by}
	fact.ID = fmt.Sprintf("%s@%s@%d", fact.Subject(), r.Commit, r.Deleted+1) // of what is on record, as the next try has it too
	commit, err := s.commitOf(ctx, r)
	if err != nil {
		return err
	}
	fact.Commit, r.Commit = commit, commit
	stored, err := s.w.Record.Publish(ctx, fact)
	if err != nil {
		return err
	}
	if !stored.Already {
		s.w.logger(s.a).Info("tag deleted: the version stays what it is",
			zap.String("tag", tag), zap.String("version", r.Version), zap.String("commit", r.Commit), zap.String("pusher", fact.Pusher))
	}
	r.Gone, r.Deleted = true, r.Deleted+1
	return s.put(ctx, tag, r)
}
