package watch

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// maxBaseline keeps a baseline below the 1 MiB that NATS takes as one message by
// default. A tag takes about 25 bytes of it.
const maxBaseline = 1_000_000

// maxListing bounds what a baseline may expand to.
const maxListing = 256 << 20

// baseline is what a repository's tags were when the app was first looked at.
type baseline struct {
	at   time.Time
	tags map[string]entry // by name
}

// entry is what a tag of the baseline named.
type entry struct {
	id string
	// isObject says that the id is of the tag object, since the listing did not
	// tell the commit. Looking up each would cost too much on a first look.
	isObject bool
}

// baseline returns the app's baseline and records it if there is none. It is one
// value, created in one write that fails if another watcher was faster.
func (w *Watcher) baseline(ctx context.Context, a *watched, origin string, listing []candidate) (baseline, error) {
	b, err := w.readBaseline(ctx, a, origin)
	if err == nil || !errors.Is(err, events.ErrNotRecorded) {
		return b, err
	}
	b = baseline{at: time.Now().UTC().Truncate(time.Second), tags: make(map[string]entry, len(listing))}
	for _, c := range listing {
		b.tags[c.Name] = entryOf(c.Tag)
	}
	zip := w.zips.Get().(*gzip.Writer)
	value, err := b.encode(zip, listing)
	w.zips.Put(zip)
	if err != nil {
		return baseline{}, fmt.Errorf("record baseline: %w", err)
	}
	err = w.Table.Create(ctx, baselineKey(a, origin), value)
	switch {
	case errors.Is(err, events.ErrConflict):
		return w.readBaseline(ctx, a, origin)
	case err != nil:
		return baseline{}, fmt.Errorf("record baseline: %w", err)
	}
	w.announce(a, listing)
	return b, nil
}

// readBaseline reads the app's baseline. The error wraps [events.ErrNotRecorded] if there is none.
func (w *Watcher) readBaseline(ctx context.Context, a *watched, origin string) (baseline, error) {
	value, _, err := w.Table.Get(ctx, baselineKey(a, origin))
	if err != nil {
		return baseline{}, fmt.Errorf("read baseline: %w", err)
	}
	return decodeBaseline(value)
}

func entryOf(tag Tag) entry {
	if tag.Commit == "" {
		return entry{tag.Object, true}
	}
	return entry{tag.Commit, false}
}

// newest is the tag of the newest version in the baseline; empty if there is none.
func (b baseline) newest(choice Choice) string {
	tags := make([]Tag, 0, len(b.tags))
	for name := range b.tags {
		tags = append(tags, Tag{Name: name})
	}
	versions := choice.candidates(tags)
	if len(versions) == 0 {
		return ""
	}
	return versions[len(versions)-1].Name
}

func (w *Watcher) announce(a *watched, listing []candidate) {
	log := w.logger(a)
	if a.Backfill == BackfillLatest || a.Backfill == BackfillAll || len(listing) == 0 {
		log.Info("first look: watching from now on", zap.Stringer("tags", a.Choice), zap.Int("there_before", len(listing)), zap.String("backfill", string(a.Backfill)))
		return
	}
	newest := listing[len(listing)-1].version
	log.Info("first look: the tags that are there already are not released; ask for one to release it",
		zap.Stringer("tags", a.Choice), zap.Int("there_before", len(listing)), zap.String("newest", newest),
		zap.String("ask", fmt.Sprintf("nats pub %s '%s@%s'", events.TagRequested.Subject(a.Name), a.Name, newest)))
}

// objectWord stands before the id of a tag object.
const objectWord = "object "

// encode writes the baseline as text, like a listing of git: the time on the
// first line, then commit, tab and tag. Where the commit is not known, the word
// object and the id of the tag object stand in its place. JSON would not do: a
// tag's name is bytes, not always UTF-8.
func (b baseline) encode(zip *gzip.Writer, listing []candidate) ([]byte, error) {
	var out bytes.Buffer
	zip.Reset(&out)
	fmt.Fprintf(zip, "%s\n", b.at.Format(time.RFC3339))
	for _, c := range listing {
		e := entryOf(c.Tag)
		if e.isObject {
			e.id = objectWord + e.id
		}
		fmt.Fprintf(zip, "%s\t%s\n", e.id, c.Name)
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	if out.Len() > maxBaseline {
		return nil, fmt.Errorf("%d tags are more than a baseline can hold, narrow the app's tags or versions", len(listing))
	}
	return out.Bytes(), nil
}

func decodeBaseline(value []byte) (baseline, error) {
	zip, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return baseline{}, fmt.Errorf("decode baseline: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(zip, maxListing))
	if err != nil {
		return baseline{}, fmt.Errorf("decode baseline: %w", err)
	}
	head, rest, _ := strings.Cut(string(text), "\n")
	at, err := time.Parse(time.RFC3339, head)
	if err != nil {
		return baseline{}, fmt.Errorf("decode baseline: %w", err)
	}
	b := baseline{at: at, tags: map[string]entry{}}
	for line := range strings.Lines(rest) {
		id, tag, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			return baseline{}, fmt.Errorf("decode baseline: %q is not a commit and a tag", line)
		}
		id, isObject := strings.CutPrefix(id, objectWord)
		b.tags[tag] = entry{id, isObject}
	}
	return b, nil
}
