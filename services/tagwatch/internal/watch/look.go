package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tagship/tagship/events"
)

// ask is what a request or a hook adds to a look; zero for a look that nobody asked for.
type ask struct {
	version string        // the one version asked for; empty if none is
	origin  *events.Cause // the request; nil if it was none
	by      string        // who is said to have changed the one tag looked at; empty if nobody is
}

// findings is what a look has found.
type findings struct {
	versions []string           // seen for the first time, oldest first
	refused  *events.TagRefused // why the version asked for is none; nil if it is one
}

// reading is what a host said of a repository when it was asked for its tags.
type reading struct {
	listing Listing
	err     error
	began   time.Time // when it was asked
}

// look asks for the tags of an app's repository and compares them with the
// record. Looks at one app take turns.
func (w *Watcher) look(ctx context.Context, a *watched, asked ask) (findings, error) {
	if err := w.recall(ctx, a); err != nil {
		return findings{}, err
	}
	one := Ask{Repo: a.repo()}
	if asked.origin == nil {
		one.Mark = a.mark()
	}
	heard := reading{began: time.Now(), err: errNoAnswer}
	a.Host.List(ctx, []Ask{one}, func(_ int, listing Listing, err error) { heard.listing, heard.err = listing, err })
	return w.receive(ctx, a, asked, heard)
}

// enter waits for the app's turn; leave ends it.
func (a *watched) enter(ctx context.Context) error {
	select {
	case a.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (a *watched) leave() { <-a.turn }

// pass takes in a listing at which there is nothing to do, as almost all are,
// and tells whether it is one.
func (a *watched) pass(listing Listing) bool {
	status, known := a.status.Load(), a.known.Load()
	if !listing.Unchanged || status == nil || status.Error != "" || known == nil {
		return false
	}
	if now, err := a.identified(*known, listing.Repo); err != nil || now != *known {
		return false
	}
	select {
	case a.turn <- struct{}{}:
	default:
		return false
	}
	defer a.leave()
	a.missing = nil
	return true
}

// receive compares what a host said with the record, and states what is new.
func (w *Watcher) receive(ctx context.Context, a *watched, asked ask, heard reading) (found findings, err error) {
	if err := a.enter(ctx); err != nil {
		return findings{}, err
	}
	defer a.leave()
	var since time.Time
	defer func() { w.report(ctx, a, since, err) }()

	if err := w.check(a, heard.err); err != nil {
		return findings{}, err
	}
	repo, err := w.identify(ctx, a, heard.listing.Repo)
	a.byName.Store(false)
	if stranger := new(strangerError); errors.As(err, &stranger) {
		a.reused = stranger.reason
	}
	if err != nil {
		return findings{}, err
	}
	a.reused = ""
	s := &survey{w: w, a: a, asked: asked, repo: repo, where: a.where(), began: heard.began}
	since, err = s.settleListing(ctx, heard.listing)
	if err == nil && !heard.listing.Unchanged { // a host need not look at every tag to say so
		a.looked.Store(&heard.began)
	}
	return s.found, err
}

// check says what came of asking. A host that no longer knows an ID is asked for
// the name the next time, and the other way round: what is behind the name then
// may be why.
func (w *Watcher) check(a *watched, err error) error {
	if err != nil {
		err = fmt.Errorf("list the tags of %s: %w", a.where(), err)
	}
	var gone *GoneError
	if !errors.As(err, &gone) {
		a.gone = nil
		return err
	}
	byName := a.byName.Load()
	a.byName.Store(!byName)
	if a.reused != "" {
		return errors.New(a.reused)
	}
	// The host words it by what it was asked for, which is no news.
	if a.gone == nil || a.goneByName == byName {
		a.gone, a.goneByName = err, byName
	}
	return a.gone
}

// settleListing settles every tag of a listing, and returns when the app's
// baseline is of; zero if it did not come to that.
func (s *survey) settleListing(ctx context.Context, listing Listing) (since time.Time, err error) {
	if listing.Unchanged {
		s.a.missing = nil
		return time.Time{}, nil
	}
	candidates := s.a.Choice.candidates(listing.Tags)
	s.a.note = noteOn(listing.Tags, candidates)
	settled := s.repo
	settled.Settled, settled.Mark, settled.For = fingerprintOf(candidates), listing.Mark, s.a.treatment(s.repo.Origin)
	if s.asked.origin == nil && s.repo.Settled == settled.Settled && s.repo.For == settled.For {
		s.a.missing = nil
		return time.Time{}, s.settled(ctx, settled)
	}
	if err := s.load(ctx, candidates); err != nil {
		return time.Time{}, err
	}
	if s.asked.version != "" {
		s.found.refused = s.noVersion(listing.Tags, candidates)
	}
	complete, err := s.settleAll(ctx, candidates)
	if err == nil && complete {
		err = s.settled(ctx, settled)
	}
	return s.baseline.at, err
}

// noteOn says that an app's choice of tags matches none of those there are.
func noteOn(tags []Tag, candidates []candidate) *string {
	note := ""
	switch {
	case len(candidates) > 0 || len(tags) == 0:
	case len(tags) == 1:
		note = fmt.Sprintf("its only tag, %s, is no version", strings.ToValidUTF8(tags[0].Name, "?"))
	default:
		note = fmt.Sprintf("none of its %d tags is a version", len(tags))
	}
	return &note
}

// settled records that every tag of a listing is on record, so that the same
// listing is not worked on again, by whatever replica.
func (s *survey) settled(ctx context.Context, r repoRecord) error {
	if r == s.repo {
		return nil
	}
	return s.w.remember(ctx, s.a, r)
}

// noVersion says why there is no version as asked for; nil if there is one.
func (s *survey) noVersion(tags []Tag, candidates []candidate) *events.TagRefused {
	a, version := s.a, s.asked.version
	for _, c := range candidates {
		if c.version == version {
			return nil
		}
	}
	refused := &events.TagRefused{App: a.Name, Version: version, Reason: fmt.Sprintf("%s has no %s; push the tag first", s.where, a.Choice.tagOf(version))}
	for _, tag := range tags {
		if tag.Name == version || tag.Name == a.Choice.strip+version {
			refused.Reason = fmt.Sprintf("%s has the tag %s, but it is no version of %s, whose tags are %s", s.where, tag.Name, a.Name, a.Choice)
		}
	}
	return refused
}
