package watch

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/tagship/tagship/events"
)

const (
	// maxRecipe is how long a recipe may be, in bytes.
	maxRecipe = 128 << 10
	// maxFact is how long a tag.seen may be, in bytes: its stream takes 512 KiB,
	// and a few aliases make a long recipe of a short file.
	maxFact = 384 << 10
)

// prepare fetches the source of a tag, reads the recipe in it, and stages it. The
// error is an [*UnfitError] if the commit can never be a version.
func (s *survey) prepare(ctx context.Context, c candidate) (fact *events.TagSeen, err error) {
	archive, err := s.a.Repository.Archive(ctx, c.Tag)
	if err != nil {
		return nil, fmt.Errorf("fetch commit %s: %w", c.Commit, err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	text, err := findRecipe(archive)
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
		Repo:    s.a.Repository.Where(),
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

// findRecipe returns the text of the recipe in an archive.
func findRecipe(archive io.Reader) ([]byte, error) {
	zip, err := gzip.NewReader(archive)
	if err != nil {
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	files := tar.NewReader(zip)
	for {
		file, err := files.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, &UnfitError{Reason: "there is no " + events.RecipeFile + " at the root of the repository at this commit; add one and push a new tag"}
		case err != nil:
			return nil, fmt.Errorf("read the archive: %w", err)
		case path.Clean(file.Name) != events.RecipeFile:
			continue
		case file.Typeflag != tar.TypeReg:
			return nil, &UnfitError{Reason: events.RecipeFile + " is no regular file; write the recipe into it"}
		case file.Size > maxRecipe:
			return nil, &UnfitError{Reason: fmt.Sprintf("%s is %d bytes long, expected at most %d", events.RecipeFile, file.Size, maxRecipe)}
		}
		text, err := io.ReadAll(files)
		if err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
		return text, nil
	}
}
