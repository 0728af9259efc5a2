package github

import (
	"slices"
	"testing"
)

func TestSortVersions(t *testing.T) {
	t.Parallel()
	want := []string{
		"v1.9.1", "v1.10.0", "v2.0.0.beta", "v2.0.0.rc", "v2.0.0", "v2.0.0.1",
		"weekly.2012-03-27", "1.9", "1.10", "20240102030405060708090",
	}
	got := slices.Clone(want)
	slices.Sort(got)
	sortVersions(got)
	if !slices.Equal(got, want) {
		t.Errorf("ascending: %q, want %q", got, want)
	}
}
