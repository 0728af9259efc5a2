package packages_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blakesmith/ar"
	"github.com/google/go-cmp/cmp"

	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/builder/internal/build"
	"github.com/tagship/tagship/services/builder/internal/buildtest"
	"github.com/tagship/tagship/services/builder/internal/packages"
)

func identity(version string) build.Identity {
	return build.Identity{App: "agent", Version: version, Commit: buildtest.Commit, Repo: "github.com/acme/agent", Time: buildtest.CommitTime()}
}

func files() map[string]string {
	return map[string]string{
		"out/agent": "#!/bin/sh\necho agent\n", "out/agent-linux.tar.gz": "an archive",
		"conf/agent.conf": "level=info\n", "conf/d/more[1].conf": "x=1\n",
	}
}

func deb() *events.Deb {
	return &events.Deb{
		Name: "agent", Arch: "amd64", Maintainer: "Acme <ops@acme.example>", Description: "Watches things", Depends: []string{"libc6 (>= 2.31)", "adduser"},
		Contents: map[string]string{"out/agent": "/usr/bin/", "conf/": "/etc/agent"},
	}
}

func TestMake(t *testing.T) {
	t.Parallel()
	root := buildtest.Tree(t, files())
	if err := os.Symlink("agent.conf", filepath.Join(root.Name(), "conf", "default.conf")); err != nil {
		t.Fatal(err)
	}
	recipe := []events.RecipePackage{{File: "out/agent-linux.tar.gz"}, {Deb: deb()}}
	made, err := packages.New().Make(t.Context(), identity("v1.2.3-rc.1"), recipe, root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range made {
		content, err := os.ReadFile(file.Path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if file.Digest != "sha256:"+hex.EncodeToString(sum[:]) || file.Size != int64(len(content)) {
			t.Errorf("%s is said to be %s of %d bytes, and is not", file.Name, file.Digest, file.Size)
		}
		names = append(names, file.Name)
	}
	if diff := cmp.Diff([]string{"agent-linux.tar.gz", "agent_1.2.3~rc.1_amd64.deb"}, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	control, data := readDeb(t, made[1].Path)
	for _, want := range []string{"Package: agent\n", "Version: 1.2.3~rc.1\n", "Architecture: amd64\n", "Depends: libc6 (>= 2.31), adduser\n", "Maintainer: Acme <ops@acme.example>\n"} {
		if !strings.Contains(control, want) {
			t.Errorf("control lacks %q:\n%s", want, control)
		}
	}
	want := []string{
		"755 ./etc/ root", "755 ./etc/agent/ root", "644 ./etc/agent/agent.conf root", "755 ./etc/agent/d/ root", "644 ./etc/agent/d/more[1].conf root",
		"777 ./etc/agent/default.conf → agent.conf root", "755 ./usr/ root", "755 ./usr/bin/ root", "755 ./usr/bin/agent root",
	}
	if diff := cmp.Diff(want, data); diff != "" {
		t.Errorf("data (-want +got)\n%s", diff)
	}
	if dpkg, err := exec.LookPath("dpkg-deb"); err == nil { // where Debian's own tool is at hand, it must agree
		if out, err := exec.CommandContext(t.Context(), dpkg, "--field", made[1].Path, "Version").CombinedOutput(); err != nil || string(out) != "1.2.3~rc.1\n" {
			t.Errorf("dpkg-deb says %q, error %v", out, err)
		}
	}
}

// readDeb returns the control file and the entries of the data archive.
func readDeb(t *testing.T, path string) (control string, data []string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	members := ar.NewReader(bytes.NewReader(content))
	for {
		member, err := members.Next()
		if errors.Is(err, io.EOF) {
			return control, data
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(strings.TrimRight(member.Name, "/"), ".tar.gz") {
			continue
		}
		unzipped, err := gzip.NewReader(members)
		if err != nil {
			t.Fatal(err)
		}
		archive := tar.NewReader(unzipped)
		for {
			header, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(member.Name, "data") {
				name := header.Name
				if header.Linkname != "" {
					name += " → " + header.Linkname
				}
				data = append(data, fmt.Sprintf("%o %s %s", header.Mode, name, header.Uname))
				if !header.ModTime.Equal(buildtest.CommitTime()) {
					t.Errorf("%s is of %s", header.Name, header.ModTime)
				}
			} else if strings.HasSuffix(header.Name, "control") {
				text, err := io.ReadAll(archive)
				if err != nil {
					t.Fatal(err)
				}
				control = string(text)
			}
		}
	}
}

func TestSameTreeSameBytes(t *testing.T) {
	t.Parallel()
	var digests []string
	for range 2 {
		made, err := packages.New().Make(t.Context(), identity("v1"), []events.RecipePackage{{Deb: deb()}}, buildtest.Tree(t, files()), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, made[0].Digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("the same tree gave %s and %s", digests[0], digests[1])
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	change := func(f func(*events.Deb)) []events.RecipePackage {
		d := deb()
		f(d)
		return []events.RecipePackage{{Deb: d}}
	}
	for name, test := range map[string]struct {
		version string
		recipe  []events.RecipePackage
		want    string
	}{
		"missing file":    {"v1", []events.RecipePackage{{File: "out/none"}}, "packages[0]: out/none cannot be read after the build: no such file"},
		"a folder":        {"v1", []events.RecipePackage{{File: "out"}}, "is not a file"},
		"out of the tree": {"v1", []events.RecipePackage{{File: "outside/passwd"}}, "cannot be read"},
		"same name":       {"v1", []events.RecipePackage{{File: "out/agent"}, {File: "sub/agent"}}, "packages[1]: agent is the name of packages[0] too"},
		"odd name":        {"v1", []events.RecipePackage{{File: "out/a b"}}, "cannot be the name of a package"},
		"version":         {"nightly", []events.RecipePackage{{Deb: deb()}}, "version nightly cannot be the version of a Debian package"},
		"name":            {"v1", change(func(d *events.Deb) { d.Name = "../Agent" }), "is not the name of a Debian package"},
		"arch":            {"v1", change(func(d *events.Deb) { d.Arch = "AMD 64" }), "is not a Debian architecture"},
		"two lines":       {"v1", change(func(d *events.Deb) { d.Maintainer = "x\nEssential: yes" }), "more than one line"},
		"missing content": {"v1", change(func(d *events.Deb) { d.Contents = map[string]string{"none": "/x"} }), "none cannot be read"},
		"content outside": {"v1", change(func(d *events.Deb) { d.Contents = map[string]string{"outside/passwd": "/x"} }), "cannot be read"},
		"two to one path": {"v1", change(func(d *events.Deb) { d.Contents["conf/agent.conf"] = "/usr/bin/agent" }), "two files have the path /usr/bin/agent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := files()
			all["sub/agent"], all["out/a b"] = "x", "x"
			root := buildtest.Tree(t, all)
			if err := os.Symlink("/etc", filepath.Join(root.Name(), "outside")); err != nil {
				t.Fatal(err)
			}
			_, err := packages.New().Make(t.Context(), identity(test.version), test.recipe, root, t.TempDir())
			var failure *build.Failure
			if !errors.As(err, &failure) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, expected a failure with %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), root.Name()) {
				t.Errorf("the reason %q holds a path of the builder", err)
			}
		})
	}
}

func TestNamedPipeIsNoPackage(t *testing.T) {
	t.Parallel()
	root := buildtest.Tree(t, files())
	if err := syscall.Mkfifo(filepath.Join(root.Name(), "out", "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := packages.New().Make(t.Context(), identity("v1"), []events.RecipePackage{{File: "out/pipe"}}, root, t.TempDir())
		ended <- err
	}()
	select {
	case err := <-ended:
		var failure *build.Failure
		if !errors.As(err, &failure) || !strings.Contains(err.Error(), "is not a file") {
			t.Errorf("error is %v, expected a failure that says that it is not a file", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still waits for somebody to write into the pipe")
	}
}
