package github

import (
	"slices"
	"testing"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

func TestMarksAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	first := firstMark{id: "12", total: 345, digest: "abc", read: time.Unix(1_700_000_000, 0)}
	if got, ok := parseFirstMark(first.String()); !ok || got != first {
		t.Errorf("%q is read as %v, %v", first, got, ok)
	}
	etag := etagMark{id: "12", credential: "app+12+acme", etag: `W/"a b"`}
	if got, ok := parseETagMark(etag.String()); !ok || got != etag {
		t.Errorf("%q is read as %v, %v", etag, got, ok)
	}
	for _, text := range []string{"", "first", "first 1 x d 5", "first 1 2 d x", "first 1 2 d 5 6", "etag 1 token ", "etag 1", "whole 1 2 d 5"} {
		if got, ok := parseFirstMark(text); ok {
			t.Errorf("%q is taken for %v", text, got)
		}
		if got, ok := parseETagMark(text); ok {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func TestWholeMark(t *testing.T) {
	t.Parallel()
	tags := []watch.Tag{{Name: "v1", Object: "a", Commit: "b"}, {Name: "v2", Object: "c", Commit: "c"}}
	reversed := slices.Clone(tags)
	slices.Reverse(reversed)
	mark := wholeMark("1", tags)
	if wholeMark("1", reversed) != mark {
		t.Error("the order of tags makes a difference")
	}
	for name, other := range map[string]string{
		"another repository": wholeMark("2", tags),
		"another object":     wholeMark("1", []watch.Tag{{Name: "v1", Object: "x", Commit: "b"}, tags[1]}),
		"another commit":     wholeMark("1", []watch.Tag{{Name: "v1", Object: "a", Commit: ""}, tags[1]}),
		"a tag less":         wholeMark("1", tags[:1]),
		"none":               wholeMark("1", nil),
	} {
		if other == mark {
			t.Errorf("%s makes no difference", name)
		}
	}
}

// Those that were read together come due spread over half the time.
func TestFirstMarksComeDueOneByOne(t *testing.T) {
	t.Parallel()
	read := time.Unix(1_700_000_000, 0)
	due := func(after time.Duration) (n int) {
		for i := range 1000 {
			m := firstMark{id: oid(i), total: 200, digest: "d", read: read}
			if m.due(read.Add(after)) {
				n++
			}
		}
		return n
	}
	for _, test := range []struct {
		after       time.Duration
		least, most int
	}{
		{0, 0, 0}, {relist / 2, 0, 0}, {relist * 5 / 8, 150, 350}, {relist * 3 / 4, 400, 600}, {relist, 1000, 1000},
		{-time.Hour, 1000, 1000}, // a clock that was put back
	} {
		if n := due(test.after); n < test.least || n > test.most {
			t.Errorf("%v later %d of 1000 are due, want %d to %d", test.after, n, test.least, test.most)
		}
	}
}
