package git

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

var (
	idA = strings.Repeat("a", 40)
	idB = strings.Repeat("b", 40)
)

func parseListing(text string) ([]watch.Tag, error) {
	l := newListing()
	if err := l.read(strings.NewReader(text)); err != nil {
		return nil, err
	}
	return l.tags()
}

func TestListing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		want []watch.Tag
	}{
		"nothing":             {"", nil},
		"lightweight":         {idA + "\trefs/tags/v1\n", []watch.Tag{{Name: "v1", Object: idA, Commit: idA}}},
		"annotated":           {idA + "\trefs/tags/v1\n" + idB + "\trefs/tags/v1^{}\n", []watch.Tag{{Name: "v1", Object: idA, Commit: idB}}},
		"peeled first":        {idB + "\trefs/tags/v1^{}\n" + idA + "\trefs/tags/v1\n", []watch.Tag{{Name: "v1", Object: idA, Commit: idB}}},
		"other references":    {idA + "\tHEAD\n" + idA + "\trefs/heads/main\n" + idB + "\trefs/tags/v1\n", []watch.Tag{{Name: "v1", Object: idB, Commit: idB}}},
		"a tab in the name":   {idA + "\trefs/tags/a\tb\n", []watch.Tag{{Name: "a\tb", Object: idA, Commit: idA}}},
		"no line feed at end": {idA + "\trefs/tags/v1", []watch.Tag{{Name: "v1", Object: idA, Commit: idA}}},
	} {
		got, err := parseListing(test.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, text := range map[string]string{
		"no tab":           idA + " refs/tags/v1\n",
		"short id":         "abc\trefs/tags/v1\n",
		"upper case":       strings.ToUpper(idA) + "\trefs/tags/v1\n",
		"an error page":    "<html>\n",
		"twice, different": idA + "\trefs/tags/v1\n" + idB + "\trefs/tags/v1\n",
		"peeled alone":     idA + "\trefs/tags/v1^{}\n",
		"endless line":     idA + "\trefs/tags/" + strings.Repeat("x", 1<<20),
	} {
		if got, err := parseListing(text); err == nil {
			t.Errorf("%s: accepted as %v", name, got)
		}
	}
}

func FuzzListing(f *testing.F) {
	f.Add(idA + "\trefs/tags/v1\n" + idB + "\trefs/tags/v1^{}\n")
	f.Add("")
	f.Add(idA + "\trefs/tags/\xff\n")
	f.Fuzz(func(t *testing.T, text string) {
		tags, err := parseListing(text)
		if err != nil {
			return
		}
		names := map[string]bool{}
		for _, tag := range tags {
			if tag.Name == "" || names[tag.Name] || !objectID(tag.Commit) || strings.HasSuffix(tag.Name, peeled) {
				t.Errorf("%q gives %v", text, tags)
			}
			names[tag.Name] = true
		}
	})
}
