// Package packages makes the files that an app's users download: files as the
// build made them, and Debian packages. The same tree gives the same bytes.
package packages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder/internal/build"
)

// Packager makes packages. It may be used by several goroutines.
type Packager struct {
	fileName, debName, debVersion, debArch *regexp.Regexp
}

var _ build.Packager = (*Packager)(nil)

// New makes a packager.
func New() *Packager {
	return &Packager{
		fileName: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~-]*$`),
		// Debian policy manual 4.7, sections 5.6.1, 5.6.8 and 5.6.12.
		debName:    regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`),
		debArch:    regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`),
		debVersion: regexp.MustCompile(`^[0-9][A-Za-z0-9.+~-]*$`),
	}
}

// Make implements [build.Packager].
func (p *Packager) Make(ctx context.Context, of build.Identity, recipe []events.RecipePackage, root *os.Root, folder string) ([]build.PackageFile, error) {
	var made []build.PackageFile
	for i, r := range recipe {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		field := fmt.Sprintf("packages[%d]", i)
		file, err := p.make(of, r, root, folder)
		if err != nil {
			return nil, build.Blame(field, err)
		}
		if !p.fileName.MatchString(file.Name) {
			return nil, build.Failf("%s: %q cannot be the name of a package: expected letters, digits and . _ + ~ -", field, file.Name)
		}
		if earlier := slices.IndexFunc(made, func(m build.PackageFile) bool { return m.Name == file.Name }); earlier >= 0 {
			return nil, build.Failf("%s: %s is the name of packages[%d] too", field, file.Name, earlier)
		}
		made = append(made, file)
	}
	return made, nil
}

func (p *Packager) make(of build.Identity, recipe events.RecipePackage, root *os.Root, folder string) (build.PackageFile, error) {
	if recipe.Deb != nil {
		return p.deb(of, recipe.Deb, root, folder)
	}
	// Looked at first, for to open a named pipe is to wait for its writer.
	info, err := root.Stat(recipe.File)
	if err == nil && !info.Mode().IsRegular() {
		return build.PackageFile{}, build.Failf("%s is not a file", recipe.File)
	}
	var file *os.File
	if err == nil {
		file, err = root.Open(recipe.File)
	}
	if err != nil {
		return build.PackageFile{}, build.Failf("%s cannot be read after the build: %v", recipe.File, cause(err))
	}
	return measure(file, path.Base(recipe.File))
}

// measure takes the digest and size of a file, and closes it.
func measure(file *os.File, name string) (build.PackageFile, error) {
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	if err := errors.Join(err, file.Close()); err != nil {
		return build.PackageFile{}, fmt.Errorf("read %s: %w", name, err)
	}
	digest := "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return build.PackageFile{Package: events.Package{Name: name, Digest: digest, Size: size}, Path: file.Name()}, nil
}

func (p *Packager) deb(of build.Identity, recipe *events.Deb, root *os.Root, folder string) (build.PackageFile, error) {
	info, err := p.info(of, recipe)
	if err != nil {
		return build.PackageFile{}, err
	}
	for _, from := range slices.Sorted(maps.Keys(recipe.Contents)) {
		if err := add(info, root, from, recipe.Contents[from]); err != nil {
			return build.PackageFile{}, err
		}
	}
	name := deb.Default.ConventionalFileName(info)
	if !p.fileName.MatchString(name) {
		return build.PackageFile{}, build.Failf("%q cannot be the name of a package", name)
	}
	out, err := os.OpenFile(filepath.Join(folder, name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return build.PackageFile{}, fmt.Errorf("make %s: %w", name, err)
	}
	err = deb.Default.Package(info, out)
	if errors.Is(err, files.ErrContentCollision) {
		err = build.Failf("deb.contents: a file and a folder have the same path in the package")
	}
	if err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		return build.PackageFile{}, fmt.Errorf("make %s: %w", name, errors.Join(err, out.Close()))
	}
	return measure(out, name)
}

// info is the package without its contents.
func (p *Packager) info(of build.Identity, recipe *events.Deb) (*nfpm.Info, error) {
	maintainer := recipe.Maintainer
	if maintainer == "" {
		maintainer = of.Repo // a control file must have one: Debian policy manual 4.7, section 5.6.2
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: recipe.Name, Arch: recipe.Arch, Version: of.Version, Section: "misc",
		Maintainer: maintainer, Description: recipe.Description, MTime: of.Time,
		DisableGlobbing: true, // the names in the recipe are names, not patterns
		Overridables:    nfpm.Overridables{Depends: recipe.Depends},
	})
	switch {
	case !p.debName.MatchString(recipe.Name):
		return nil, build.Failf("deb.name %q is not the name of a Debian package: expected at least two lower-case letters, digits and + . -", recipe.Name)
	case !p.debArch.MatchString(info.Arch):
		return nil, build.Failf("deb.arch %q is not a Debian architecture, such as amd64, arm64 or all", recipe.Arch)
	case !p.debVersion.MatchString(info.Version):
		return nil, build.Failf("version %s cannot be the version of a Debian package: expected a tag such as v1.2.3, or one that begins with a digit", of.Version)
	}
	for _, text := range append([]string{recipe.Maintainer}, recipe.Depends...) {
		if strings.ContainsAny(text, "\r\n") {
			return nil, build.Failf("deb: %q is more than one line", text)
		}
	}
	return info, nil
}

// add adds one of the recipe's contents: a file, or all that is in a folder.
// nfpm opens files by their path, so the tree is walked here, where nothing
// leads out of it.
func add(info *nfpm.Info, root *os.Root, from, to string) error {
	base := path.Clean(from)
	return fs.WalkDir(root.FS(), base, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return build.Failf("%s cannot be read after the build: %v", name, cause(err))
		}
		destination := path.Join(to, strings.TrimPrefix(strings.TrimPrefix(name, base), "/"))
		if base == "." {
			destination = path.Join(to, name)
		}
		if name == base && !entry.IsDir() && strings.HasSuffix(to, "/") {
			destination = path.Join(to, path.Base(name))
		}
		if slices.ContainsFunc(info.Contents, func(c *files.Content) bool { return c.Destination == destination }) {
			return build.Failf("deb.contents: two files have the path %s in the package", destination)
		}
		content := &files.Content{Source: filepath.Join(root.Name(), name), Destination: destination, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", MTime: info.MTime, Mode: 0o644}}
		switch {
		case entry.IsDir():
			return nil
		case entry.Type()&fs.ModeSymlink != 0:
			if content.Source, err = root.Readlink(name); err != nil {
				return fmt.Errorf("read link %s: %w", name, err)
			}
			content.Type, content.FileInfo.Mode = files.TypeSymlink, 0o777
		case !entry.Type().IsRegular():
			return build.Failf("%s is neither a file, a folder nor a symbolic link", name)
		default:
			stat, err := entry.Info()
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			if stat.Mode()&0o111 != 0 {
				content.FileInfo.Mode = 0o755
			}
		}
		info.Contents = append(info.Contents, content)
		return nil
	})
}

// cause leaves out the path of this machine.
func cause(err error) error {
	var onPath *fs.PathError
	if errors.As(err, &onPath) {
		return onPath.Err
	}
	return err
}
