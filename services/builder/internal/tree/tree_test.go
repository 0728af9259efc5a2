package tree_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tagship/tagship/services/builder/internal/tree"
)

var limits = tree.Limits{Files: 100, Bytes: 1 << 20}

// entry is a header with the content of its file.
type entry struct {
	tar.Header
	content string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func file(name, content string, mode int64) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, ModTime: time.Unix(1700000000, 0)}, content}
}

func link(name, to string) entry {
	return other(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, ModTime: time.Unix(1800000000, 0)})
}

func other(header tar.Header) entry { return entry{Header: header} }

func openRoot(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() }) // only read from
	return root
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	input := archive(t,
		other(tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "0123"}}),
		other(tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o700}),
		file("a/run.sh", "#!/bin/sh\n", 0o700), file("./b.txt", "hello", 0o600),
		link("a/up", "../b.txt"), link("etc", "/etc"),
		other(tar.Header{Typeflag: tar.TypeLink, Name: "c.txt", Linkname: "b.txt"}))
	newest, err := tree.Unpack(bytes.NewReader(input), openRoot(t, dir), limits)
	if err != nil {
		t.Fatal(err)
	}
	if !newest.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("newest file is of %s, expected the time of the files, not of the links", newest)
	}
	got := map[string]string{}
	for _, name := range []string{"a/run.sh", "b.txt", "a/up", "c.txt"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = info.Mode().String() + " " + string(content)
	}
	want := map[string]string{"a/run.sh": "-rwxr-xr-x #!/bin/sh\n", "b.txt": "-rw-r--r-- hello", "a/up": "-rw-r--r-- hello", "c.txt": "-rw-r--r-- hello"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		headers []entry
		want    string
	}{
		"a path to above":             {[]entry{file("../evil", "x", 0o644)}, "out of the archive"},
		"a path to above, hidden":     {[]entry{file("a/../../evil", "x", 0o644)}, "out of the archive"},
		"an absolute path":            {[]entry{file("/tmp/evil", "x", 0o644)}, "out of the archive"},
		"a file through a link":       {[]entry{link("l", "/tmp"), file("l/evil", "x", 0o644)}, "leads out"},
		"a file through a link to up": {[]entry{link("l", ".."), file("l/evil", "x", 0o644)}, "leads out"},
		"a file over a link":          {[]entry{link("l", "/etc/passwd"), file("l", "x", 0o644)}, "file exists"},
		"a file twice":                {[]entry{file("a", "x", 0o644), file("a", "y", 0o644)}, "file exists"},
		"a file where a folder is":    {[]entry{file("a/b", "x", 0o644), file("a", "y", 0o644)}, "file exists"},
		"a folder where a file is":    {[]entry{file("a", "x", 0o644), file("a/b", "y", 0o644)}, "file exists"},
		"a hard link out":             {[]entry{other(tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "../../etc/passwd"})}, "out of the archive"},
		"a hard link through a link":  {[]entry{link("l", "/etc"), other(tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "l/passwd"})}, "leads out"},
		"a hard link to nothing":      {[]entry{other(tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "x"})}, "no such file"},
		"a device":                    {[]entry{other(tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3})}, "neither a file"},
		"a pipe":                      {[]entry{other(tar.Header{Typeflag: tar.TypeFifo, Name: "pipe"})}, "neither a file"},
		"more bytes than the limit":   {[]entry{file("a", strings.Repeat("x", 600<<10), 0o644), file("b", strings.Repeat("x", 600<<10), 0o644)}, "more than is left"},
		"a name longer than any":      {[]entry{file(strings.Repeat("x", 300), "x", 0o644)}, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tree.Unpack(bytes.NewReader(archive(t, test.headers...)), openRoot(t, t.TempDir()), limits)
			var refused *tree.InvalidError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, expected an InvalidError with %q", err, test.want)
			}
		})
	}
	t.Run("more files than the limit", func(t *testing.T) {
		t.Parallel()
		input := archive(t, file("a", "", 0o644), file("b", "", 0o644), file("c", "", 0o644))
		var refused *tree.InvalidError
		if _, err := tree.Unpack(bytes.NewReader(input), openRoot(t, t.TempDir()), tree.Limits{Files: 2, Bytes: 10}); !errors.As(err, &refused) {
			t.Errorf("error is %v, expected an InvalidError", err)
		}
	})
	t.Run("a broken stream is no fault of the archive", func(t *testing.T) {
		t.Parallel()
		input := archive(t, file("a", strings.Repeat("x", 5000), 0o644))
		var refused *tree.InvalidError
		if _, err := tree.Unpack(bytes.NewReader(input[:2000]), openRoot(t, t.TempDir()), limits); err == nil || errors.As(err, &refused) {
			t.Errorf("error is %v, expected one that may pass", err)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, file("a/b", "x", 0o755), link("a/l", ".."), file("a/l/c", "y", 0o644)))
	f.Add(archive(f, link("l", "/"), other(tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "l/etc/passwd"})))
	f.Fuzz(func(t *testing.T, input []byte) {
		outer := t.TempDir()
		inner := filepath.Join(outer, "inner")
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := tree.Unpack(bytes.NewReader(input), openRoot(t, inner), tree.Limits{Files: 50, Bytes: 4096})
		if entries, readErr := os.ReadDir(outer); readErr != nil || len(entries) != 1 {
			t.Fatalf("%d entries beside the folder (%v, unpack: %v)", len(entries)-1, readErr, err)
		}
		var total int64
		walkErr := filepath.WalkDir(inner, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.Type().IsRegular() && !d.IsDir() && d.Type()&fs.ModeSymlink == 0 {
				t.Fatalf("%s is a %s", d.Name(), d.Type())
			}
			if info, infoErr := d.Info(); err == nil && infoErr == nil && d.Type().IsRegular() {
				total = max(total, info.Size())
			}
			return err
		})
		if walkErr != nil || total > 4096 {
			t.Fatalf("a file of %d bytes, walk: %v", total, walkErr)
		}
	})
}

func TestPackIsTheSameForTheSameFiles(t *testing.T) {
	t.Parallel()
	pack := func(mode os.FileMode, order []string, age time.Duration) []byte {
		dir := t.TempDir()
		for _, name := range order {
			path := filepath.Join(dir, "out", name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(name), mode); err != nil {
				t.Fatal(err)
			}
			when := time.Now().Add(-age)
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("b", filepath.Join(dir, "out", "link")); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		if err := tree.Pack(w, openRoot(t, dir), "out/", "srv/data", time.Unix(1700000000, 0)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	one := pack(0o711, []string{"b", "a/c"}, 0)
	two := pack(0o755, []string{"a/c", "b"}, time.Hour)
	if !bytes.Equal(one, two) {
		t.Error("the same files, made in another order, at another time and with another mask, give another archive")
	}
	var names []string
	r := tar.NewReader(bytes.NewReader(one))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(time.Unix(1700000000, 0)) {
			t.Errorf("%s carries an owner or a time: %+v", h.Name, h)
		}
	}
	if diff := cmp.Diff([]string{"srv/data/", "srv/data/a/", "srv/data/a/c", "srv/data/b", "srv/data/link"}, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPackRefusesWhatLeadsOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	var refused *tree.InvalidError
	err := tree.Pack(tar.NewWriter(io.Discard), openRoot(t, dir), "out/passwd", "x", time.Time{})
	if !errors.As(err, &refused) {
		t.Errorf("error is %v, expected an InvalidError", err)
	}
}
