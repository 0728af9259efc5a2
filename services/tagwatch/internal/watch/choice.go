package watch

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// What a [Choice] makes of pre-releases.
const (
	PrereleasesAuto   = "auto"   // they count where no constraint is, or the constraint names one
	PrereleasesAlways = "always" // they count as far as the constraint goes
	PrereleasesNever  = "never"  // they never count
)

// ChoiceOptions say which tags are versions of an app.
type ChoiceOptions struct {
	// Tags is a pattern as [path.Match] has it, in which * stands for anything but
	// "/", or a regular expression (https://github.com/google/re2/wiki/Syntax)
	// between slashes. Either must match the whole tag.
	Tags string
	// Versions is a constraint on versions, such as ">=1.2, <3"; empty for none.
	Versions string
	// Prereleases is one of [PrereleasesAuto], which empty stands for,
	// [PrereleasesAlways] and [PrereleasesNever].
	Prereleases string
}

// maxExpression bounds a regular expression, in bytes: every tag of every
// listing goes through it.
const maxExpression = 500

// Choice says which tags are versions of an app, and what the versions are called.
type Choice struct {
	options    ChoiceOptions
	expression *regexp.Regexp      // nil if the pattern is none
	group      int                 // of the version in the expression; 0 if it has none
	strip      string              // what a tag has before its version
	constraint *semver.Constraints // nil if any version will do
}

// NewChoice reads what the options say.
//
// The version is the tag without what the pattern spells out up to its last "/"
// or "@": with the pattern web/v* the tag web/v1.2.3 is version v1.2.3, and with
// @acme/web@* the tag @acme/web@1.2.3 is version 1.2.3. A regular expression may
// name it instead: with /web-(?P<version>.+)/ the tag web-1.2.3 is version 1.2.3.
//
// With a constraint a version must be a semantic one (https://semver.org, a
// leading v and missing zeros allowed).
func NewChoice(o ChoiceOptions) (Choice, error) {
	c := Choice{options: o}
	if err := c.readTags(o.Tags); err != nil {
		return Choice{}, err
	}
	switch o.Prereleases {
	case "", PrereleasesAuto:
		c.options.Prereleases = PrereleasesAuto
	case PrereleasesAlways, PrereleasesNever:
	default:
		return Choice{}, fmt.Errorf("%q is no way to treat pre-releases, expected %s, %s or %s", o.Prereleases, PrereleasesAuto, PrereleasesAlways, PrereleasesNever)
	}
	if o.Versions == "" {
		return c, nil
	}
	constraint, err := semver.NewConstraint(o.Versions)
	if err != nil {
		return Choice{}, fmt.Errorf("%q is not a constraint on versions, expected one such as >=1.2 or ^2: %w", o.Versions, err)
	}
	constraint.IncludePrerelease = o.Prereleases == PrereleasesAlways
	c.constraint = constraint
	return c, nil
}

func (c *Choice) readTags(pattern string) error {
	literal := pattern
	if strings.HasPrefix(pattern, "/") { // no tag does
		prefix, err := c.readExpression(pattern)
		if err != nil {
			return fmt.Errorf("%q is not a regular expression for tags, expected one such as /^web-(?P<version>v.+)$/: %w", pattern, err)
		}
		literal = prefix
	} else if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
		return fmt.Errorf("%q is not a pattern for tags, expected one such as v* or web/v*, or a regular expression between slashes", pattern)
	} else if wild := strings.IndexAny(pattern, `*?[\`); wild >= 0 {
		literal = pattern[:wild]
	}
	if c.group == 0 {
		c.strip = literal[:strings.LastIndexAny(literal, "/@")+1]
	}
	return nil
}

// readExpression returns what every tag that matches begins with.
func (c *Choice) readExpression(pattern string) (prefix string, err error) {
	if len(pattern) > maxExpression {
		return "", fmt.Errorf("it has %d bytes, expected at most %d", len(pattern), maxExpression)
	}
	text, closed := strings.CutSuffix(pattern[1:], "/")
	if !closed || text == "" {
		return "", errors.New("it does not stand between slashes")
	}
	alone, err := regexp.Compile(text)
	if err != nil {
		return "", err
	}
	if c.expression, err = regexp.Compile(`\A(?:` + text + `)\z`); err != nil {
		return "", err
	}
	for i, name := range c.expression.SubexpNames() {
		if name == "version" && c.group != 0 {
			return "", errors.New("it has two groups called version")
		} else if name == "version" {
			c.group = i
		}
	}
	if left, err := regexp.Compile(strings.TrimPrefix(text, "^")); err == nil {
		alone = left // an anchor hides the prefix from regexp
	}
	prefix, _ = alone.LiteralPrefix()
	return prefix, nil
}

// String is the choice for people.
func (c Choice) String() string {
	text := c.options.Tags
	if c.options.Versions != "" {
		text += " " + c.options.Versions
	}
	if c.options.Prereleases != PrereleasesAuto {
		text += ", pre-releases " + c.options.Prereleases
	}
	return text
}

// identity tells choices apart: a baseline is of one choice. It is the same in
// every release that takes the same tags for versions, or what is old would be
// new to the next.
func (c Choice) identity() string {
	id := c.options.Tags + "\n" + c.options.Versions
	if strings.HasSuffix(c.strip, "@") && c.constraint != nil {
		// What stands before an @ was part of the version once, which then was not
		// a semantic one: the baselines of that time are without any tag.
		id += "\n@"
	}
	if c.options.Prereleases != PrereleasesAuto {
		id += "\n" + c.options.Prereleases
	}
	return id
}

// Version is what the app calls a tag, and whether the tag is one of its versions.
func (c Choice) Version(tag string) (string, bool) {
	version, _, ok := c.read(tag)
	return version, ok
}

// tagOf tells a person what tag a version is of.
func (c Choice) tagOf(version string) string {
	if c.group != 0 {
		return fmt.Sprintf("tag that is version %s by %s", version, c.options.Tags)
	}
	return "tag " + c.strip + version
}

func (c Choice) read(tag string) (version string, parsed *semver.Version, ok bool) {
	if version, ok = c.match(tag); !ok {
		return "", nil, false
	}
	parsed, err := semver.NewVersion(version)
	switch {
	case err != nil:
		return version, nil, c.constraint == nil
	case c.options.Prereleases == PrereleasesNever && parsed.Prerelease() != "":
		return version, parsed, false
	}
	return version, parsed, c.constraint == nil || c.constraint.Check(parsed)
}

// match returns the part of a tag that is the version, if the pattern matches.
func (c Choice) match(tag string) (version string, ok bool) {
	if c.expression == nil {
		matched, err := path.Match(c.options.Tags, tag)
		version = strings.TrimPrefix(tag, c.strip)
		return version, err == nil && matched && version != ""
	}
	found := c.expression.FindStringSubmatch(tag)
	if found == nil {
		return "", false
	}
	version = strings.TrimPrefix(found[c.group], c.strip) // group 0 is the whole tag
	return version, version != ""
}

// candidate is a tag that is a version of the app.
type candidate struct {
	Tag
	version string
	parsed  *semver.Version // nil if the version is no semantic one
	unfit   string          // why it leads to no commit; empty if it does, or that is not known
}

// candidates picks the app's versions, oldest first.
func (c Choice) candidates(tags []Tag) []candidate {
	var picked []candidate
	for _, tag := range tags {
		if version, parsed, ok := c.read(tag.Name); ok {
			picked = append(picked, candidate{Tag: tag, version: version, parsed: parsed})
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

// fingerprintOf tells two listings apart.
func fingerprintOf(candidates []candidate) string {
	h := sha256.New()
	for _, c := range candidates {
		// No part can hold a line feed: git forbids it in the names of references.
		fmt.Fprintf(h, "%s\n%s\n%s\n", c.Object, c.Commit, c.Name)
	}
	return hex.EncodeToString(h.Sum(nil))
}
