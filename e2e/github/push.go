package github

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Ref is a ref in a push. Name is a tag's short name, or any ref's full name. It
// is deleted if there is no Object.
type Ref struct {
	Name   string
	Object *Object
}

// zeroID stands for no object.
const zeroID = "0000000000000000000000000000000000000000"

// quietTags is how many tags may be pushed or deleted at once so that hooks hear of them.
const quietTags = 3

func (ref Ref) full() string {
	if strings.HasPrefix(ref.Name, "refs/heads/") || strings.HasPrefix(ref.Name, "refs/pull/") {
		return ref.Name
	}
	return "refs/tags/" + ref.Name
}

// Push pushes refs at once, as git push does. Hooks hear of each, but of no tag
// if more than 3 tags are made or deleted.
func (r *Repo) Push(refs ...Ref) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	r.push(refs)
}

// Tag makes a lightweight tag.
func (r *Repo) Tag(name string, o *Object) *Object {
	r.Push(Ref{name, o})
	return o
}

// TagAnnotated makes an annotated tag, and returns its object.
func (r *Repo) TagAnnotated(name string, o *Object) *Object {
	return r.Tag(name, r.Annotate(name, o))
}

// TagNested makes a tag whose object names another tag's, and returns the outer one.
func (r *Repo) TagNested(name string, o *Object) *Object {
	return r.Tag(name, r.Annotate(name, r.Annotate(name+"-inner", o)))
}

// TagBlob makes a tag that names a file's content and so nothing that could be built.
func (r *Repo) TagBlob(name, content string) *Object { return r.Tag(name, r.Blob(content)) }

// MoveTag makes a tag name something else, by force where that is needed.
func (r *Repo) MoveTag(name string, o *Object) { r.Push(Ref{name, o}) }

// DeleteTag deletes tags at once.
func (r *Repo) DeleteTag(names ...string) {
	refs := make([]Ref, len(names))
	for i, name := range names {
		refs[i].Name = name
	}
	r.Push(refs...)
}

func (r *Repo) push(refs []Ref) {
	now := r.sim.now()
	made, gone := 0, 0
	for _, ref := range refs {
		tag, was := strings.HasPrefix(ref.full(), "refs/tags/"), r.refs[ref.full()]
		if tag && was == nil && ref.Object != nil {
			made++
		}
		if tag && was != nil && ref.Object == nil {
			gone++
		}
	}
	batch := r.newBatch()
	for _, ref := range refs {
		name := ref.full()
		was, is := r.refs[name], ref.Object
		if was.same(is) {
			continue
		}
		if r.sim.lag > 0 {
			r.late = append(r.late, change{ref: name, was: was, until: now.Add(r.sim.lag)})
		}
		if is == nil {
			delete(r.refs, name)
		} else {
			r.refs[name] = r.keep(is)
		}
		// Branches are still heard of; a tag in a big push is not.
		quiet := strings.HasPrefix(name, "refs/tags/") && (made > quietTags || gone > quietTags)
		if quiet || strings.HasPrefix(name, "refs/pull/") {
			continue
		}
		if was == nil {
			batch.add("create", "", func() fields { return r.createPayload(name) })
		}
		if is == nil {
			batch.add("delete", "", func() fields { return r.deletePayload(name) })
		}
		batch.add("push", "", func() fields { return r.pushPayload(name, was, is) })
	}
	r.pushed = now.UTC().Truncate(time.Second)
	r.touch()
	batch.send()
}

// Release is what is published with a tag.
type Release struct {
	Tag        string
	Target     *Object // where the tag is made if there is none: a commit; the default branch's if nil
	Prerelease bool
	// Silent makes the tag without a create and a push event: reports disagree on whether they are sent.
	Silent bool
}

// DraftRelease saves a draft, which makes no tag.
func (r *Repo) DraftRelease(release Release) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	r.emit("release", "created", fields{"release": r.releaseJSON(release, true)})
}

// PublishRelease publishes a release, with a lightweight tag if there is none of that name.
func (r *Repo) PublishRelease(release Release) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	name := "refs/tags/" + release.Tag
	if r.refs[name] == nil {
		target := release.Target
		if target == nil {
			target = r.refs[defaultBranch]
		}
		if release.Silent {
			r.refs[name] = r.keep(target)
			r.touch()
		} else {
			r.push([]Ref{{release.Tag, target}})
		}
	}
	batch := r.newBatch()
	kind := "released"
	if release.Prerelease {
		kind = "prereleased"
	}
	for _, action := range []string{"created", "published", kind} {
		batch.add("release", action, func() fields { return fields{"release": r.releaseJSON(release, false)} })
	}
	batch.send()
}

// Star causes an event that is about no tag.
func (r *Repo) Star() {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	r.emit("star", "created", fields{"starred_at": r.sim.now().UTC().Format(time.RFC3339)})
}

// Tags are the tags of the repository by name, whether visible yet or not.
func (r *Repo) Tags() map[string]*Object {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	tags := map[string]*Object{}
	for _, name := range slices.Collect(maps.Keys(r.refs)) {
		if tag, is := strings.CutPrefix(name, "refs/tags/"); is {
			tags[tag] = r.refs[name]
		}
	}
	return tags
}

// isAncestor tells whether a commit leads to another.
func isAncestor(a, b *Object) bool {
	for ; b != nil; b = b.Parent {
		if a.same(b) {
			return true
		}
	}
	return false
}
