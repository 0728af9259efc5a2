package watch

import "strings"

// index finds the apps that watch a repository, by its ID and by every name that
// it is known by.
type index struct {
	byID   map[string][]*watched
	byName map[string][]*watched
}

func newIndex() index {
	return index{byID: map[string][]*watched{}, byName: map[string][]*watched{}}
}

// file notes that a repository is the app's.
func (x index) file(a *watched, repo Repo) {
	if repo.ID != "" {
		put(x.byID, idKey(a.Host.Name(), repo.ID), a)
	}
	put(x.byName, nameKey(a.Host.Where(repo)), a)
}

func put(m map[string][]*watched, key string, a *watched) {
	for _, known := range m[key] {
		if known == a {
			return
		}
	}
	m[key] = append(m[key], a)
}

// drop forgets an app.
func (x index) drop(a *watched) {
	for _, m := range []map[string][]*watched{x.byID, x.byName} {
		for key, apps := range m {
			var left []*watched
			for _, other := range apps {
				if other != a {
					left = append(left, other)
				}
			}
			if len(left) == 0 {
				delete(m, key)
			} else if len(left) < len(apps) {
				m[key] = left
			}
		}
	}
}

// find returns the apps that may watch a repository. The host is the one that
// people see in addresses, such as github.com, whatever the repository is read with.
func (x index) find(host string, repo Repo) []*watched {
	var apps []*watched
	if repo.ID != "" {
		apps = append(apps, x.byID[idKey(host, repo.ID)]...)
	}
	if repo.Name == "" {
		return apps
	}
	for _, a := range x.byName[nameKey(host+"/"+repo.Name)] {
		if known := a.known.Load(); repo.ID != "" && known != nil && known.ID != "" {
			continue // it is found by its ID, or the name is another's by now
		}
		apps = append(apps, a)
	}
	return apps
}

func idKey(host, id string) string { return strings.ToLower(host) + "#" + id }

// nameKey is an address without what differs from one way to reach a repository
// to another: github.com/acme/web, for https and for ssh.
func nameKey(where string) string {
	_, rest, isURL := strings.Cut(where, "://")
	if !isURL {
		rest = where
	}
	if user, host, ok := strings.Cut(rest, "@"); ok && !strings.Contains(user, "/") {
		rest = host
		if !isURL {
			rest = strings.Replace(rest, ":", "/", 1)
		}
	}
	return strings.ToLower(strings.TrimSuffix(strings.TrimRight(rest, "/"), ".git"))
}

// WatchesRepo tells whether a repository is watched: by an app, or for its owner.
// The host is as in a hook, such as github.com.
func (w *Watcher) WatchesRepo(host string, repo Repo) bool {
	w.mu.RLock()
	watched := len(w.index.find(host, repo)) > 0
	w.mu.RUnlock()
	return watched || len(w.groupsOf(host, repo)) > 0
}

// watching returns the apps that watch a repository.
func (w *Watcher) watching(host string, repo Repo) []*watched {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.index.find(host, repo)
}
