package git

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

// Address is where a repository is. The zero Address is none; see [ParseAddress].
type Address struct {
	url      string // as git is given it, without credentials
	name     string // for people, and to tell repositories apart
	host     string // scheme and host, where git is to use the credentials; empty for a path or ssh
	user     string
	password string
	local    bool
}

// scpLike is user@host:path, see "GIT URLS" in git-fetch(1).
var scpLike = regexp.MustCompile(`^([A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:[^:].*$`)

// hostPath is host/path, where the host has a dot in it or a port behind it.
var hostPath = regexp.MustCompile(`^[A-Za-z0-9-]+((\.[A-Za-z0-9-]+)+(:[0-9]+)?|:[0-9]+)/.+$`)

var errAddress = errors.New("is not a repository, expected one such as github.com/acme/web, https://git.example.org/web.git, git@git.example.org:web.git or /srv/git/web.git")

// ParseAddress reads the address of a repository: an absolute path, a URL of
// https, http, ssh, git or file, what scp calls user@host:path, or host/path for
// https. Credentials in it are kept apart from it and appear in no error.
func ParseAddress(text string) (Address, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return Address{}, errors.New("contains white space or a control character")
	}
	switch {
	case filepath.IsAbs(text):
		path := filepath.Clean(text)
		return Address{url: path, name: path, local: true}, nil
	case strings.Contains(text, "://"):
		return parseURL(text)
	case hostPath.MatchString(text):
		return parseURL("https://" + text)
	case scpLike.MatchString(text):
		return Address{url: text, name: plain(text)}, nil
	}
	return Address{}, errAddress
}

func parseURL(text string) (Address, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Address{}, errAddress // the cause would repeat the URL, credentials and all
	}
	if u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return Address{}, errors.New("has a query or a fragment, which no repository's address has")
	}
	if u.Path == "" || u.Path == "/" {
		return Address{}, errAddress
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || u.User != nil {
			return Address{}, errors.New("names a host, expected file:///path")
		}
		return ParseAddress(u.Path)
	case "ssh":
		if u.Host == "" {
			return Address{}, errAddress
		}
		if _, secret := u.User.Password(); secret {
			return Address{}, errors.New("has a password, which ssh cannot use; set git.ssh_key")
		}
		return Address{url: u.String(), name: plain(u.String())}, nil
	case "https", "http", "git":
		return remote(u)
	}
	return Address{}, fmt.Errorf("is a URL of %s, expected https, http, ssh, git or file", u.Scheme)
}

func remote(u *url.URL) (Address, error) {
	if u.Hostname() == "" {
		return Address{}, errAddress
	}
	u.Host = strings.ToLower(u.Host)
	a := Address{host: u.Scheme + "://" + u.Host}
	if u.User != nil {
		if u.Scheme == "git" {
			return Address{}, errors.New("has credentials, which the git protocol cannot use; use https or ssh")
		}
		a.user = u.User.Username()
		a.password, _ = u.User.Password()
		u.User = nil
	}
	a.url = u.String()
	a.name = plain(a.url)
	return a, nil
}

// plain drops what makes no difference to which repository is meant.
func plain(address string) string {
	return strings.TrimSuffix(strings.TrimRight(address, "/"), ".git")
}

// WithCredentials returns the address with a user and password to give to its
// host. They replace those in the address.
func (a Address) WithCredentials(user, password string) (Address, error) {
	if user == "" && password == "" {
		return a, nil
	}
	if strings.ContainsAny(user+password, "\n\r\x00") {
		return Address{}, errors.New("a user or password cannot contain a line break")
	}
	if a.host == "" || strings.HasPrefix(a.host, "git:") {
		return Address{}, errors.New("a user and password are of use with http and https only")
	}
	a.user, a.password = user, password
	return a, nil
}

// String is the address for people, without credentials.
func (a Address) String() string { return a.name }

// server is what the repository is reached through: a scheme and a host, or for
// ssh a user and a host; empty for a path.
func (a Address) server() string {
	if a.host != "" || a.local {
		return a.host
	}
	server, _, _ := strings.Cut(strings.Replace(strings.TrimPrefix(a.url, "ssh://"), ":", "/", 1), "/")
	return server
}

// exposesPassword tells whether the address is plain HTTP to another machine, so
// that a password could be read on the way.
func (a Address) exposesPassword() bool {
	if a.secret() == "" || !strings.HasPrefix(a.host, "http://") {
		return false
	}
	host := strings.TrimPrefix(a.host, "http://")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// secret is the password, or the user where a token stands in its place. No
// token is as short as the users that addresses name without a password.
func (a Address) secret() string {
	const shortestToken = 8
	if a.password == "" && len(a.user) < shortestToken {
		return ""
	}
	return cmp.Or(a.password, a.user)
}

// redact removes the secret from a text.
func (a Address) redact(text string) string {
	secret := a.secret()
	if secret == "" {
		return text
	}
	return strings.NewReplacer(secret, "[redacted]", url.QueryEscape(secret), "[redacted]", url.PathEscape(secret), "[redacted]").Replace(text)
}

// Web is the host and the path of an address of http or https, without slashes
// at its ends and without .git; empty for any other address.
func (a Address) Web() (host, path string) {
	scheme, host, found := strings.Cut(a.host, "://")
	if !found || scheme != "https" && scheme != "http" {
		return "", ""
	}
	return host, strings.Trim(strings.TrimPrefix(a.name, a.host), "/")
}
