package folder_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/cdnpush/internal/folder"
	"github.com/tagship/tagship/services/cdnpush/internal/publish"
)

func open(t *testing.T, dir string) *folder.Folder {
	t.Helper()
	f, err := folder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func store(t *testing.T, dir string) *folder.Store {
	t.Helper()
	return open(t, dir).Store("http://dl.example.org/")
}

func create(t *testing.T, s *folder.Store, key, content string) {
	t.Helper()
	if err := s.Create(t.Context(), publish.Object{Key: key}, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// unfinished are the temporary files in a folder.
func unfinished(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, ".tagship"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestCreateOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := store(t, dir)
	if _, err := s.Stat(t.Context(), "beta/agent/v1/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before: %v", err)
	}
	create(t, s, "beta/agent/v1/a", "first")
	if err := s.Create(t.Context(), publish.Object{Key: "beta/agent/v1/a"}, strings.NewReader("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second: %v", err)
	}
	have, err := s.Stat(t.Context(), "beta/agent/v1/a")
	if want := (publish.Object{Key: "beta/agent/v1/a", Digest: digestOf("first"), Size: 5}); err != nil || have != want {
		t.Errorf("stat is %+v, %v, want %+v", have, err, want)
	}
	if left := unfinished(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOneOfManyCreates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var won atomic.Int32
	var group sync.WaitGroup
	for i := range 16 {
		s := store(t, dir) // each as in a process of its own
		group.Go(func() {
			content := fmt.Sprintf("content %02d", i)
			switch err := s.Create(t.Context(), publish.Object{Key: "beta/agent/v1/a"}, strings.NewReader(content)); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d created the file, want 1", won.Load())
	}
}

func TestReplaceIsCompareAndSet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const writers, each = 8, 10
	var group sync.WaitGroup
	for range writers {
		s := store(t, dir)
		group.Go(func() {
			for done := 0; done < each; {
				body, revision, err := s.Read(t.Context(), "beta/agent/latest")
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
					return
				}
				switch err := s.Replace(t.Context(), "beta/agent/latest", append(body, 'x'), revision); {
				case err == nil:
					done++
				case !errors.Is(err, events.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	body, _, err := store(t, dir).Read(t.Context(), "beta/agent/latest")
	if err != nil || len(body) != writers*each {
		t.Errorf("%d writes are there, %v, want %d: some were lost", len(body), err, writers*each)
	}
	if left := unfinished(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFailedReaderLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := store(t, dir)
	broken := io.MultiReader(strings.NewReader("half"), errorReader{})
	if err := s.Create(t.Context(), publish.Object{Key: "beta/agent/v1/a"}, broken); !errors.Is(err, errBroken) {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	if err := s.Create(ctx, publish.Object{Key: "beta/agent/v1/a"}, strings.NewReader("all")); !errors.Is(err, errBroken) {
		t.Errorf("error is %v, want the cause of the context", err)
	}
	if _, err := s.Stat(t.Context(), "beta/agent/v1/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat: %v", err)
	}
	if left := unfinished(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

var errBroken = errors.New("broken")

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errBroken }

func TestNothingLeadsOut(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "folder")
	s := store(t, dir)
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"../x", "out/x", "/etc/x", "beta/../../x"} {
		if err := s.Create(t.Context(), publish.Object{Key: key}, strings.NewReader("x")); err == nil {
			t.Errorf("create %s succeeded", key)
		}
		if err := s.Replace(t.Context(), key, []byte("x"), publish.Absent); err == nil {
			t.Errorf("replace %s succeeded", key)
		}
	}
	if _, _, err := s.Read(t.Context(), "out/secret"); err == nil {
		t.Error("read through a link succeeded")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside there is %v, %v", entries, err)
	}
}

// A child process writes until it is killed; what it leaves behind is removed by
// the next one that opens the folder, while files of living writers stay.
func TestFilesOfKilledWritersAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestWriteForever$", "-test.v")
	child.Env = append(os.Environ(), "CDNPUSH_WRITE_FOREVER="+dir)
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, output, writing)
	if left := unfinished(t, dir); len(left) != 1 {
		t.Fatalf("the child writes to %v, want one file", left)
	}
	open(t, dir)
	if left := unfinished(t, dir); len(left) != 1 {
		t.Errorf("the file of a living writer is gone: %v", left)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil {
		t.Fatal("the child ended well")
	}
	open(t, dir)
	if left := unfinished(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

const writing = "writing now"

func TestWriteForever(t *testing.T) {
	dir := os.Getenv("CDNPUSH_WRITE_FOREVER")
	if dir == "" {
		t.Skip("runs in a child process of TestFilesOfKilledWritersAreRemoved only")
	}
	err := store(t, dir).Create(t.Context(), publish.Object{Key: "beta/agent/v1/a"}, io.MultiReader(strings.NewReader("some bytes"), forever{}))
	t.Fatalf("written: %v", err)
}

type forever struct{}

func (forever) Read([]byte) (int, error) {
	fmt.Println(writing)
	select {}
}

func waitFor(t *testing.T, r io.Reader, text string) {
	t.Helper()
	var seen bytes.Buffer
	b := make([]byte, 1024)
	for !strings.Contains(seen.String(), text) {
		n, err := r.Read(b)
		seen.Write(b[:n])
		if err != nil {
			t.Fatalf("waiting for %q: %v; seen: %s", text, err, &seen)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	if _, err := folder.Open("/dev/null/x"); err == nil || !strings.Contains(err.Error(), "/dev/null") {
		t.Errorf("error is %v", err)
	}
}
