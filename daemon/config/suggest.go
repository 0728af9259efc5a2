package config

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// suggest says which of known was probably meant by word, or which there are.
func suggest(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return `did you mean "` + near + `"?`
	}
	if len(known) == 0 {
		return "nothing is expected here"
	}
	sorted := slices.Sorted(slices.Values(known))
	return "expected one of " + strings.Join(sorted, ", ")
}

// nearest finds the known word that at most a third of word's characters away, or that differs in nothing but case
// and separators; "" where there is none.
func nearest(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	best, bestDistance := "", max(1, utf8.RuneCountInString(word)/3)+1
	for _, k := range known {
		if d := distance(squash(word), squash(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

func squash(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
}

// distance counts the insertions, deletions, substitutions and swaps of neighbours that make a into b.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	rows := make([][]int, len(s)+1)
	for i := range rows {
		rows[i] = make([]int, len(t)+1)
		rows[i][0] = i
	}
	for j := range t {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(s); i++ {
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(s)][len(t)]
}
