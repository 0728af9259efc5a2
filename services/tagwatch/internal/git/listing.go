package git

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// maxListing is how many bytes a listing may have: a million tags and more.
const maxListing = 128 << 20

// maxReference is how long a reference's line may be.
const maxReference = 64 << 10

// listing reads what git ls-remote --tags prints: an object id, a tab and a
// reference on each line. An annotated tag has a second line, whose reference
// ends in ^{}, with the object it stands for after all.
type listing struct {
	lines []watch.Tag
}

func (l *listing) read(output io.Reader) error {
	limited := &io.LimitedReader{R: output, N: maxListing}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxReference)
	for lines.Scan() {
		tag, err := parseReference(lines.Text())
		if err != nil {
			return err
		}
		if tag.Name != "" {
			l.lines = append(l.lines, tag)
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
	return watch.Tag{Name: name, Commit: id}, nil
}

const peeled = "^{}"

// tags puts the lines together, whatever their order.
func (l *listing) tags() ([]watch.Tag, error) {
	at := make(map[string]int, len(l.lines))
	var tags []watch.Tag
	for _, line := range l.lines {
		if strings.HasSuffix(line.Name, peeled) {
			continue
		}
		if i, twice := at[line.Name]; twice {
			if tags[i].Commit != line.Commit {
				return nil, fmt.Errorf("read the list of tags: %q is there twice", line.Name)
			}
			continue
		}
		at[line.Name] = len(tags)
		tags = append(tags, line)
	}
	for _, line := range l.lines {
		name, isPeeled := strings.CutSuffix(line.Name, peeled)
		if !isPeeled {
			continue
		}
		i, known := at[name]
		if !known {
			return nil, fmt.Errorf("read the list of tags: %q is peeled, but is not there", name)
		}
		tags[i].Commit = line.Commit
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
