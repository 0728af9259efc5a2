package watch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tagship/tagship/events"
)

// packed is an entry of an archive to inspect.
type packed struct {
	header tar.Header
	text   string
}

func fileOf(name, text string) packed {
	return packed{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o644}, text}
}

func folderOf(name string) packed {
	return packed{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}

func linkOf(name, to string) packed {
	return packed{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}, ""}
}

func pack(tb testing.TB, entries ...packed) []byte {
	tb.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for _, e := range entries {
		if err := archive.WriteHeader(&e.header); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(archive, e.text); err != nil {
			tb.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"

func smallLimits() sourceLimits { return sourceLimits{entries: 20, bytes: 1 << 20} }

func TestInspect(t *testing.T) {
	t.Parallel()
	recipe := fileOf(events.RecipeFile, goodRecipe)
	commit := packed{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": commitOf("x")}}, ""}
	modules := fileOf(".gitmodules", "[submodule \"lib\"]\n\tpath = vendor/lib\n\turl = https://git.example.org/lib\n[submodule \"odd\"]\n\tpath = \"a \\\"b\\\"\"\n")
	for name, test := range map[string]struct {
		entries []packed
		want    string // in the reason; empty if it is fit
	}{
		"a repository":              {[]packed{commit, recipe, folderOf("a/"), fileOf("a/x", "x"), folderOf("a/b/"), fileOf("a/b/y", "y"), linkOf("a/l", "b/y")}, ""},
		"the root by name":          {[]packed{folderOf("./"), fileOf("./"+events.RecipeFile, goodRecipe)}, ""},
		"folders that go unsaid":    {[]packed{recipe, fileOf("a/b/c", "x"), folderOf("a/b"), folderOf("a")}, ""},
		"an empty folder":           {[]packed{recipe, folderOf("a")}, ""},
		"names that differ by case": {[]packed{recipe, fileOf("README", "x"), fileOf("readme", "x")}, ""},
		"odd names":                 {[]packed{recipe, fileOf("-x", ""), fileOf("\xff", ""), fileOf("a;b $(id)", ""), fileOf("..x/...", "")}, ""},
		"a link out of the source":  {[]packed{recipe, linkOf("etc", "/etc"), linkOf("up", "../x"), linkOf("gone", "nowhere")}, ""},
		"a submodule with files":    {[]packed{recipe, modules, folderOf("vendor"), folderOf("vendor/lib"), fileOf("vendor/lib/x", "x")}, ""},
		"a submodule that was":      {[]packed{recipe, modules}, ""},
		"text about pointers":       {[]packed{recipe, fileOf("a", "version https://git-lfs.github.com/spec/v1"), fileOf("b", "see\n"+pointer)}, ""},
		"a long pointer":            {[]packed{recipe, fileOf("a", pointer+strings.Repeat("x", maxPointer))}, ""},

		"nothing":                      {nil, "there is no .tagship.yaml"},
		"recipe in a folder":           {[]packed{fileOf("a/.tagship.yaml", goodRecipe)}, "there is no .tagship.yaml"},
		"link for a recipe":            {[]packed{linkOf(events.RecipeFile, "/etc/passwd")}, "no regular file"},
		"folder for a recipe":          {[]packed{folderOf(events.RecipeFile)}, "no regular file"},
		"recipe too long":              {[]packed{fileOf(events.RecipeFile, strings.Repeat("#", maxRecipe+1))}, "expected at most"},
		"an absolute path":             {[]packed{fileOf("/etc/passwd", "x")}, `"/etc/passwd" is a path out`},
		"a path to above":              {[]packed{fileOf("../x", "x")}, `"../x" is a path out`},
		"a path to above, hidden":      {[]packed{fileOf("a/../../x", "x")}, `"a/../../x" is a path out`},
		"a path up and down":           {[]packed{fileOf("a/../x", "x")}, `"a/../x" is a path out`},
		"a hard link":                  {[]packed{fileOf("a", "x"), {tar.Header{Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}, ""}}, `"b" is a hard link`},
		"a device":                     {[]packed{{tar.Header{Typeflag: tar.TypeChar, Name: "null"}, ""}}, `"null" is neither a file`},
		"a pipe":                       {[]packed{{tar.Header{Typeflag: tar.TypeFifo, Name: "pipe"}, ""}}, `"pipe" is neither a file`},
		"a file twice":                 {[]packed{fileOf("a", "x"), fileOf("./a", "y")}, `"a" is there twice`},
		"a link over a file":           {[]packed{fileOf("a", "x"), linkOf("a", "b")}, `"a" is there twice`},
		"a file where a folder is":     {[]packed{fileOf("a/b", "x"), fileOf("a", "y")}, `"a" is there twice`},
		"a folder where a file is":     {[]packed{fileOf("a", "x"), folderOf("a")}, `"a" is there twice`},
		"a file in a file":             {[]packed{fileOf("a", "x"), fileOf("a/b", "y")}, `"a" has something in it`},
		"a file through a link":        {[]packed{linkOf("l", "/tmp"), fileOf("l/x", "x")}, `"l" has something in it`},
		"a file through a link inside": {[]packed{folderOf("a"), linkOf("l", "a"), fileOf("l/x", "x")}, `"l" has something in it`},
		"a file for the root":          {[]packed{fileOf(".", "x")}, "root of the source is no folder"},
		"a link to nothing at all":     {[]packed{linkOf("l", strings.Repeat("x", maxPath+1))}, `"l" is a symbolic link`},
		"a long name":                  {[]packed{fileOf("a/"+strings.Repeat("n", 256), "x")}, "is a name of 256 bytes"},
		"a long path":                  {[]packed{fileOf(strings.Repeat("a/", 2047)+"xx", "x")}, "is a path of 4096 bytes"},
		"many files":                   {manyFiles(21), "more than 20 files"},
		"many folders in one path":     {[]packed{fileOf(strings.Repeat("a/", 20)+"b", "x")}, "more than 20 files"},
		"many bytes":                   {[]packed{fileOf("a", strings.Repeat("x", 600<<10)), fileOf("b", strings.Repeat("x", 600<<10))}, "longer than 1048576 bytes"},
		"a pointer of LFS":             {[]packed{recipe, fileOf("assets/logo.png", pointer)}, `"assets/logo.png" is a pointer of Git LFS`},
		"a submodule":                  {[]packed{recipe, modules, folderOf("vendor"), folderOf("vendor/lib/")}, `"vendor/lib" is a submodule`},
		"a submodule, told later":      {[]packed{folderOf("vendor"), folderOf("vendor/lib/"), recipe, modules}, `"vendor/lib" is a submodule`},
		"a submodule with quotes":      {[]packed{recipe, modules, folderOf(`a "b"`)}, "is a submodule"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := inspect(t.Context(), bytes.NewReader(pack(t, test.entries...)), smallLimits())
			refused := new(UnfitError)
			switch {
			case test.want == "" && (err != nil || string(got) != goodRecipe):
				t.Errorf("got %q, %v; expected the recipe", got, err)
			case test.want != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Reason, test.want)):
				t.Errorf("got %v, expected an UnfitError with %s", err, test.want)
			}
		})
	}
}

func manyFiles(n int) []packed {
	var entries []packed
	for i := range n {
		entries = append(entries, fileOf(string(rune('a'+i)), ""))
	}
	return entries
}

// TestInspectBrokenArchive: trouble on the way is no fault of the commit.
func TestInspectBrokenArchive(t *testing.T) {
	t.Parallel()
	whole := pack(t, fileOf(events.RecipeFile, goodRecipe), fileOf("a", "x"))
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-8] ^= 1 // the checksum
	for name, archive := range map[string][]byte{
		"nothing": nil, "no gzip": []byte("<html>"), "cut": whole[:len(whole)/2], "cut in the checksum": whole[:len(whole)-2], "damaged": damaged,
	} {
		_, err := inspect(t.Context(), bytes.NewReader(archive), smallLimits())
		if refused := new(UnfitError); err == nil || errors.As(err, &refused) {
			t.Errorf("%s: got %v, expected an error that may pass", name, err)
		}
	}
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errKilled)
	if _, err := inspect(ended, bytes.NewReader(whole), smallLimits()); !errors.Is(err, errKilled) {
		t.Errorf("after the end, got %v", err)
	}
}

// endless is a tar that goes on and on.
type endless struct {
	head *bytes.Reader
	unit []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.head.Len() > 0 {
		return e.head.Read(p)
	}
	n := 0
	for n < len(p) {
		copied := copy(p[n:], e.unit[e.at:])
		n += copied
		e.at = (e.at + copied) % len(e.unit)
	}
	return n, nil
}

// TestBombs inspects short archives that unpack to ones without end.
func TestBombs(t *testing.T) {
	headers := func(e packed) []byte {
		var out bytes.Buffer
		archive := tar.NewWriter(&out)
		if err := archive.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if e.header.Size == 0 {
			if err := archive.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		return out.Bytes()
	}
	zeros := make([]byte, 512)
	deep := strings.TrimSuffix(strings.Repeat("a/", 2000), "/")
	for name, test := range map[string]struct{ head, unit []byte }{
		"a file":                       {headers(packed{tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 1 << 40}, ""}), zeros},
		"what comes after the end":     {make([]byte, 1024), zeros},
		"a folder, again and again":    {nil, headers(folderOf(deep))},
		"a commit, again and again":    {nil, headers(packed{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": strings.Repeat("x", 1<<19)}}, ""})},
		"a path of half a megabyte":    {nil, headers(folderOf(strings.Repeat("a/", 1<<18)))},
		"headers that nothing follows": {nil, headers(folderOf(deep))[:512+4608]},
	} {
		t.Run(name, func(t *testing.T) {
			const size = 4 << 20
			var bomb bytes.Buffer
			zip := gzip.NewWriter(&bomb)
			if _, err := io.CopyN(zip, &endless{head: bytes.NewReader(test.head), unit: test.unit}, 2*size); err != nil {
				t.Fatal(err)
			}
			if err := zip.Close(); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := inspect(t.Context(), bytes.NewReader(bomb.Bytes()), sourceLimits{entries: 1000, bytes: size})
			runtime.ReadMemStats(&after)
			if refused := new(UnfitError); !errors.As(err, &refused) {
				t.Errorf("%d bytes gave %v, expected an UnfitError", bomb.Len(), err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; &test.unit[0] == &zeros[0] && used > size/4 {
				t.Errorf("it took %d bytes to read what nobody wants to have", used)
			}
		})
	}
}

// FuzzInspect unpacks what was found fit as builders do: into a folder, through
// an os.Root, over nothing that is there.
func FuzzInspect(f *testing.F) {
	recipe := fileOf(events.RecipeFile, goodRecipe)
	for _, entries := range [][]packed{
		{recipe, folderOf("a"), fileOf("a/x", "x"), linkOf("a/l", "../x")},
		{recipe, linkOf("l", ".."), fileOf("l/x", "x")},
		{recipe, fileOf(".gitmodules", "path = a\n"), folderOf("a")},
		{recipe, fileOf("p", pointer)},
		{recipe, fileOf(strings.Repeat("n/", 15)+"x", "x")},
	} {
		zip, err := gzip.NewReader(bytes.NewReader(pack(f, entries...)))
		if err != nil {
			f.Fatal(err)
		}
		text, err := io.ReadAll(zip)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var zipped bytes.Buffer
		zip := gzip.NewWriter(&zipped)
		if _, err := zip.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := zip.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := inspect(t.Context(), &zipped, smallLimits()); err != nil {
			return
		}
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		unpack(t, tar.NewReader(bytes.NewReader(text)), root)
		if err := root.Close(); err != nil {
			t.Error(err)
		}
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*")); err != nil || len(left) != 1 {
			t.Errorf("%v are beside the folder, %v", left, err)
		}
	})
}

func unpack(t *testing.T, archive *tar.Reader, root *os.Root) {
	t.Helper()
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean(header.Name)
		if header.Typeflag == tar.TypeXGlobalHeader || name == "." {
			continue
		}
		switch header.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			err = errors.Join(root.MkdirAll(path.Dir(name), 0o755), root.Symlink(header.Linkname, name))
		case tar.TypeReg:
			err = root.MkdirAll(path.Dir(name), 0o755)
			if err == nil {
				var file *os.File
				if file, err = root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err == nil {
					_, err = io.Copy(file, archive)
					err = errors.Join(err, file.Close())
				}
			}
		default:
			t.Fatalf("%q is of type %q", header.Name, header.Typeflag)
		}
		if err != nil {
			t.Fatalf("%q was found fit and cannot be unpacked: %v", header.Name, err)
		}
	}
}
