package github_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/tagship/tagship/e2e/github"
)

func Test20SmartHTTP(t *testing.T) {
	t.Parallel()
	for _, memory := range []bool{false, true} {
		sim := start(t, github.Options{})
		r := sim.Repo("acme/web")
		if memory {
			r.InMemory()
		}
		c := r.Commit(github.Files{"main.go": "package main", "cmd/x": "y"})
		nested := r.TagNested("v1.0.0", c)
		old := r.Tag("v0.9.0", r.Stray(github.Files{"old": "one"}))
		r.DeleteTag("v0.9.0")
		want := nested.ID + "\trefs/tags/v1.0.0\n" + c.ID + "\trefs/tags/v1.0.0^{}\n"
		for _, version := range []string{"0", "2"} {
			out, err := git(t, "-c", "protocol.version="+version, "ls-remote", "--tags", r.CloneURL())
			if err != nil || out != want {
				t.Errorf("version %s: %v\n%s, want\n%s", version, err, out, want)
			}
			for _, commit := range []string{c.ID, old.ID} {
				dir := t.TempDir()
				if out, err := git(t, "init", "-q", dir); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if out, err := git(t, "-C", dir, "-c", "protocol.version="+version, "fetch", "-q", "--depth", "1", r.CloneURL(), commit); err != nil {
					t.Errorf("version %s: fetch %s: %v\n%s", version, commit, err, out)
				}
			}
		}
		r.MoveTag("v1.0.0", c)
		if out, err := git(t, "ls-remote", "--tags", r.CloneURL()); err != nil || out != c.ID+"\trefs/tags/v1.0.0\n" {
			t.Errorf("moved: %v\n%s", err, out)
		}
		clone := t.TempDir()
		if out, err := git(t, "clone", "-q", r.CloneURL(), clone); err != nil {
			t.Errorf("clone: %v\n%s", err, out)
		}
		if out, err := git(t, "-C", clone, "fsck", "--strict"); err != nil {
			t.Errorf("what was cloned: %v\n%s", err, out)
		}

		token := sim.PersonalToken("alice").Value()
		r.Private(true)
		if out, err := git(t, "ls-remote", r.CloneURL()); err == nil {
			t.Errorf("private, to anybody: %s", out)
		}
		secured := strings.Replace(r.CloneURL(), "://", "://x-access-token:"+token+"@", 1)
		if out, err := git(t, "ls-remote", "--tags", secured); err != nil || !strings.Contains(out, c.ID) {
			t.Errorf("private, with a token: %v\n%s", err, out)
		}
		if sim.TokensSeen(github.HostGit)[token] == 0 {
			t.Error("the token was not noticed")
		}
		for name, fault := range map[string]github.Fault{
			"429":        {Status: http.StatusTooManyRequests, Body: "slow down"},
			"Connection": {Reset: true},
		} {
			fault.Route = github.RouteGit
			f := sim.Misbehave(fault)
			if out, err := git(t, "ls-remote", secured); err == nil || !strings.Contains(out, name) {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
			f.Stop()
		}
	}
}

// A server that is told to speak version 0 does so whatever the client says.
func TestOnlyProtocolV0(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{ProtocolV0: true})
	r := sim.Repo("acme/web").InMemory()
	r.Tag("v1.0.0", r.Commit(github.Files{"a": "b"}))
	resp, body := get(t, r.CloneURL()+"/info/refs?service=git-upload-pack", "", "Git-Protocol", "version=2")
	if resp.StatusCode != http.StatusOK || bytes.Contains(body, []byte("version 2")) || !bytes.Contains(body, []byte("refs/tags/v1.0.0")) {
		t.Errorf("%d: %q", resp.StatusCode, body)
	}
}

// Everything works over TLS for clients that trust the certificate.
func TestTLS(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{Enterprise: true, TLS: true})
	r := sim.Repo("acme/web")
	r.Tag("v1.0.0", r.Commit(github.Files{"a": "b"}))
	ca := t.TempDir() + "/ca.pem"
	writeFile(t, ca, sim.CA())
	if out, err := git(t, "-c", "http.sslCAInfo="+ca, "ls-remote", "--tags", r.CloneURL()); err != nil || !strings.Contains(out, "refs/tags/v1.0.0") {
		t.Errorf("git: %v\n%s", err, out)
	}
	if out, err := git(t, "ls-remote", r.CloneURL()); err == nil {
		t.Errorf("git without the certificate: %s", out)
	}
}
