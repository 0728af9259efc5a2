package github

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Files are the contents of a commit by path. A content may also be made by
// [Executable], [Symlink] or [Submodule].
type Files map[string]string

// Executable is a file that may be executed.
func Executable(content string) string { return "\x00100755 " + content }

// Symlink is a symbolic link.
func Symlink(target string) string { return "\x00120000 " + target }

// Submodule is another repository's commit, which is no part of an archive.
func Submodule(commit string) string { return "\x00160000 " + commit }

// The types of git objects, as the API names them.
const (
	TypeCommit = "commit"
	TypeTag    = "tag"
	TypeTree   = "tree"
	TypeBlob   = "blob"
)

// Object is a git object, whose ID is the one that git computes. Its fields must
// not be changed.
type Object struct {
	ID      string
	Type    string
	Date    time.Time // of a commit or a tag, in whole seconds
	Message string
	Name    string  // of a tag: what it calls itself
	Target  *Object // of a tag: what it names; of a commit: its tree
	Parent  *Object // of a commit; nil for the first

	content string
	entries []entry
	reasons []string // what checks of the signature say, one after another; the last stays
}

// entry is one name in a tree.
type entry struct {
	mode   string
	name   string
	id     string
	object *Object // nil for a submodule
}

// who made every commit and tag.
const (
	authorName  = "Mona Lisa"
	authorEmail = "mona@example.com"
	authorLogin = "mona"
)

// encode writes the object as git hashes and stores it, without its header.
func (o *Object) encode() []byte {
	var b bytes.Buffer
	by := fmt.Sprintf("%s <%s> %d +0000", authorName, authorEmail, o.Date.Unix())
	switch o.Type {
	case TypeBlob:
		b.WriteString(o.content)
	case TypeTree:
		for _, e := range o.entries {
			id, err := hex.DecodeString(e.id)
			if err != nil {
				panic("github: a submodule's commit is no hexadecimal number: " + e.id)
			}
			fmt.Fprintf(&b, "%s %s\x00%s", e.mode, e.name, id)
		}
	case TypeCommit:
		fmt.Fprintf(&b, "tree %s\n", o.Target.ID)
		if o.Parent != nil {
			fmt.Fprintf(&b, "parent %s\n", o.Parent.ID)
		}
		fmt.Fprintf(&b, "author %s\ncommitter %s\n\n%s\n", by, by, o.Message)
	case TypeTag:
		fmt.Fprintf(&b, "object %s\ntype %s\ntag %s\ntagger %s\n\n%s\n", o.Target.ID, o.Target.Type, o.Name, by, o.Message)
	}
	return b.Bytes()
}

// loose is the object as git stores it before compression.
func (o *Object) loose() []byte {
	body := o.encode()
	return append(fmt.Appendf(nil, "%s %d\x00", o.Type, len(body)), body...)
}

// hashed gives the object its ID.
func (o *Object) hashed() *Object {
	sum := sha1.Sum(o.loose())
	o.ID = hex.EncodeToString(sum[:])
	return o
}

// same tells whether two are one object, or both none.
func (o *Object) same(other *Object) bool {
	return o == other || o != nil && other != nil && o.ID == other.ID
}

// peel follows tags to what they name in the end.
func (o *Object) peel() *Object {
	for o.Type == TypeTag {
		o = o.Target
	}
	return o
}

// tree makes the tree of files.
func (files Files) tree() *Object {
	below := map[string]Files{}
	tree := &Object{Type: TypeTree}
	for path, content := range files {
		if dir, rest, nested := strings.Cut(path, "/"); nested {
			if below[dir] == nil {
				below[dir] = Files{}
			}
			below[dir][rest] = content
			continue
		}
		mode := "100644"
		if marked, is := strings.CutPrefix(content, "\x00"); is {
			mode, content, _ = strings.Cut(marked, " ")
		}
		e := entry{mode: mode, name: path, id: content}
		if mode != "160000" {
			e.object = (&Object{Type: TypeBlob, content: content}).hashed()
			e.id = e.object.ID
		}
		tree.entries = append(tree.entries, e)
	}
	for _, dir := range slices.Sorted(maps.Keys(below)) {
		sub := below[dir].tree()
		tree.entries = append(tree.entries, entry{mode: "40000", name: dir, id: sub.ID, object: sub})
	}
	slices.SortFunc(tree.entries, func(a, b entry) int { return strings.Compare(a.sortKey(), b.sortKey()) })
	return tree.hashed()
}

// sortKey is what git orders a tree by: a folder sorts as if its name ended in a slash.
func (e entry) sortKey() string {
	if e.mode == "40000" {
		return e.name + "/"
	}
	return e.name
}

// find looks up a path in a tree.
func (o *Object) find(path string) *Object {
	name, rest, nested := strings.Cut(path, "/")
	for _, e := range o.entries {
		switch {
		case e.name != name || e.object == nil:
		case !nested:
			return e.object
		case e.object.Type == TypeTree:
			return e.object.find(rest)
		}
	}
	return nil
}

// each calls visit for the object and all that it is made of.
func (o *Object) each(visit func(*Object) (deeper bool)) {
	if o == nil || !visit(o) {
		return
	}
	o.Target.each(visit)
	o.Parent.each(visit)
	for _, e := range o.entries {
		e.object.each(visit)
	}
}
