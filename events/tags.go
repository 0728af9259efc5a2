package events

import "fmt"

// Source is the source code of one commit, as staged for the builders.
type Source struct {
	Digest string `json:"digest"` // of the archive, sha256:…
	Size   int64  `json:"size"`   // of the archive, in bytes
}

// TagSeen says that a new version exists, and all that a builder needs to know.
// It happens once per version: a tag that moves is a [TagMoved].
type TagSeen struct {
	Meta
	App     string `json:"app"`
	Version string `json:"version"`
	Tag     string `json:"tag"`  // the git tag, such as web/v1.2.3
	Repo    string `json:"repo"` // where it was seen, without credentials
	// RepoID is what the host knows the repository by, whatever it is called; empty where there is no such thing.
	RepoID string `json:"repo_id,omitempty"`
	// Object is the object id that the tag names: of the tag object where it is annotated. Empty in facts of older versions.
	Object string `json:"object,omitempty"`
	Commit string `json:"commit"` // the object id the tag peels to
	Source Source `json:"source"`
	Recipe Recipe `json:"recipe"` // .tagship.yaml at that commit
}

func (*TagSeen) Kind() Kind        { return KindTagSeen }
func (f *TagSeen) Subject() string { return KindTagSeen.Subject(f.App, f.Version) }

func (f *TagSeen) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("app", CheckApp(f.App))
	c.check("version", CheckVersion(f.Version))
	c.require("tag", f.Tag)
	c.require("repo", f.Repo)
	if f.Object != "" {
		c.check("object", checkCommit(f.Object))
	}
	c.check("commit", checkCommit(f.Commit))
	c.check("source.digest", CheckDigest(f.Source.Digest))
	c.forbid("source.size", f.Source.Size <= 0, "is %d, expected the number of bytes", f.Source.Size)
	c.nest("recipe", f.Recipe.checks())
	return c.err()
}

// TagMoved says that a tag names another commit than it did. It is never built.
type TagMoved struct {
	Meta
	App     string `json:"app"`
	Version string `json:"version"`
	Tag     string `json:"tag"`
	Repo    string `json:"repo"`
	Old     string `json:"old"` // the commit that stays the version's
	New     string `json:"new"` // the commit the tag names now
	// Pusher is who moved it, where the host tells; it is not verified.
	Pusher string `json:"pusher,omitempty"`
	// Suspicion says why the move looks like an attack; empty if it does not.
	Suspicion string `json:"suspicion,omitempty"`
}

func (*TagMoved) Kind() Kind        { return KindTagMoved }
func (f *TagMoved) Subject() string { return KindTagMoved.Subject(f.App, f.Version) }

func (f *TagMoved) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("app", CheckApp(f.App))
	c.check("version", CheckVersion(f.Version))
	c.require("tag", f.Tag)
	c.check("old", checkCommit(f.Old))
	c.check("new", checkCommit(f.New))
	c.forbid("new", f.Old == f.New, "is the old commit: nothing moved")
	return c.err()
}

// TagDeleted says that a tag is gone from its repository. The version stays what it is.
type TagDeleted struct {
	Meta
	App     string `json:"app"`
	Version string `json:"version"`
	Tag     string `json:"tag"`
	Repo    string `json:"repo"`
	Commit  string `json:"commit"`           // the commit it named
	Pusher  string `json:"pusher,omitempty"` // who deleted it, where the host tells; it is not verified
}

func (*TagDeleted) Kind() Kind        { return KindTagDeleted }
func (f *TagDeleted) Subject() string { return KindTagDeleted.Subject(f.App, f.Version) }

func (f *TagDeleted) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("app", CheckApp(f.App))
	c.check("version", CheckVersion(f.Version))
	c.require("tag", f.Tag)
	c.check("commit", checkCommit(f.Commit))
	return c.err()
}

// TagRefused says that a tag, or a request to look at a repository, cannot become a version.
type TagRefused struct {
	Meta
	App     string `json:"app"`
	Version string `json:"version"`
	Tag     string `json:"tag,omitempty"`
	Commit  string `json:"commit,omitempty"`
	// Repo is where the tag is, without credentials, and RepoID what the host
	// knows that by; both are empty where it is about no tag of a repository.
	Repo   string `json:"repo,omitempty"`
	RepoID string `json:"repo_id,omitempty"`
	Reason string `json:"reason"`
}

func (*TagRefused) Kind() Kind        { return KindTagRefused }
func (f *TagRefused) Subject() string { return KindTagRefused.Subject(f.App, f.Version) }

func (f *TagRefused) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("app", orUnknown(f.App, CheckApp))
	c.check("version", orUnknown(f.Version, CheckVersion))
	c.require("reason", f.Reason)
	return c.err()
}

// TagLooked answers a request to look at an app's repository now.
type TagLooked struct {
	Meta
	App string `json:"app"`
	// New are the versions that were seen for the first time, if any.
	New []string `json:"new,omitempty"`
}

func (*TagLooked) Kind() Kind        { return KindTagLooked }
func (f *TagLooked) Subject() string { return KindTagLooked.Subject(f.App) }

func (f *TagLooked) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("app", CheckApp(f.App))
	for i, v := range f.New {
		c.check(fmt.Sprintf("new[%d]", i), CheckVersion(v))
	}
	return c.err()
}
