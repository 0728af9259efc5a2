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
	at      time.Time
	commits map[string]string // by tag
}

// baseline returns the app's baseline and records it if there is none. It is one
// value, created in one write that fails if another watcher was faster.
func (w *Watcher) baseline(ctx context.Context, a *watched, listing []candidate) (baseline, error) {
	key := baselineKey(a)
	value, _, err := w.Table.Get(ctx, key)
	if err == nil {
		return decodeBaseline(value)
	}
	if !errors.Is(err, events.ErrNotRecorded) {
		return baseline{}, fmt.Errorf("read baseline: %w", err)
	}
	b := baseline{at: time.Now().UTC().Truncate(time.Second), commits: map[string]string{}}
	for _, c := range listing {
		b.commits[c.Name] = c.Commit
	}
	value, err = b.encode(listing)
	if err != nil {
		return baseline{}, fmt.Errorf("record baseline: %w", err)
	}
	err = w.Table.Create(ctx, key, value)
	switch {
	case errors.Is(err, events.ErrConflict):
		if value, _, err = w.Table.Get(ctx, key); err != nil {
			return baseline{}, fmt.Errorf("read baseline: %w", err)
		}
		return decodeBaseline(value)
	case err != nil:
		return baseline{}, fmt.Errorf("record baseline: %w", err)
	}
	w.announce(a, listing)
	return b, nil
}

func (w *Watcher) announce(a *watched, listing []candidate) {
	if a.Backfill || len(listing) == 0 {
		a.log.Info("first look: watching from now on", zap.Stringer("tags", a.Choice), zap.Int("there_before", len(listing)), zap.Bool("backfill", a.Backfill))
		return
	}
	newest := listing[len(listing)-1].version
	a.log.Info("first look: the tags that are there already are not released; ask for one to release it",
		zap.Stringer("tags", a.Choice), zap.Int("there_before", len(listing)), zap.String("newest", newest),
		zap.String("ask", fmt.Sprintf("nats pub %s '%s@%s'", events.TagRequested.Subject(a.Name), a.Name, newest)))
}

// encode writes the baseline as text, like a listing of git: the time on the
// first line, then commit, tab and tag. JSON would not do: a tag's name is bytes,
// not always UTF-8.
func (b baseline) encode(listing []candidate) ([]byte, error) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	fmt.Fprintf(zip, "%s\n", b.at.Format(time.RFC3339))
	for _, c := range listing {
		fmt.Fprintf(zip, "%s\t%s\n", c.Commit, c.Name)
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
	b := baseline{at: at, commits: map[string]string{}}
	for line := range strings.Lines(rest) {
		commit, tag, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			return baseline{}, fmt.Errorf("decode baseline: %q is not a commit and a tag", line)
		}
		b.commits[tag] = commit
	}
	return b, nil
}
