package git

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// maxListing is how many bytes a listing may have: a million tags and more.
const maxListing = 128 << 20

// maxReference is how long a reference's line may be.
const maxReference = 64 << 10

// listing reads what git ls-remote prints: an object id, a tab and a reference on
// each line. An annotated tag has a second line, as a rule the next one, whose
// reference ends in ^{}, with the object it stands for after all.
type listing struct {
	list []watch.Tag
	late []watch.Tag // peeled references that did not follow their tag
	sum  hash.Hash
}

func newListing() *listing { return &listing{sum: sha256.New()} }

func (l *listing) read(output io.Reader) error {
	limited := &io.LimitedReader{R: output, N: maxListing}
	lines := bufio.NewScanner(io.TeeReader(limited, l.sum))
	lines.Buffer(nil, maxReference)
	for lines.Scan() {
		tag, err := parseReference(lines.Text())
		if err != nil {
			return err
		}
		if tag.Name != "" {
			l.add(tag)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the list of tags: %w", err)
	}
	if limited.N == 0 {
		return fmt.Errorf("read the list of tags: it is longer than %d bytes", maxListing)
	}
	return nil
}

func (l *listing) add(tag watch.Tag) {
	name, isPeeled := strings.CutSuffix(tag.Name, peeled)
	last := len(l.list) - 1
	switch {
	case !isPeeled:
		l.list = append(l.list, tag)
	case last >= 0 && l.list[last].Name == name:
		l.list[last].Commit = tag.Commit
	default:
		l.late = append(l.late, watch.Tag{Name: name, Commit: tag.Commit})
	}
}

// mark stands for everything that was read.
func (l *listing) mark() string { return hex.EncodeToString(l.sum.Sum(nil)) }

// parseReference reads one line. The tag is empty for a reference that is none.
func parseReference(line string) (watch.Tag, error) {
	id, ref, ok := strings.Cut(line, "\t")
	if !ok || !objectID(id) {
		return watch.Tag{}, fmt.Errorf("read the list of tags: %.100q is not an object id, a tab and a reference", line)
	}
	name, isTag := strings.CutPrefix(ref, "refs/tags/")
	if !isTag || name == "" || name == peeled {
		return watch.Tag{}, nil
	}
	return watch.Tag{Name: name, Object: id, Commit: id}, nil
}

const peeled = "^{}"

// tags returns what was read, each tag once.
func (l *listing) tags() ([]watch.Tag, error) {
	slices.SortStableFunc(l.list, func(a, b watch.Tag) int { return cmp.Compare(a.Name, b.Name) })
	tags := l.list[:0]
	for _, tag := range l.list {
		last := len(tags) - 1
		if last < 0 || tags[last].Name != tag.Name {
			tags = append(tags, tag)
			continue
		}
		if tags[last].Object != tag.Object {
			return nil, fmt.Errorf("read the list of tags: %q is there twice", tag.Name)
		}
		if tag.Commit != tag.Object {
			tags[last] = tag // the one that was peeled
		}
	}
	for _, tag := range l.late {
		i, known := slices.BinarySearchFunc(tags, tag.Name, func(t watch.Tag, name string) int { return cmp.Compare(t.Name, name) })
		if !known {
			return nil, fmt.Errorf("read the list of tags: %q is peeled, but is not there", tag.Name)
		}
		tags[i].Commit = tag.Commit
	}
	return tags, nil
}

// objectID tells whether s is an object id: of SHA-1 or SHA-256.
func objectID(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
