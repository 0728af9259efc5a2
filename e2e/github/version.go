package github

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// versionPart is a run of digits or of letters.
var versionPart = regexp.MustCompile(`[0-9]+|[\pL]+`)

// compareVersions orders names as the lists of tags do, ascending: numbers by
// value, letters before numbers and before the end, so that v1.9 < v1.10 and
// v2.0.0-rc < v2.0.0. It knows no dates.
func compareVersions(a, b string) int {
	as, bs := versionPart.FindAllString(a, -1), versionPart.FindAllString(b, -1)
	for i := range max(len(as), len(bs)) {
		x, y := "0", "0" // the end counts as a zero
		if i < len(as) {
			x = as[i]
		}
		if i < len(bs) {
			y = bs[i]
		}
		nx, errX := strconv.Atoi(x)
		ny, errY := strconv.Atoi(y)
		c := 0
		switch {
		case errX == nil && errY == nil:
			c = cmp.Compare(nx, ny)
		case errX == nil:
			c = 1
		case errY == nil:
			c = -1
		default:
			c = strings.Compare(x, y)
		}
		if c != 0 {
			return c
		}
	}
	return strings.Compare(a, b)
}
