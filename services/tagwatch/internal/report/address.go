package report

import (
	"net/url"
	"strings"
)

// locate tells the host and the path of a repository's address, in any of the
// forms that git knows: a URL, user@host:path, or host/path. Both are empty for
// one that is on no host.
func locate(address string) (host, path string) {
	if strings.Contains(address, "://") {
		u, err := url.Parse(address)
		if err != nil {
			return "", ""
		}
		if u.Scheme == "ssh" { // its port is not that of the API
			u.Host = u.Hostname()
		}
		host, path = u.Host, u.Path
	} else if before, after, found := strings.Cut(address, ":"); found && !strings.Contains(before, "/") && !strings.Contains(after, ":") {
		host, path = before[strings.LastIndex(before, "@")+1:], after
	} else {
		host, path, _ = strings.Cut(address, "/")
	}
	if host == "" {
		return "", ""
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	return strings.ToLower(host), path
}
