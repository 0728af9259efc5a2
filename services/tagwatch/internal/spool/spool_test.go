package spool

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

func TestPack(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "spool")
	for range 2 { // the second time over what the first left
		if err := Clear(folder); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
			t.Fatalf("%d files are left, %v", len(left), err)
		}
		if err := os.WriteFile(filepath.Join(folder, "archive-1"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Clear(folder); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	digests := map[string]bool{}
	for _, test := range []struct {
		most int64
		fail error
		want error
	}{
		{1 << 20, nil, nil}, {100, nil, nil}, {10, nil, new(watch.UnfitError)}, {1 << 20, broken, broken},
	} {
		a, err := Pack(folder, test.most, func(tar io.Writer) error {
			_, err := io.WriteString(tar, strings.Repeat("x", 5000))
			return errors.Join(err, test.fail)
		})
		if unfit := new(watch.UnfitError); test.want != nil {
			if !errors.Is(err, broken) && !errors.As(err, &unfit) || errors.Is(err, broken) != (test.fail != nil) {
				t.Errorf("most %d: got %v, expected %T", test.most, err, test.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(a)
		if err != nil || int64(len(content)) != a.Size {
			t.Errorf("%d bytes can be read, %v; expected %d", len(content), err, a.Size)
		}
		digests[a.Digest] = true
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(digests) != 1 {
		t.Errorf("one tar has the digests %v", digests)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}
