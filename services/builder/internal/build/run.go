package build

import (
	"compress/gzip"
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
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder/internal/tree"
)

// defaultTimeout holds for recipes that were read before the field had a default.
const defaultTimeout = 30 * time.Minute

// Limits bound a source, and what a build makes of it: far above anything that
// is built on purpose, and far below a full disk.
func Limits() tree.Limits { return tree.Limits{Files: 1_000_000, Bytes: 16 << 30} }

// run does everything between build.started and build.done in a folder of its own.
func (b *Builder) run(ctx context.Context, o order, archive io.Reader) (_ *events.BuildDone, err error) {
	folder := filepath.Join(b.Folder, folderName(o.seen.App, o.seen.Version))
	if err := errors.Join(RemoveAll(folder), os.MkdirAll(filepath.Join(folder, "tree"), 0o755), os.Mkdir(filepath.Join(folder, "packages"), 0o755)); err != nil {
		return nil, fmt.Errorf("prepare folder: %w", err)
	}
	defer func() {
		if removeErr := RemoveAll(folder); removeErr != nil {
			b.Log.Warn("cannot remove the folder of a build; the next build of the version tries again", zap.String("folder", folder), zap.Error(removeErr))
		}
	}()
	root, err := os.OpenRoot(filepath.Join(folder, "tree"))
	if err != nil {
		return nil, fmt.Errorf("prepare folder: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return b.steps(ctx, o, archive, root, filepath.Join(folder, "packages"))
}

func (b *Builder) steps(ctx context.Context, o order, archive io.Reader, root *os.Root, packages string) (*events.BuildDone, error) {
	seen := o.seen
	recipe, err := b.recipe(seen)
	if err != nil {
		return nil, err
	}
	commitTime, err := fetch(archive, seen.Source.Digest, root)
	if err != nil {
		return nil, err
	}
	of := Identity{App: seen.App, Version: seen.Version, Commit: seen.Commit, Repo: seen.Repo, Time: commitTime}
	done := &events.BuildDone{App: seen.App, Version: seen.Version, Commit: seen.Commit, TagSeq: o.seq, Deploy: recipe.Deploy}
	if done.Toolchain, err = b.compile(ctx, of, recipe, root); err != nil {
		return nil, err
	}
	files, err := b.Packager.Make(ctx, of, recipe.Packages, root, packages)
	if err != nil {
		return nil, err
	}
	if recipe.Image != nil {
		image, err := b.Images.PushImage(ctx, of, *recipe.Image, root)
		if err != nil {
			return nil, err
		}
		done.Image = &image
	}
	if len(files) > 0 {
		set, err := b.Images.PushPackages(ctx, of, files)
		if err != nil {
			return nil, err
		}
		done.PackageSet = &set
		for _, file := range files {
			done.Packages = append(done.Packages, file.Package)
		}
	}
	return done, nil
}

// recipe is the version's recipe with {version} filled in.
func (b *Builder) recipe(seen *events.TagSeen) (events.Recipe, error) {
	recipe := seen.Recipe
	recipe.Packages = slices.Clone(recipe.Packages)
	for i, p := range recipe.Packages {
		recipe.Packages[i].File = strings.ReplaceAll(p.File, "{version}", seen.Version)
	}
	if err := recipe.Validate(); err != nil { // once more: a version may hold a path out of the source
		return recipe, Failf("%s: %v", events.RecipeFile, err)
	}
	return recipe, nil
}

// fetch unpacks the staged source and returns the time of its commit: archives
// of git carry it on every file.
func fetch(archive io.Reader, digest string, root *os.Root) (time.Time, error) {
	unzipped, err := gzip.NewReader(archive)
	if errors.Is(err, gzip.ErrHeader) {
		return time.Time{}, Failf("source %s is not a tar.gz archive", digest)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("fetch source %s: %w", digest, err)
	}
	newest, err := tree.Unpack(unzipped, root, Limits())
	if err != nil {
		return time.Time{}, Blame("unpack source", err)
	}
	// The reader tells at its end only whether the content is what the digest says.
	if _, err := io.Copy(io.Discard, archive); err != nil {
		return time.Time{}, fmt.Errorf("fetch source %s: %w", digest, err)
	}
	return newest.UTC().Truncate(time.Second), nil
}

// compile runs the commands and makes sure that all the recipe copies from is there.
func (b *Builder) compile(ctx context.Context, of Identity, recipe events.Recipe, root *os.Root) (toolchain string, err error) {
	log := newOutput(b.Logs.Log(of.App, of.Version), slices.Collect(maps.Values(b.Env)))
	defer func() {
		if closeErr := log.Close(); closeErr != nil {
			b.Log.Warn("output of a build was not stored in full", zap.String("app", of.App), zap.String("version", of.Version), zap.Error(closeErr))
		}
	}()
	job := Job{
		App: of.App, Version: of.Version,
		Toolchain: recipe.Build.Toolchain, Commands: recipe.Build.Run, Cache: recipe.Build.Cache,
		Timeout: time.Duration(recipe.Build.Timeout),
		Env:     b.env(of, recipe.Build.Env),
		Tree:    root, Outputs: outputs(recipe), Log: log,
	}
	if job.Timeout <= 0 {
		job.Timeout = defaultTimeout
	}
	toolchain, err = b.Executor.Run(ctx, job)
	if err == nil {
		err = checkOutputs(root, job.Outputs)
	}
	var failure *Failure
	if errors.As(err, &failure) {
		return "", Failf("%s%s", failure.reason, log.Tail())
	}
	return toolchain, err
}

func (b *Builder) env(of Identity, recipe map[string]string) map[string]string {
	env := map[string]string{}
	maps.Copy(env, b.Env)
	maps.Copy(env, recipe)
	maps.Copy(env, map[string]string{
		"TAGSHIP_APP": of.App, "TAGSHIP_VERSION": of.Version, "TAGSHIP_COMMIT": of.Commit,
		// https://reproducible-builds.org/specs/source-date-epoch/
		"SOURCE_DATE_EPOCH": strconv.FormatInt(max(0, of.Time.Unix()), 10),
	})
	return env
}

// outputs are the paths that the image and the packages are made of, without those inside others.
func outputs(recipe events.Recipe) []string {
	var all []string
	if recipe.Image != nil {
		for _, layer := range recipe.Image.Layers {
			all = slices.AppendSeq(all, maps.Keys(layer.Copy))
		}
	}
	for _, p := range recipe.Packages {
		if p.File != "" {
			all = append(all, p.File)
		}
		if p.Deb != nil {
			all = slices.AppendSeq(all, maps.Keys(p.Deb.Contents))
		}
	}
	for i := range all {
		all[i] = path.Clean(all[i])
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(slices.Clone(all), func(p string) bool {
		return slices.ContainsFunc(all, func(outer string) bool {
			return p != outer && (outer == "." || strings.HasPrefix(p, outer+"/"))
		})
	})
}

func checkOutputs(root *os.Root, outputs []string) error {
	var missing []string
	for _, output := range outputs {
		info, err := root.Lstat(output)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, output)
		case err != nil:
			return Failf("the build made %s, which cannot be read inside the source: %v", output, err)
		case info.Mode()&fs.ModeSymlink != 0:
			return Failf("the build made %s a symbolic link: copy what it points to", output)
		}
	}
	if len(missing) > 0 {
		return Failf("the commands succeeded but did not make %s, which the recipe copies from", strings.Join(missing, ", "))
	}
	return nil
}

// folderName is the same for every attempt, so that an attempt finds what a killed one left.
func folderName(app, version string) string {
	sum := sha256.Sum256([]byte(app + "@" + version))
	return hex.EncodeToString(sum[:8])
}

// RemoveAll removes a folder even where a build made folders that forbid it, as Go's module cache does.
func RemoveAll(folder string) error {
	if err := os.RemoveAll(folder); err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return os.Chmod(name, 0o700)
	})
	return errors.Join(err, os.RemoveAll(folder))
}
