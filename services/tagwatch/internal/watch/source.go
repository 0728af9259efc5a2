package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tagship/tagship/events"
)

// maxFact is how long a tag.seen may be, in bytes: its stream takes 512 KiB, and
// a few aliases make a long recipe of a short file.
const maxFact = 384 << 10

// prepare fetches the source of a tag, reads the recipe in it, and stages it. The
// error is an [*UnfitError] if the commit can never be a version.
func (s *survey) prepare(ctx context.Context, c candidate) (fact *events.TagSeen, err error) {
	archive, err := s.a.Host.Archive(ctx, s.repo.repo(), c.Tag)
	if err != nil {
		return nil, fmt.Errorf("fetch commit %s: %w", c.Commit, err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	text, err := inspect(ctx, archive, sourceLimits{entries: maxEntries, bytes: MaxUnpacked})
	if err != nil {
		return nil, err
	}
	recipe, err := s.w.Recipes(s.a.Name+"@"+c.version+":"+events.RecipeFile, text)
	if err != nil {
		return nil, &UnfitError{Reason: err.Error()}
	}
	fact = &events.TagSeen{
		App:     s.a.Name,
		Version: c.version,
		Tag:     c.Name,
		Repo:    s.where,
		RepoID:  s.repo.ID,
		Object:  c.Object,
		Commit:  c.Commit,
		Source:  events.Source{Digest: archive.Digest, Size: archive.Size},
		Recipe:  recipe,
	}
	if err := checkLength(fact); err != nil {
		return nil, err
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the archive again: %w", err)
	}
	if err := s.w.Sources.PutSource(ctx, archive.Digest, archive); err != nil {
		return nil, fmt.Errorf("stage the source: %w", err)
	}
	return fact, nil
}

// checkLength refuses a recipe that no stream could hold.
func checkLength(fact *events.TagSeen) error {
	recipe, err := json.Marshal(fact.Recipe)
	if err != nil {
		return fmt.Errorf("encode the recipe: %w", err)
	}
	if len(recipe) > maxFact {
		return &UnfitError{Reason: fmt.Sprintf("%s is %d bytes long with its aliases written out, expected at most %d", events.RecipeFile, len(recipe), maxFact)}
	}
	return nil
}
