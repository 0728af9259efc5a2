package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// ask is what a request adds to a look; zero for a look that nobody asked for.
type ask struct {
	version string        // the one version asked for; empty if none is
	origin  *events.Cause // the request
}

// findings is what a look has found.
type findings struct {
	versions []string           // seen for the first time, oldest first
	refused  *events.TagRefused // why the version asked for is none; nil if it is one
}

// look compares the repository with the record once. Looks at one app take turns.
func (w *Watcher) look(ctx context.Context, a *watched, asked ask) (found findings, err error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return findings{}, context.Cause(ctx)
	}
	var since time.Time
	defer func() { w.report(ctx, a, since, err) }()

	tags, err := a.Repository.Tags(ctx)
	if err != nil {
		return findings{}, fmt.Errorf("list the tags of %s: %w", a.Repository.Where(), err)
	}
	listing := a.Choice.candidates(tags)
	now := fingerprintOf(listing)
	if asked.origin == nil && a.settled == now {
		return findings{}, nil
	}
	base, err := w.baseline(ctx, a, listing)
	if err != nil {
		return findings{}, err
	}
	since = base.at
	records, err := w.tagRecords(ctx, a)
	if err != nil {
		return findings{}, err
	}
	s := survey{w: w, a: a, asked: asked, baseline: base, records: records}
	if asked.version != "" {
		s.found.refused = missing(a, asked.version, tags, listing)
	}
	if err := s.settleAll(ctx, listing); err != nil {
		return s.found, err
	}
	a.settled = now
	return s.found, nil
}

// missing says why there is no version as asked for; nil if there is one.
func missing(a *watched, version string, tags []Tag, listing []candidate) *events.TagRefused {
	for _, c := range listing {
		if c.version == version {
			return nil
		}
	}
	refused := &events.TagRefused{App: a.Name, Version: version, Reason: fmt.Sprintf("%s has no tag %s%s; push the tag first", a.Repository.Where(), a.Choice.strip, version)}
	for _, tag := range tags {
		if tag.Name == version || tag.Name == a.Choice.strip+version {
			refused.Reason = fmt.Sprintf("%s has the tag %s, but it is no version of %s, whose tags are %s", a.Repository.Where(), tag.Name, a.Name, a.Choice)
		}
	}
	return refused
}

// survey is one look at work: it settles each tag in turn.
type survey struct {
	w        *Watcher
	a        *watched
	asked    ask
	baseline baseline
	records  map[string]tagRecord
	found    findings
}

func (s *survey) settleAll(ctx context.Context, listing []candidate) error {
	var problems []error
	for _, c := range listing {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.settle(ctx, c); err != nil {
			problems = append(problems, fmt.Errorf("tag %s: %w", c.Name, err))
		}
	}
	return errors.Join(problems...)
}

// settle brings the record of one tag up to what the tag is now.
func (s *survey) settle(ctx context.Context, c candidate) error {
	asked := s.isAsked(c)
	r, known := s.records[tagsPrefix(s.a)+"."+tagToken(c.Name)]
	if commit, before := s.baseline.commits[c.Name]; before && !known {
		r, known = tagRecord{Outcome: outcomeOld, Version: c.version, Commit: commit}, true
	}
	switch {
	case !known:
		return s.take(ctx, c)
	case r.Outcome == outcomeRefused && r.Commit == c.Commit && !asked:
		return nil
	case r.Outcome == outcomeRefused:
		// It never became a version, so a corrected tag is a first try, not a move.
		return s.take(ctx, c)
	case r.Commit != c.Commit:
		return s.move(ctx, c, r)
	case r.Outcome == outcomeOld && (s.a.Backfill || asked):
		return s.take(ctx, c)
	case r.Outcome == outcomeSeen:
		s.claim(c, r.Cause)
	}
	return nil
}

// isAsked tells whether the look was asked to release this very version.
func (s *survey) isAsked(c candidate) bool {
	return s.asked.version != "" && s.asked.version == c.version
}

// claim counts a version as found by this look if it is: by the very request, in
// case the request is handled for the second time.
func (s *survey) claim(c candidate, cause *events.Cause) {
	if cause != nil && s.asked.origin != nil && *cause == *s.asked.origin {
		s.found.versions = append(s.found.versions, c.version)
	}
}

// take makes a version of a tag, or refuses it.
func (s *survey) take(ctx context.Context, c candidate) error {
	if err := events.CheckVersion(c.version); err != nil {
		return s.refuse(ctx, c, "the version "+err.Error())
	}
	subject := events.KindTagSeen.Subject(s.a.Name, c.version)
	switch before, err := s.w.Record.Last(ctx, subject); {
	case err == nil:
		return s.recognise(ctx, c, before.Fact)
	case !errors.Is(err, events.ErrNotRecorded):
		return err
	}
	fact, err := s.prepare(ctx, c)
	if unfit := new(UnfitError); errors.As(err, &unfit) {
		return s.refuse(ctx, c, unfit.Reason)
	}
	if err != nil {
		return err
	}
	stored, err := s.w.Record.Publish(ctx, fact)
	if err != nil {
		return err
	}
	if stored.Already {
		before, err := s.w.Record.Last(ctx, subject)
		if err != nil {
			return err
		}
		return s.recognise(ctx, c, before.Fact)
	}
	s.found.versions = append(s.found.versions, c.version)
	s.a.log.Info("new version", zap.String("version", c.version), zap.String("tag", c.Name), zap.String("commit", c.Commit))
	return s.seen(ctx, c, fact)
}

// recognise settles a tag whose version was stated before: by another watcher,
// or by this one before it could write the record.
func (s *survey) recognise(ctx context.Context, c candidate, before events.Fact) error {
	fact, ok := before.(*events.TagSeen)
	if !ok {
		return events.Permanent(fmt.Errorf("%s holds a %s", before.Subject(), before.Kind()))
	}
	switch {
	case fact.Tag != c.Name:
		return s.refuse(ctx, c, fmt.Sprintf("version %s is the tag %s already", c.version, fact.Tag))
	case fact.Commit != c.Commit:
		return s.move(ctx, c, tagRecord{Outcome: outcomeSeen, Version: c.version, Commit: fact.Commit, Cause: fact.Cause})
	}
	s.claim(c, fact.Cause)
	return s.seen(ctx, c, fact)
}

func (s *survey) seen(ctx context.Context, c candidate, fact *events.TagSeen) error {
	return s.w.putTag(ctx, s.a, c.Name, tagRecord{Outcome: outcomeSeen, Version: c.version, Commit: fact.Commit, Cause: fact.Cause})
}

// refuse states once that a commit cannot be a version, whatever the number of
// looks. Where a request is about it, its answer is that statement.
func (s *survey) refuse(ctx context.Context, c candidate, reason string) error {
	fact := &events.TagRefused{App: s.a.Name, Version: c.version, Tag: c.Name, Commit: c.Commit, Reason: shortened(reason)}
	record := tagRecord{Outcome: outcomeRefused, Version: c.version, Commit: c.Commit}
	if s.isAsked(c) {
		s.found.refused = fact
		return s.w.putTag(ctx, s.a, c.Name, record)
	}
	if events.CheckVersion(c.version) != nil {
		fact.Version = events.Unknown
	}
	fact.ID = fact.Subject() + "@" + c.Commit
	if fact.Version == events.Unknown {
		fact.ID += "@" + tagToken(c.Name) // several tags can share this subject and the commit
	}
	stored, err := s.w.Record.Publish(ctx, fact)
	if err != nil {
		return err
	}
	if !stored.Already {
		s.a.log.Warn("the tag cannot be a version", zap.String("tag", c.Name), zap.String("commit", c.Commit), zap.String("reason", reason))
	}
	return s.w.putTag(ctx, s.a, c.Name, record)
}

// shortened bounds a reason, for a file can have more mistakes than a message has room for.
func shortened(reason string) string {
	const most = 16 << 10
	if len(reason) <= most {
		return reason
	}
	return strings.ToValidUTF8(reason[:most], "") + " … and more"
}

// move states that a tag names another commit, once for each.
func (s *survey) move(ctx context.Context, c candidate, r tagRecord) error {
	if s.isAsked(c) {
		s.found.refused = &events.TagRefused{App: s.a.Name, Version: c.version, Tag: c.Name, Commit: c.Commit,
			Reason: fmt.Sprintf("the tag %s has moved from %s to %s, and a version is immutable; push a new tag", c.Name, r.Commit, c.Commit)}
	}
	if slices.Contains(r.Moved, c.Commit) {
		return nil
	}
	fact := &events.TagMoved{App: s.a.Name, Version: c.version, Tag: c.Name, Repo: s.a.Repository.Where(), Old: r.Commit, New: c.Commit}
	fact.ID = fact.Subject() + "@" + c.Commit
	stored, err := s.w.Record.Publish(ctx, fact)
	if err != nil {
		return err
	}
	if !stored.Already {
		s.a.log.Error("TAG MOVED: it names another commit than it did, which is not built; find out who moved it, and push a new tag",
			zap.String("tag", c.Name), zap.String("version", c.version), zap.String("old", r.Commit), zap.String("new", c.Commit))
	}
	return s.w.putTag(ctx, s.a, c.Name, r.movedTo(c.Commit))
}
