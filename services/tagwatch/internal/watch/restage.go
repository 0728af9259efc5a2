package watch

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// restage makes sure that the source of a version that was seen is staged: it is
// kept for a while only. It returns why the version cannot be had, given what
// the look that was asked for found; nil if it can.
func (w *Watcher) restage(ctx context.Context, a *watched, version string, refused *events.TagRefused) (*events.TagRefused, error) {
	last, err := w.Record.Last(ctx, events.KindTagSeen.Subject(a.Name, version))
	if errors.Is(err, events.ErrNotRecorded) {
		return refused, nil
	}
	if err != nil {
		return nil, err
	}
	seen, ok := last.Fact.(*events.TagSeen)
	if !ok {
		return nil, events.Permanent(fmt.Errorf("%s holds a %s", last.Fact.Subject(), last.Fact.Kind()))
	}
	if refused != nil && refused.Commit == "" {
		refused = nil // the tag is gone, but the version is what it was
	}
	staged, err := w.Sources.HasSource(ctx, seen.Source.Digest)
	if err != nil || staged {
		return refused, err
	}
	err = w.stageAgain(ctx, a, seen)
	if unfit := new(UnfitError); errors.As(err, &unfit) {
		return &events.TagRefused{App: a.Name, Version: version, Tag: seen.Tag, Commit: seen.Commit, Repo: seen.Repo, RepoID: seen.RepoID,
			Reason: "the source of the version is no longer kept, and cannot be had again: " + unfit.Reason}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stage the source of %s again: %w", version, err)
	}
	w.logger(a).Info("the source is staged again", zap.String("version", version), zap.String("commit", seen.Commit))
	return refused, nil
}

// stageAgain fetches the very source that a version was seen with.
func (w *Watcher) stageAgain(ctx context.Context, a *watched, seen *events.TagSeen) (err error) {
	repo := a.repo()
	if seen.RepoID != "" && repo.ID != "" && seen.RepoID != repo.ID {
		return &UnfitError{Reason: fmt.Sprintf("it was seen in the repository with the ID %s, %s, which is watched no more", seen.RepoID, seen.Repo)}
	}
	select {
	case a.host.fetching <- struct{}{}:
		defer func() { <-a.host.fetching }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	archive, err := a.Host.Archive(ctx, repo, Tag{Name: seen.Tag, Object: seen.Object, Commit: seen.Commit})
	if err != nil {
		return fmt.Errorf("fetch commit %s: %w", seen.Commit, err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	if archive.Digest != seen.Source.Digest {
		return &UnfitError{Reason: fmt.Sprintf("commit %s gives an archive with the digest %s now, and gave %s; push a new tag", seen.Commit, archive.Digest, seen.Source.Digest)}
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the archive again: %w", err)
	}
	return w.Sources.PutSource(ctx, archive.Digest, archive)
}
