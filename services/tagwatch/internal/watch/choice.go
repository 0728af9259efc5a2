package watch

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Choice says which tags are versions of an app, and what the versions are called.
type Choice struct {
	pattern    string
	strip      string // what a tag has before its version
	versions   string
	constraint *semver.Constraints // nil if any version will do
}

// NewChoice reads a pattern for tags as [path.Match] has it, in which * stands
// for anything but "/", and a constraint on versions, which may be empty.
//
// The version is the tag without the folders that the pattern spells out: with
// the pattern web/v* the tag web/v1.2.3 is version v1.2.3. With a constraint such
// as ">=1.2, <3" a version must be a semantic one (https://semver.org, a leading
// v and missing zeros allowed), and a pre-release only counts if the constraint
// names one.
func NewChoice(pattern, versions string) (Choice, error) {
	if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
		return Choice{}, fmt.Errorf("%q is not a pattern for tags, expected one such as v* or web/v*", pattern)
	}
	c := Choice{pattern: pattern, versions: versions}
	literal := pattern
	if wild := strings.IndexAny(pattern, `*?[\`); wild >= 0 {
		literal = pattern[:wild]
	}
	c.strip = literal[:strings.LastIndexByte(literal, '/')+1]
	if versions == "" {
		return c, nil
	}
	constraint, err := semver.NewConstraint(versions)
	if err != nil {
		return Choice{}, fmt.Errorf("%q is not a constraint on versions, expected one such as >=1.2 or ^2: %w", versions, err)
	}
	c.constraint = constraint
	return c, nil
}

// String is the choice for people.
func (c Choice) String() string {
	if c.versions == "" {
		return c.pattern
	}
	return c.pattern + " " + c.versions
}

// Version is what the app calls a tag, and whether the tag is one of its versions.
func (c Choice) Version(tag string) (string, bool) {
	version, _, ok := c.read(tag)
	return version, ok
}

func (c Choice) read(tag string) (version string, parsed *semver.Version, ok bool) {
	if matched, err := path.Match(c.pattern, tag); err != nil || !matched {
		return "", nil, false
	}
	version = strings.TrimPrefix(tag, c.strip)
	parsed, err := semver.NewVersion(version)
	if err != nil {
		return version, nil, c.constraint == nil
	}
	return version, parsed, c.constraint == nil || c.constraint.Check(parsed)
}

// candidate is a tag that is a version of the app.
type candidate struct {
	Tag
	version string
	parsed  *semver.Version // nil if the version is no semantic one
}

// candidates picks the app's versions, oldest first.
func (c Choice) candidates(tags []Tag) []candidate {
	var picked []candidate
	for _, tag := range tags {
		if version, parsed, ok := c.read(tag.Name); ok {
			picked = append(picked, candidate{tag, version, parsed})
		}
	}
	slices.SortFunc(picked, order)
	return picked
}

// order puts the versions that are not semantic ones first, by name. Comparing
// by name whenever one of two is not semantic would be no order at all:
// v1.9.0 < v1.10.0 < v1.5x < v1.9.0.
func order(a, b candidate) int {
	switch {
	case a.parsed == nil && b.parsed == nil:
		return cmp.Compare(a.Name, b.Name)
	case a.parsed == nil:
		return -1
	case b.parsed == nil:
		return 1
	}
	return cmp.Or(a.parsed.Compare(b.parsed), cmp.Compare(a.Name, b.Name))
}

// fingerprint tells two listings apart.
type fingerprint [sha256.Size]byte

func fingerprintOf(candidates []candidate) fingerprint {
	h := sha256.New()
	for _, c := range candidates {
		// Neither part can hold a line feed: git forbids it in the names of references.
		fmt.Fprintf(h, "%s\n%s\n", c.Commit, c.Name)
	}
	return fingerprint(h.Sum(nil))
}
