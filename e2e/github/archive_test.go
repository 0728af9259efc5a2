package github_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	client "github.com/google/go-github/v57/github"

	"github.com/tagship/tagship/e2e/github"
)

// unpack is what is in an archive by name, and the commit that it says it is of.
func unpack(t *testing.T, body []byte) (files map[string]string, comment string) {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for tr := tar.NewReader(zr); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, comment
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		switch header.Typeflag {
		case tar.TypeXGlobalHeader:
			comment = header.PAXRecords["comment"]
		case tar.TypeSymlink:
			files[header.Name] = "-> " + header.Linkname
		default:
			files[header.Name] = string(content)
		}
	}
}

func Test19Tarball(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	token := sim.PersonalToken("alice").Value()
	api := connect(t, sim, token)
	content := github.Files{
		"main.go": "package main", "run.sh": github.Executable("#!/bin/sh"), "link": github.Symlink("main.go"),
		"lib": github.Submodule(strings.Repeat("1", 40)), "cmd/web/main.go": "package main",
	}
	link := func(name, ref string) *url.URL {
		t.Helper()
		address, _, err := api.Repositories.GetArchiveLink(t.Context(), "acme", name, client.Tarball, &client.RepositoryContentGetOptions{Ref: ref}, 3)
		if err != nil {
			t.Fatal(err)
		}
		return address
	}
	for _, memory := range []bool{false, true} {
		r := sim.Repo(map[bool]string{true: "acme/memory", false: "acme/web"}[memory])
		if memory {
			r.InMemory()
		}
		c := r.Commit(content)
		name := strings.TrimPrefix(r.Name(), "acme/")
		address := link(name, c.ID)
		if address.Host != sim.Archives() || address.Host == sim.Host() {
			t.Errorf("the link leads to %s, want %s", address.Host, sim.Archives())
		}
		first, body := get(t, address.String(), "")
		_, again := get(t, address.String(), "")
		if bytes.Equal(body, again) {
			t.Error("two archives are alike byte by byte")
		}
		got, comment := unpack(t, body)
		twin, _ := unpack(t, again)
		top := "acme-" + name + "-" + c.ID[:7] + "/"
		want := map[string]string{
			top: "", top + "main.go": "package main", top + "run.sh": "#!/bin/sh", top + "link": "-> main.go", top + "lib/": "",
			top + "cmd/": "", top + "cmd/web/": "", top + "cmd/web/main.go": "package main",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("archive (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(got, twin); diff != "" || comment != c.ID {
			t.Errorf("a second archive of %s differs:\n%s", comment, diff)
		}
		if !strings.Contains(first.Header.Get("Content-Disposition"), c.ID[:7]+".tar.gz") || first.Header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("headers: %v", first.Header)
		}
	}
	if seen := sim.TokensSeen(github.HostArchives); len(seen) != 0 {
		t.Errorf("the archive host saw %v", seen)
	}
	get(t, link("web", "main").String(), token)
	if sim.TokensSeen(github.HostArchives)[token] != 1 {
		t.Error("a token that was sent to the archive host was not noticed")
	}

	r := sim.Repo("acme/odd")
	odd := r.Commit(github.Files{
		".gitattributes": "secret.txt export-ignore\nversion.txt export-subst\n", "secret.txt": "x", "version.txt": "$Format:%D$",
		"big.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("0", 64) + "\nsize 12345\n",
	})
	r.Tag("v1.0.0", odd)
	_, body := get(t, link("odd", odd.ID).String(), "")
	before, _ := unpack(t, body)
	r.Tag("v1.1.0", odd)
	_, body = get(t, link("odd", odd.ID).String(), "")
	after, _ := unpack(t, body)
	top := "acme-odd-" + odd.ID[:7] + "/"
	if _, there := before[top+"secret.txt"]; there || before[top+"version.txt"] == after[top+"version.txt"] {
		t.Errorf("attributes: %q and then %q", before, after)
	}
	if !strings.HasPrefix(before[top+"big.bin"], "version https://git-lfs") {
		t.Errorf("a pointer: %q", before[top+"big.bin"])
	}

	// A commit that no ref leads to any more is there until it is not.
	stray := r.Tag("stray", r.Stray(github.Files{"a": "b"}))
	r.DeleteTag("stray")
	address := link("odd", stray.ID)
	if resp, _ := get(t, address.String(), ""); resp.StatusCode != http.StatusOK {
		t.Errorf("unreachable: %d", resp.StatusCode)
	}
	r.Prune()
	if resp, _ := get(t, address.String(), ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("pruned: %d, want 404", resp.StatusCode)
	}
	if resp, _ := get(t, sim.API()+"repos/acme/odd/tarball/"+stray.ID, token); resp.StatusCode != http.StatusNotFound {
		t.Errorf("link to what was pruned: %d, want 404", resp.StatusCode)
	}

	r.Private(true)
	address = link("odd", odd.ID)
	if resp, _ := get(t, address.String(), ""); resp.StatusCode != http.StatusOK {
		t.Errorf("private, with the link: %d", resp.StatusCode)
	}
	if resp, _ := get(t, strings.Split(address.String(), "?")[0], ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("private, without a token in the link: %d, want 404", resp.StatusCode)
	}
	sim.Advance(5 * time.Minute)
	if resp, _ := get(t, address.String(), ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("private, five minutes later: %d, want 404", resp.StatusCode)
	}

	sim.Misbehave(github.Fault{Route: github.RouteArchive, Repo: "acme/web", Times: 1, Cut: true})
	resp, err := http.Get(link("web", "main").String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an archive that was cut off is read without an error")
	}
}
