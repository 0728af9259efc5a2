package process

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entry is one entry of a layer; a name that ends in a slash is a folder's.
type entry struct {
	name, link, content string
	kind                byte
}

func layer(t testing.TB, entries ...entry) *bytes.Buffer {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: 0o755, Size: int64(len(e.content))}
		if header.Typeflag == 0 {
			header.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &archive
}

// tree is what lies below a folder: files with their content, links with their target.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			found[name] = "-> " + target
			return err
		case d.Type().IsRegular():
			text, err := os.ReadFile(path)
			found[name] = string(text)
			return err
		case name != ".":
			found[name+"/"] = ""
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	const dir, symlink, hardlink = tar.TypeDir, tar.TypeSymlink, tar.TypeLink
	for name, test := range map[string]struct {
		layers [][]entry
		want   map[string]string // nil if it must be refused
	}{
		"one layer": {[][]entry{{{name: "srv/", kind: dir}, {name: "srv/app", content: "app"}}}, map[string]string{"srv/": "", "srv/app": "app"}},
		"upper replaces lower": {[][]entry{{{name: "a", content: "1"}, {name: "b/c", content: "1"}}, {{name: "./a", content: "2"}, {name: "b", content: "file"}}},
			map[string]string{"a": "2", "b": "file"}},
		"folder replaces link": {[][]entry{{{name: "a", kind: symlink, link: "b"}}, {{name: "a/", kind: dir}, {name: "a/x", content: "x"}}},
			map[string]string{"a/": "", "a/x": "x"}},
		"whiteout": {[][]entry{{{name: "d/a", content: "a"}, {name: "d/b", content: "b"}}, {{name: "d/.wh.a"}, {name: ".wh.nothing"}}},
			map[string]string{"d/": "", "d/b": "b"}},
		"opaque folder": {[][]entry{{{name: "d/a", content: "a"}, {name: "d/sub/b", content: "b"}}, {{name: "d/sub/new", content: "new"}, {name: "d/.wh..wh..opq"}}},
			map[string]string{"d/": "", "d/sub/": "", "d/sub/new": "new"}},
		"write through a link inside": {[][]entry{{{name: "usr/lib/", kind: dir}, {name: "lib", kind: symlink, link: "/usr/lib"}}, {{name: "lib/x", content: "x"}}},
			map[string]string{"usr/": "", "usr/lib/": "", "usr/lib/x": "x", "lib": "-> usr/lib"}},
		"absolute link":        {[][]entry{{{name: "a/b", kind: symlink, link: "/etc/passwd"}}}, map[string]string{"a/": "", "a/b": "-> ../etc/passwd"}},
		"link that climbs":     {[][]entry{{{name: "a/b", kind: symlink, link: "../../../etc/passwd"}}}, map[string]string{"a/": "", "a/b": "-> ../etc/passwd"}},
		"hard link":            {[][]entry{{{name: "a", content: "a"}, {name: "b", kind: hardlink, link: "/a"}}}, map[string]string{"a": "a", "b": "a"}},
		"name that climbs":     {[][]entry{{{name: "../../x", content: "x"}}}, map[string]string{"x": "x"}},
		"absolute name":        {[][]entry{{{name: "/x", content: "x"}}}, map[string]string{"x": "x"}},
		"device":               {[][]entry{{{name: "dev/null", kind: tar.TypeChar}}}, map[string]string{"dev/": ""}},
		"too large":            {[][]entry{{{name: "a", content: "12345"}}, {{name: "b", content: "6789"}}}, nil},
		"hard link to nothing": {[][]entry{{{name: "b", kind: hardlink, link: "../../../etc/passwd"}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, err := os.OpenRoot(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			u := &unpacker{root: root, left: 8}
			for _, entries := range test.layers {
				if err = u.apply(layer(t, entries...)); err != nil {
					break
				}
			}
			switch {
			case test.want == nil && err == nil:
				t.Error("was unpacked, expected an error")
			case test.want != nil && err != nil:
				t.Error(err)
			case test.want != nil:
				if diff := cmp.Diff(test.want, tree(t, root.Name())); diff != "" {
					t.Errorf("unpacked (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// FuzzUnpack checks that no layer writes outside of the root.
func FuzzUnpack(f *testing.F) {
	f.Add(layer(f, entry{name: "a/b", content: "b"}, entry{name: "a/.wh.b"}).Bytes())
	f.Add(layer(f, entry{name: "l", kind: tar.TypeSymlink, link: ".."}, entry{name: "l/x", content: "x"}).Bytes())
	f.Add(layer(f, entry{name: "l", kind: tar.TypeSymlink, link: "/"}, entry{name: "l/../../x", content: "x"}).Bytes())
	f.Fuzz(func(t *testing.T, archive []byte) {
		outer := t.TempDir()
		inner := filepath.Join(outer, "root")
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(inner)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		u := &unpacker{root: root, left: 1 << 16}
		_ = u.apply(bytes.NewReader(archive)) // most are no archive
		around, err := os.ReadDir(outer)
		if err != nil || len(around) != 1 {
			t.Errorf("beside the root there is %v, %v", around, err)
		}
	})
}
