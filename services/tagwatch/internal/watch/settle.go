package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// skew is by how much the clocks of replicas may differ.
const skew = time.Minute

// survey is one look at work: it settles each tag in turn.
type survey struct {
	w        *Watcher
	a        *watched
	asked    ask
	repo     repoRecord
	where    string    // the repository's address of today
	began    time.Time // when the host was asked for what is settled
	baseline baseline
	newest   string               // the tag of the newest version in the baseline
	records  map[string]tagRecord // by key
	moves    moves
	found    findings
}

// load reads what is on record of the app's tags.
func (s *survey) load(ctx context.Context, listing []candidate) (err error) {
	if s.baseline, err = s.w.baseline(ctx, s.a, s.repo.Origin, listing); err != nil {
		return err
	}
	if s.a.Backfill == BackfillLatest {
		s.newest = s.baseline.newest(s.a.Choice)
	}
	if s.records, err = s.w.tagRecords(ctx, s.a, s.repo.Origin); err != nil {
		return err
	}
	s.moves = s.countMoves(listing)
	return nil
}

// settleAll settles every tag, and tells whether that is all that is to be done:
// a tag that is missing for the first time is waited for.
func (s *survey) settleAll(ctx context.Context, listing []candidate) (complete bool, err error) {
	var problems []error
	patience := []time.Duration{time.Second, 5 * time.Second} // once in a look, however many fail
	for i, c := range listing {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		err := s.settle(ctx, c)
		// Of two versions the one that was seen later is the newer, so a moment's
		// trouble with one must not let another overtake it.
		for len(patience) > 0 && passing(err) && s.pending(c) && slices.ContainsFunc(listing[i+1:], s.pending) {
			select {
			case <-time.After(patience[0]):
				patience = patience[1:]
				err = s.settle(ctx, c)
			case <-ctx.Done():
				return false, context.Cause(ctx)
			}
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("tag %s: %w", c.Name, err))
		}
	}
	complete, err = s.settleMissing(ctx, listing)
	if err != nil {
		problems = append(problems, err)
	}
	return complete, errors.Join(problems...)
}

// passing tells whether an error may pass in a moment.
func passing(err error) bool {
	limit := new(LimitError)
	return err != nil && !events.IsPermanent(err) && !errors.As(err, &limit)
}

// pending tells whether a tag was to become a version when the look began.
func (s *survey) pending(c candidate) bool {
	r, known := s.recordOf(c.Name)
	return !known || s.wants(c, r)
}

// recordOf is what is on record of a tag, be it in the baseline.
func (s *survey) recordOf(tag string) (r tagRecord, known bool) {
	if r, known = s.records[tagKey(s.a, s.repo.Origin, tag)]; known {
		return r, true
	}
	entry, known := s.baseline.tags[tag]
	if !known {
		return tagRecord{}, false
	}
	version, _ := s.a.Choice.Version(tag)
	r = tagRecord{Outcome: outcomeOld, Version: version, Commit: entry.id}
	if entry.isObject {
		r.Object = entry.id
	}
	return r, true
}

// settle brings the record of one tag up to what the tag is now.
func (s *survey) settle(ctx context.Context, c candidate) error {
	r, known := s.recordOf(c.Name)
	same := known && r.names(c.Tag)
	unpeeled := c.Commit == ""
	if !same || unpeeled && s.wants(c, r) {
		var err error
		if c, err = s.certain(ctx, c, r); err != nil {
			return err
		}
		if r.Commit, err = s.commitOf(ctx, r); err != nil {
			return err
		}
		same = known && r.names(c.Tag)
		if known && unpeeled {
			s.moves.note(c, r)
		}
	}
	switch {
	case !known:
		return s.take(ctx, c)
	case r.Outcome == outcomeRefused && (!same || s.isAsked(c)):
		// It never became a version, so a corrected tag is a first try, not a move.
		return s.take(ctx, c)
	case r.Outcome == outcomeRefused:
		return nil
	case !same && nameable(c) != nil:
		return s.take(ctx, c) // which it is refused by: no fact can tell of a move
	case !same:
		return s.move(ctx, c, r)
	case s.wants(c, r):
		return s.take(ctx, c)
	case r.Outcome == outcomeSeen:
		s.claim(c, r.Cause)
	}
	if r.Gone || unpeeled && r.Object != c.Object && r.Commit != c.Object {
		// It came back, or is annotated anew, which is not to be found out again each time.
		r.Gone, r.Object = false, c.Object
		return s.put(ctx, c.Name, r)
	}
	return nil
}

// wants tells whether a tag from before is to be released.
func (s *survey) wants(c candidate, r tagRecord) bool {
	switch {
	case s.isAsked(c):
		return r.Outcome != outcomeSeen
	case r.Outcome != outcomeOld:
		return false
	case s.a.Backfill == BackfillLatest:
		return c.Name == s.newest
	}
	return s.a.Backfill == BackfillAll
}

// certain returns a tag with its commit, as it is now where that matters: a
// listing that is older than the record would show a tag that was put right as moved.
func (s *survey) certain(ctx context.Context, c candidate, r tagRecord) (candidate, error) {
	if c.Commit != "" && r.At.Before(s.began.Add(-skew)) {
		return c, nil
	}
	now, err := s.a.Host.Find(ctx, s.repo.repo(), c.Name)
	if unfit := new(UnfitError); errors.As(err, &unfit) {
		c.Commit, c.unfit = c.Object, unfit.Reason
		return c, nil
	}
	if err != nil {
		return candidate{}, fmt.Errorf("look up the tag: %w", err)
	}
	c.Tag = now
	return c, nil
}

// commitOf returns the commit that a record is about, also where the baseline
// has the tag object alone; that, if the host does not have it any more.
func (s *survey) commitOf(ctx context.Context, r tagRecord) (string, error) {
	peeler, can := s.a.Host.(Peeler)
	if !can || r.Outcome != outcomeOld || r.Object == "" || r.Object != r.Commit {
		return r.Commit, nil
	}
	commit, err := peeler.Peel(ctx, s.repo.repo(), r.Object)
	if unfit := new(UnfitError); errors.Is(err, ErrNoTag) || errors.As(err, &unfit) {
		return r.Commit, nil
	}
	if err != nil {
		return "", fmt.Errorf("look up what the tag was: %w", err)
	}
	return commit, nil
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
	if err := nameable(c); err != nil {
		return s.refuse(ctx, c, err.Error())
	}
	subject := events.KindTagSeen.Subject(s.a.Name, c.version)
	switch before, err := s.w.Record.Last(ctx, subject); {
	case err == nil:
		return s.recognise(ctx, c, before.Fact)
	case !errors.Is(err, events.ErrNotRecorded):
		return err
	}
	if reason := s.moves.suspicion(c.Commit); reason != "" && !s.isAsked(c) {
		return s.refuse(ctx, c, reason+"; this new tag is on it too, so it is not released. Ask for the version by its name to release it all the same")
	}
	if c.unfit != "" {
		return s.refuse(ctx, c, c.unfit)
	}
	fact, err := s.fetch(ctx, c)
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
	s.w.logger(s.a).Info("new version", zap.String("version", c.version), zap.String("tag", c.Name), zap.String("commit", c.Commit))
	return s.seen(ctx, c, fact)
}

// nameable says why no fact can be about a tag: facts are JSON, and a tag's name
// is bytes.
func nameable(c candidate) error {
	if err := events.CheckVersion(c.version); err != nil {
		return fmt.Errorf("the version %w", err)
	}
	if !utf8.ValidString(c.Name) {
		return errors.New("the tag's name is not valid UTF-8")
	}
	return nil
}

// fetch verifies a tag where that is wanted, and stages its source.
func (s *survey) fetch(ctx context.Context, c candidate) (*events.TagSeen, error) {
	select {
	case s.a.host.fetching <- struct{}{}:
		defer func() { <-s.a.host.fetching }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s.a.RequireSigned {
		verifier, ok := s.a.Host.(Verifier)
		if !ok {
			return nil, &UnfitError{Reason: "the app requires signed tags, and " + s.a.Host.Name() + " cannot check signatures"}
		}
		if err := verifier.Verify(ctx, s.repo.repo(), c.Tag); err != nil {
			return nil, fmt.Errorf("check the signature: %w", err)
		}
	}
	return s.prepare(ctx, c)
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
		return s.move(ctx, c, tagRecord{Outcome: outcomeSeen, Version: c.version, Commit: fact.Commit, Object: fact.Object, Cause: fact.Cause})
	}
	s.claim(c, fact.Cause)
	return s.seen(ctx, c, fact)
}

func (s *survey) seen(ctx context.Context, c candidate, fact *events.TagSeen) error {
	return s.put(ctx, c.Name, tagRecord{Outcome: outcomeSeen, Version: c.version, Commit: fact.Commit, Object: fact.Object, Cause: fact.Cause})
}

// refuse states once that a commit cannot be a version, whatever the number of
// looks. Where a request is about it, its answer is that statement.
func (s *survey) refuse(ctx context.Context, c candidate, reason string) error {
	fact := s.refusal(c, shortened(reason))
	record := tagRecord{Outcome: outcomeRefused, Version: c.version, Commit: c.Commit, Object: c.Object}
	if s.isAsked(c) {
		s.found.refused = fact
		return s.put(ctx, c.Name, record)
	}
	if nameable(c) != nil {
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
		s.w.logger(s.a).Info("the tag cannot be a version", zap.String("tag", c.Name), zap.String("commit", c.Commit), zap.String("reason", reason))
	}
	return s.put(ctx, c.Name, record)
}

// refusal says why a tag is no version.
func (s *survey) refusal(c candidate, reason string) *events.TagRefused {
	return &events.TagRefused{App: s.a.Name, Version: c.version, Tag: c.Name, Commit: c.Commit, Repo: s.where, RepoID: s.repo.ID, Reason: reason}
}

// shortened bounds a reason, for a file can have more mistakes than a message has room for.
func shortened(reason string) string {
	const most = 16 << 10
	if len(reason) <= most {
		return reason
	}
	return strings.ToValidUTF8(reason[:most], "") + " … and more"
}

// put writes the record of a tag. What was stated of it before stays known.
func (s *survey) put(ctx context.Context, tag string, r tagRecord) error {
	if before, known := s.recordOf(tag); known {
		r.Deleted = max(r.Deleted, before.Deleted)
		for _, commit := range before.Moved {
			if !slices.Contains(r.Moved, commit) {
				r.Moved = append(r.Moved, commit)
			}
		}
	}
	r.At = time.Now().UTC().Truncate(time.Millisecond)
	return s.w.putTag(ctx, tagKey(s.a, s.repo.Origin, tag), r)
}
