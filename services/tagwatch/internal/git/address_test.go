package git

import (
	"regexp"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, url, name string }{
		{"/srv/git/web.git", "/srv/git/web.git", "/srv/git/web.git"},
		{"/srv/git//web.git/", "/srv/git/web.git", "/srv/git/web.git"},
		{"file:///srv/git/web.git", "/srv/git/web.git", "/srv/git/web.git"},
		{"github.com/acme/web", "https://github.com/acme/web", "https://github.com/acme/web"},
		{"github.com/acme/web.git", "https://github.com/acme/web.git", "https://github.com/acme/web"},
		{"localhost:3000/acme/web", "https://localhost:3000/acme/web", "https://localhost:3000/acme/web"},
		{"https://Git.Example.org/web/", "https://git.example.org/web/", "https://git.example.org/web"},
		{"https://ann:s3cret@git.example.org/web.git", "https://git.example.org/web.git", "https://git.example.org/web"},
		{"http://[::1]:8080/web.git", "http://[::1]:8080/web.git", "http://[::1]:8080/web"},
		{"git://git.example.org/web", "git://git.example.org/web", "git://git.example.org/web"},
		{"ssh://git@git.example.org:2222/web.git", "ssh://git@git.example.org:2222/web.git", "ssh://git@git.example.org:2222/web"},
		{"git@github.com:acme/web.git", "git@github.com:acme/web.git", "git@github.com:acme/web"},
		{"github.com:acme/web", "github.com:acme/web", "github.com:acme/web"},
	} {
		a, err := ParseAddress(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if a.url != test.url || a.String() != test.name {
			t.Errorf("%s is %s for git and %s for people, expected %s and %s", test.text, a.url, a, test.url, test.name)
		}
	}
	for _, bad := range []string{
		"", "web", "./web.git", "../web", "acme/web", "-x", "--upload-pack=id", "-oProxyCommand=id:web", "ext::sh -c id", "ext::id",
		"https://", "https://s3cret@", "https://git.example.org", "https://git.example.org/", "https://git.example.org/web?token=s3cret",
		"https://git.example.org/web#s3cret", "ftp://git.example.org/web", "https://ann:s3cret@git example.org/web", "https://ann:s3cret@[/web",
		"git://ann:s3cret@git.example.org/web", "ssh://ann:s3cret@git.example.org/web", "file://other/web", "https://a/\nweb", "/srv/a\x00b",
	} {
		a, err := ParseAddress(bad)
		if err == nil {
			t.Errorf("%q is accepted as %s", bad, a.url)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: the error repeats the secret: %v", bad, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	a, err := ParseAddress("https://ghp_0123456789abcdef@git.example.org/web.git")
	if err != nil {
		t.Fatal(err)
	}
	if got := a.redact("no ghp_0123456789abcdef here"); got != "no [redacted] here" {
		t.Errorf("redacted to %q", got)
	}
	a, err = a.WithCredentials("ann", "p/w d")
	if err != nil {
		t.Fatal(err)
	}
	if got := a.redact("ann has p/w d, p%2Fw+d and p%2Fw%20d"); got != "ann has [redacted], [redacted] and [redacted]" {
		t.Errorf("redacted to %q", got)
	}
	if _, err := a.WithCredentials("ann", "x\npassword=y"); err == nil {
		t.Error("accepted a password with a line break")
	}
	path, err := ParseAddress("/srv/git/web.git")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := path.WithCredentials("ann", "x"); err == nil {
		t.Error("accepted a password for a folder")
	}
	for address, exposes := range map[string]bool{
		"http://git.example.org/web": true, "https://git.example.org/web": false, "http://127.0.0.1:80/web": false, "http://[::1]/web": false, "http://localhost:3000/web": false,
	} {
		a, err := ParseAddress(address)
		if err == nil {
			a, err = a.WithCredentials("ann", "secret")
		}
		if err != nil {
			t.Fatal(err)
		}
		if a.exposesPassword() != exposes {
			t.Errorf("%s exposes the password: %t, expected %t", address, !exposes, exposes)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	helper := regexp.MustCompile(`^[A-Za-z0-9.+-]*::`)
	for _, seed := range []string{"/srv/web.git", "https://u:p@h.org/x", "git@h:x", "h.org/x", "ssh://h/x", "ext::x", "-x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			return
		}
		// <transport>::<address> would run a program, see gitremote-helpers(7).
		if strings.HasPrefix(a.url, "-") || helper.MatchString(a.url) {
			t.Errorf("%q gives git %q", text, a.url)
		}
		if a.password != "" && len(a.password) > 12 && strings.Contains(a.name, a.password) && !strings.Contains(strings.Replace(text, a.password, "", 1), a.password) {
			t.Errorf("%q shows its password as %q", text, a.name)
		}
	})
}

func TestServer(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://git.example.org:8443/acme/web.git": "https://git.example.org:8443",
		"git.example.org/acme/web":                  "https://git.example.org",
		"git@git.example.org:acme/web.git":          "git@git.example.org",
		"ssh://git@git.example.org/acme/web.git":    "git@git.example.org",
		"ssh://git@git.example.org:22/acme/web.git": "git@git.example.org",
		"git://git.example.org/acme/web.git":        "git://git.example.org",
		"/srv/git/web.git":                          "",
	} {
		a, err := ParseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.server(); got != want {
			t.Errorf("%s is reached through %q, want %q", text, got, want)
		}
	}
}
