package github

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Owner is an organisation or a user.
type Owner struct {
	Login string
	ID    int64
	User  bool // it is a person, not an organisation
}

// Repo is a repository.
type Repo struct {
	sim *Sim

	// What follows is guarded by the mutex of sim.
	id       int64
	owner    *Owner
	name     string
	created  time.Time
	pushed   time.Time
	updated  time.Time
	private  bool
	archived bool
	disabled bool
	deleted  bool
	memory   bool
	lostTo   map[*Token]bool
	refs     map[string]*Object // by full name
	late     []change           // not visible yet
	objects  map[string]*Object
	statuses []Status
	deploys  []*Deployment
	disk     diskCopy
}

// change is what a ref was before it changed.
type change struct {
	ref   string
	was   *Object
	until time.Time // when the world may know
}

// diskCopy is what git has of a repository on disk.
type diskCopy struct {
	mu      sync.Mutex
	refs    string // what its file says
	written map[string]bool
}

// defaultBranch is where commits go.
const defaultBranch = "refs/heads/main"

// User makes the owner of that name a person instead of an organisation.
func (s *Sim) User(login string) *Owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owner(login)
	o.User = true
	return o
}

func (s *Sim) owner(login string) *Owner {
	o := s.owners[strings.ToLower(login)]
	if o == nil {
		o = &Owner{Login: login, ID: s.id()}
		s.owners[strings.ToLower(login)] = o
	}
	return o
}

// Repo is the repository of that name, which is made, empty and public, if there is none.
func (s *Sim) Repo(name string) *Repo {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.names[strings.ToLower(name)]; r != nil {
		return r
	}
	return s.create(name)
}

// Reuse makes another repository of a name that was left by a rename, a transfer or a deletion.
func (s *Sim) Reuse(name string) *Repo { return s.Repo(name) }

func (s *Sim) create(name string) *Repo {
	login, short, ok := strings.Cut(name, "/")
	if !ok {
		panic("github: a repository is called owner/name, not " + name)
	}
	now := s.now().UTC().Truncate(time.Second)
	r := &Repo{
		sim: s, id: s.id(), owner: s.owner(login), name: short, created: now, pushed: now, updated: now,
		refs: map[string]*Object{}, objects: map[string]*Object{}, lostTo: map[*Token]bool{},
	}
	s.names[strings.ToLower(name)] = r
	s.ids[r.id] = r
	delete(s.former, strings.ToLower(name))
	return r
}

// Fleet makes n repositories owner/name-00000 and so on, with one commit of files
// and the given tags on it each. They are kept in memory, and answer git and
// requests for archives from there, so that there may be tens of thousands. Their
// hooks are silent while they are made.
func (s *Sim) Fleet(owner, name string, n int, files Files, tags ...string) []*Repo {
	s.mu.Lock()
	defer s.mu.Unlock()
	tree := files.tree()
	repos := make([]*Repo, n)
	for i := range repos {
		r := s.create(fmt.Sprintf("%s/%s-%05d", owner, name, i))
		r.memory = true
		c := r.keep((&Object{Type: TypeCommit, Date: r.created, Message: "Begin " + r.fullName(), Target: tree}).hashed())
		r.refs[defaultBranch] = c
		for _, tag := range tags {
			r.refs["refs/tags/"+tag] = c
		}
		repos[i] = r
	}
	return repos
}

// ID is the number that the repository keeps whatever it is called.
func (r *Repo) ID() int64 { return r.id }

// Name is owner/name as it is now.
func (r *Repo) Name() string {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	return r.fullName()
}

// NodeID is how GraphQL knows the repository.
func (r *Repo) NodeID() string { return nodeID("R", r.id) }

// CloneURL is where git finds the repository.
func (r *Repo) CloneURL() string { return r.sim.Git() + r.Name() + ".git" }

func (r *Repo) fullName() string { return r.owner.Login + "/" + r.name }

// nodeID makes an id of GraphQL, in the format that it has today.
func nodeID(kind string, id int64) string {
	b := binary.BigEndian.AppendUint32([]byte{0x92, 0x00, 0xce}, uint32(id))
	return kind + "_" + base64.RawURLEncoding.EncodeToString(b)
}

// nodeNumber reads an id made by nodeID.
func nodeNumber(kind, id string) (int64, bool) {
	text, is := strings.CutPrefix(id, kind+"_")
	b, err := base64.RawURLEncoding.DecodeString(text)
	if !is || err != nil || len(b) != 7 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint32(b[3:])), true
}

// InMemory answers git's lists of refs and requests for archives without running git.
func (r *Repo) InMemory() *Repo {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	r.memory = true
	return r
}

// Rename gives the repository another name; the old one redirects to it.
func (r *Repo) Rename(name string) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	r.moveTo(r.owner, name)
}

// Transfer gives the repository to another owner; the old name redirects to it.
func (r *Repo) Transfer(login string) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	r.moveTo(r.sim.owner(login), r.name)
}

func (r *Repo) moveTo(owner *Owner, name string) {
	s := r.sim
	before, old := r.owner, r.name
	key := strings.ToLower(r.fullName())
	delete(s.names, key)
	s.former[key] = r
	r.owner, r.name = owner, name
	s.names[strings.ToLower(r.fullName())] = r
	delete(s.former, strings.ToLower(r.fullName()))
	r.touch()
	if before == owner {
		r.emit("repository", "renamed", fields{"changes": fields{"repository": fields{"name": fields{"from": old}}}})
	} else {
		r.emit("repository", "transferred", fields{"changes": fields{"owner": fields{"from": fields{"organization": before.json(s)}}}})
	}
}

// Delete removes the repository; nothing redirects from its name.
func (r *Repo) Delete() {
	s := r.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	r.emit("repository", "deleted", nil)
	r.deleted = true
	delete(s.names, strings.ToLower(r.fullName()))
	delete(s.ids, r.id)
	maps.DeleteFunc(s.former, func(_ string, x *Repo) bool { return x == r })
}

// Archive marks the repository as archived, or no longer.
func (r *Repo) Archive(on bool) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	r.archived = on
	r.touch()
	action := "unarchived"
	if on {
		action = "archived"
	}
	r.emit("repository", action, nil)
}

// Private hides the repository from those who have no access, or no longer.
func (r *Repo) Private(on bool) *Repo {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	r.private = on
	r.touch()
	return r
}

// Disable marks the repository as disabled by the host, or no longer.
func (r *Repo) Disable(on bool) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	r.disabled = on
	r.touch()
}

// Shut takes a token's access to the repository away, even if it is public.
func (r *Repo) Shut(t *Token) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	r.lostTo[t] = true
}

// Open undoes [Repo.Shut].
func (r *Repo) Open(t *Token) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	delete(r.lostTo, t)
}

// touch moves the time of the last update.
func (r *Repo) touch() { r.updated = r.sim.now().UTC().Truncate(time.Second) }

// Commit makes a commit on the default branch and pushes it. The files are all
// that it has, not what it changes.
func (r *Repo) Commit(files Files) *Object {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	return r.commitAt(r.sim.now(), files)
}

// CommitAt is [Repo.Commit] with another date.
func (r *Repo) CommitAt(at time.Time, files Files) *Object {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	return r.commitAt(at, files)
}

func (r *Repo) commitAt(at time.Time, files Files) *Object {
	c := r.newCommit(at, r.refs[defaultBranch], files)
	r.push([]Ref{{Name: defaultBranch, Object: c}})
	return c
}

// Stray makes a commit that is on no branch, and so visible only through tags.
func (r *Repo) Stray(files Files) *Object {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	return r.newCommit(r.sim.now(), nil, files)
}

func (r *Repo) newCommit(at time.Time, parent *Object, files Files) *Object {
	// The number makes two commits of one second and content differ.
	message := fmt.Sprintf("Change %d", len(r.objects)+1)
	return r.keep((&Object{Type: TypeCommit, Date: at.UTC().Truncate(time.Second), Message: message, Target: files.tree(), Parent: parent}).hashed())
}

// Annotate makes a tag object without pushing it. Its target may be a tag too.
func (r *Repo) Annotate(name string, target *Object) *Object {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	return r.keep((&Object{
		Type: TypeTag, Name: name, Target: target, Date: r.sim.now().UTC().Truncate(time.Second),
		Message: fmt.Sprintf("%s, the %d. object", name, len(r.objects)+1),
	}).hashed())
}

// Blob makes a blob, which a tag may name too.
func (r *Repo) Blob(content string) *Object {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	return r.keep((&Object{Type: TypeBlob, content: content}).hashed())
}

// Sign sets what checks of the object's signature answer, one after another; the
// last answer stays. The answers are the API's reasons, such as valid, unsigned,
// invalid, or gpgverify_unavailable.
func (r *Repo) Sign(o *Object, reasons ...string) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	o.reasons = reasons
}

// keep adds an object, and all that it is made of, to the repository.
func (r *Repo) keep(o *Object) *Object {
	o.each(func(x *Object) bool {
		if r.objects[x.ID] != nil {
			return false
		}
		r.objects[x.ID] = x
		return true
	})
	return r.objects[o.ID]
}

// Prune forgets the objects that no ref reaches, as GitHub may at any time.
func (r *Repo) Prune() {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	kept := map[string]*Object{}
	for _, o := range r.refs {
		o.each(func(x *Object) bool {
			if kept[x.ID] != nil {
				return false
			}
			kept[x.ID] = x
			return true
		})
	}
	r.objects = kept
}

// visible is the refs as the API and git show them, which must not be changed.
func (r *Repo) visible() map[string]*Object {
	now := r.sim.now()
	r.late = slices.DeleteFunc(r.late, func(c change) bool { return !now.Before(c.until) })
	if len(r.late) == 0 {
		return r.refs
	}
	seen := maps.Clone(r.refs)
	for _, c := range slices.Backward(r.late) {
		if c.was == nil {
			delete(seen, c.ref)
		} else {
			seen[c.ref] = c.was
		}
	}
	return seen
}

// refNames are the names of visible refs with a prefix, in the order of versions.
func (r *Repo) refNames(prefix string) []string {
	var names []string
	for name := range r.visible() {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	sortVersions(names)
	return names
}

// resolve finds what a revision means: a full ref, a tag, a branch, or an object's ID.
func (r *Repo) resolve(rev string) *Object {
	refs := r.visible()
	if rev == "" || rev == "HEAD" {
		return refs[defaultBranch]
	}
	for _, name := range []string{rev, "refs/" + rev, "refs/tags/" + rev, "refs/heads/" + rev} {
		if o := refs[name]; o != nil {
			return o
		}
	}
	return r.objects[rev]
}
