package watch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/tagship/tagship/events"
)

const (
	// MaxUnpacked is how many bytes the source of a commit may have when
	// unpacked, as the tar that it is. Builders take twice as much.
	MaxUnpacked = 8 << 30
	// maxEntries is how many files, folders and links a source may have. Builders
	// take twice as many.
	maxEntries = 500_000
	// maxRecipe is how long a recipe may be, in bytes.
	maxRecipe = 128 << 10
	// maxModules is how much of .gitmodules is read, in bytes.
	maxModules = 1 << 20
	// maxName and maxPath are how long a name and a path of Linux can be, in bytes.
	maxName, maxPath = 255, 4095
	// maxPointer is how long a file of Git LFS can be that stands for another, see
	// https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md.
	maxPointer = 1024
)

// sourceLimits bound what an archive may hold.
type sourceLimits struct {
	entries int
	bytes   int64 // of the tar
}

// inspect reads an archive once from end to end and returns the text of the
// recipe in it. The error is an [*UnfitError] if the archive holds what no
// builder would unpack or is not the whole source: builders are given no source
// that they would refuse. A symbolic link may point anywhere, as builders keep it
// and follow none out of the source; but nothing may lie behind it.
//
// It keeps 16 bytes of every name, and no file but the recipe and .gitmodules.
func inspect(ctx context.Context, archive io.Reader, limits sourceLimits) (recipe []byte, err error) {
	zip, err := gzip.NewReader(archive)
	if err != nil {
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	stream := &bounded{ctx: ctx, r: zip, left: limits.bytes, most: limits.bytes}
	i := inspection{limits: limits, left: limits, files: tar.NewReader(stream), names: map[pathKey]pathKind{}}
	for {
		header, err := i.files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = i.entry(header)
		}
		if err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
	}
	// What comes after the last file is padding, and the checksum.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	return i.recipe, i.complete()
}

// bounded reads a stream that may be unpacked from a much shorter one.
type bounded struct {
	ctx        context.Context // ends a pass that may take a minute
	r          io.Reader
	left, most int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, tooLarge(b.most)
	}
	return n, err
}

func tooLarge(most int64) error {
	return unfit("the source is longer than %d bytes when unpacked; keep large files elsewhere", most)
}

func unfit(format string, args ...any) error {
	return &UnfitError{Reason: fmt.Sprintf(format, args...)}
}

// pathKey stands for a path: paths can be long, and compress well.
type pathKey [16]byte

func keyOf(name string) pathKey {
	sum := sha256.Sum256([]byte(name))
	return pathKey(sum[:16])
}

// pathKind is what is at a path.
type pathKind byte

const (
	kindEmptyFolder pathKind = iota + 1
	kindFolder
	kindOther // a file or a link
)

// inspection is a pass over an archive.
type inspection struct {
	limits, left sourceLimits
	files        *tar.Reader
	names        map[pathKey]pathKind
	recipe       []byte
	modules      []byte // the text of .gitmodules
}

func (i *inspection) entry(header *tar.Header) error {
	if header.Typeflag == tar.TypeXGlobalHeader { // the commit, as git archive writes it
		return nil
	}
	if err := checkPath(header.Name); err != nil {
		return err
	}
	name, kind := path.Clean(header.Name), kindOther
	switch header.Typeflag {
	case tar.TypeReg:
	case tar.TypeDir:
		kind = kindEmptyFolder
	case tar.TypeSymlink:
		if header.Linkname == "" || len(header.Linkname) > maxPath {
			return unfit("%q is a symbolic link to something that is no path; correct or remove it", name)
		}
	case tar.TypeLink:
		return unfit("%q is a hard link, which git does not have", name)
	default:
		return unfit("%q is neither a file, a folder nor a symbolic link (tar type %q)", name, header.Typeflag)
	}
	if name == "." {
		if kind != kindEmptyFolder {
			return unfit("the root of the source is no folder")
		}
		return nil
	}
	if err := i.place(name, kind); err != nil {
		return err
	}
	if name == events.RecipeFile && header.Typeflag != tar.TypeReg {
		return unfit("%s is no regular file; write the recipe into it", events.RecipeFile)
	}
	if header.Typeflag != tar.TypeReg {
		return nil
	}
	return i.file(name, header.Size)
}

// checkPath refuses what would not stay in the folder it is unpacked into, or
// cannot be in any.
func checkPath(name string) error {
	if len(name) > maxPath {
		return unfit("%.100q... is a path of %d bytes, expected at most %d", name, len(name), maxPath)
	}
	if path.IsAbs(name) {
		return unfit("%q is a path out of the source", name)
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." {
			return unfit("%q is a path out of the source", name)
		}
		if len(element) > maxName {
			return unfit("%.100q... is a name of %d bytes, expected at most %d", element, len(element), maxName)
		}
	}
	return nil
}

// place puts a path among those before it, as unpacking would.
func (i *inspection) place(name string, kind pathKind) error {
	for at := range len(name) {
		if name[at] != '/' {
			continue
		}
		if err := i.placeFolder(name[:at]); err != nil {
			return err
		}
	}
	key := keyOf(name)
	switch before := i.names[key]; {
	case before == 0:
		i.names[key] = kind
		return i.count()
	case before == kindOther || kind == kindOther:
		return unfit("%q is there twice", name)
	}
	return nil
}

// placeFolder puts a folder that something is in.
func (i *inspection) placeFolder(name string) error {
	key := keyOf(name)
	switch i.names[key] {
	case kindFolder:
		return nil
	case kindOther:
		return unfit("%q has something in it, but is no folder", name)
	case kindEmptyFolder:
		i.names[key] = kindFolder
		return nil
	}
	i.names[key] = kindFolder
	return i.count()
}

func (i *inspection) count() error {
	if i.left.entries--; i.left.entries < 0 {
		return unfit("the source has more than %d files and folders; keep some elsewhere", i.limits.entries)
	}
	return nil
}

// file looks at a regular file.
func (i *inspection) file(name string, size int64) (err error) {
	// A sparse file is longer than the archive it is in.
	if size > i.left.bytes {
		return tooLarge(i.limits.bytes)
	}
	i.left.bytes -= size
	switch {
	case name == events.RecipeFile && size > maxRecipe:
		return unfit("%s is %d bytes long, expected at most %d", name, size, maxRecipe)
	case name == events.RecipeFile:
		i.recipe, err = io.ReadAll(i.files)
		if i.recipe == nil {
			i.recipe = []byte{} // empty, but there
		}
		return err
	case name == ".gitmodules":
		i.modules, err = io.ReadAll(io.LimitReader(i.files, maxModules))
		return err
	case size < maxPointer:
		text, err := io.ReadAll(i.files)
		if err == nil && isPointer(text) {
			err = unfit("%q is a pointer of Git LFS, and the file that it stands for would be missing in the build; "+
				`commit the file itself, or have the host put LFS objects into archives (at GitHub: Settings, "Include Git LFS objects in archives")`, name)
		}
		return err
	}
	return nil
}

// isPointer tells whether a file stands for one that Git LFS keeps.
func isPointer(text []byte) bool {
	return bytes.HasPrefix(text, []byte("version https://git-lfs.github.com/spec/v1\n")) && bytes.Contains(text, []byte("\noid "))
}

// complete refuses a source that lacks the recipe, or the files of a submodule.
func (i *inspection) complete() error {
	for _, submodule := range submodules(string(i.modules)) {
		if i.names[keyOf(path.Clean(submodule))] == kindEmptyFolder {
			return unfit("%q is a submodule, whose files are in another repository and would be missing in the build; commit the files themselves", submodule)
		}
	}
	if i.recipe == nil {
		return unfit("there is no %s at the root of the repository at this commit, or .gitattributes keeps it out of archives (export-ignore); add one and push a new tag", events.RecipeFile)
	}
	return nil
}

// submodules lists the paths that a .gitmodules names, see gitmodules(5). It
// reads no more of git-config(1) than git itself writes into that file.
func submodules(text string) []string {
	var paths []string
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(key), "path") {
			continue
		}
		value = strings.TrimSpace(value)
		if quoted, is := strings.CutPrefix(value, `"`); is {
			value = strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\t`, "\t").Replace(strings.TrimSuffix(quoted, `"`))
		}
		paths = append(paths, value)
	}
	return paths
}
