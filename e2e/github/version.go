package github

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// version is a name as lists of tags compare it.
type version struct {
	name  string
	parts []string // runs of digits, without leading zeros, and of letters
}

func parseVersion(name string) version {
	v := version{name: name}
	runes := []rune(name)
	for i := 0; i < len(runes); {
		is := unicode.IsLetter
		if isDigit(runes[i]) {
			is = isDigit
		} else if !is(runes[i]) {
			i++
			continue
		}
		end := i
		for end < len(runes) && is(runes[end]) {
			end++
		}
		part := string(runes[i:end])
		if isDigit(runes[i]) {
			part = cmp.Or(strings.TrimLeft(part, "0"), "0")
		}
		v.parts = append(v.parts, part)
		i = end
	}
	return v
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

// part is the i-th part; the end counts as a zero.
func (v version) part(i int) (text string, number bool) {
	if i >= len(v.parts) {
		return "0", true
	}
	return v.parts[i], isDigit(rune(v.parts[i][0]))
}

// compare orders ascending: numbers by value, letters before numbers and before
// the end, so that v1.9 < v1.10 and v2.0.0-rc < v2.0.0. It knows no dates.
func (v version) compare(w version) int {
	for i := range max(len(v.parts), len(w.parts)) {
		a, isNumber := v.part(i)
		b, isNumberToo := w.part(i)
		var c int
		switch {
		case isNumber && isNumberToo:
			c = cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
		case isNumber:
			c = 1
		case isNumberToo:
			c = -1
		default:
			c = strings.Compare(a, b)
		}
		if c != 0 {
			return c
		}
	}
	return strings.Compare(v.name, w.name)
}

// sortVersions orders names as the API lists them, ascending.
func sortVersions(names []string) {
	versions := make([]version, len(names))
	for i, name := range names {
		versions[i] = parseVersion(name)
	}
	slices.SortFunc(versions, version.compare)
	for i, v := range versions {
		names[i] = v.name
	}
}
