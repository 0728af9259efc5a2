package events

import (
	"fmt"
	"strings"
)

// BuildStarted says that a builder has begun to compile a version.
type BuildStarted struct {
	Meta
	App      string `json:"app"`
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Executor string `json:"executor"` // docker or host
}

func (*BuildStarted) Kind() Kind        { return KindBuildStarted }
func (f *BuildStarted) Subject() string { return KindBuildStarted.Subject(f.App, f.Version) }

func (f *BuildStarted) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("app", CheckApp(f.App))
	c.check("version", CheckVersion(f.Version))
	c.check("commit", checkCommit(f.Commit))
	c.require("executor", f.Executor)
	return c.err()
}

// Image is a runtime image in a registry, by content.
type Image struct {
	Repository string `json:"repository"` // registry and name, such as registry.internal:5000/web
	Digest     string `json:"digest"`     // of its manifest
}

// Ref is the image's reference by digest: repository@sha256:….
func (i Image) Ref() string { return i.Repository + "@" + i.Digest }

func (i Image) validate(c *fieldChecks, field string) {
	c.require(field+".repository", i.Repository)
	c.check(field+".digest", CheckDigest(i.Digest))
}

// Package is one file for the CDN, kept in the registry until it is published.
type Package struct {
	Name   string `json:"name"`   // the file's name, such as agent_1.0.0_amd64.deb
	Digest string `json:"digest"` // of the file
	Size   int64  `json:"size"`   // of the file, in bytes
}

// checkFileName keeps a package inside the folder it is published to.
func checkFileName(s string) error {
	if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\\\x00") {
		return fmt.Errorf("%q is not a file's name, expected one such as agent_1.0.0_amd64.deb", s)
	}
	return nil
}

// BuildDone says that a version is built, and holds all that is needed to
// release it. It happens once per version: these bytes and no others go from
// the first environment to the last.
type BuildDone struct {
	Meta
	App     string `json:"app"`
	Version string `json:"version"`
	Commit  string `json:"commit"`
	// TagSeq is the place of the version's tag.seen in its stream. Automation
	// compares it to tell which of two versions is the newer one.
	TagSeq    uint64 `json:"tag_seq"`
	Toolchain string `json:"toolchain,omitempty"` // the toolchain image by digest; empty if built on the host
	Image     *Image `json:"image,omitempty"`     // nil for an app that is only packages
	// PackageSet is the artifact that holds the packages; nil if there are none.
	PackageSet *Image    `json:"package_set,omitempty"`
	Packages   []Package `json:"packages,omitempty"`
	Deploy     *Deploy   `json:"deploy,omitempty"` // from the recipe; nil if the app is not released
	Took       Duration  `json:"took"`
}

func (*BuildDone) Kind() Kind        { return KindBuildDone }
func (f *BuildDone) Subject() string { return KindBuildDone.Subject(f.App, f.Version) }

func (f *BuildDone) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("app", CheckApp(f.App))
	c.check("version", CheckVersion(f.Version))
	c.check("commit", checkCommit(f.Commit))
	c.forbid("tag_seq", f.TagSeq == 0, "is missing, expected the sequence of the tag.seen fact")
	if f.Image != nil {
		f.Image.validate(&c, "image")
	}
	if f.PackageSet != nil {
		f.PackageSet.validate(&c, "package_set")
	}
	c.forbid("package_set", (f.PackageSet == nil) != (len(f.Packages) == 0), "and packages go together")
	c.forbid("image", f.Image == nil && len(f.Packages) == 0, "is missing, and so are packages: nothing was built")
	names := map[string]bool{}
	for i, p := range f.Packages {
		field := fmt.Sprintf("packages[%d]", i)
		c.check(field+".name", checkFileName(p.Name))
		c.forbid(field+".name", names[p.Name], "%q is the name of an earlier package too", p.Name)
		names[p.Name] = true
		c.check(field+".digest", CheckDigest(p.Digest))
		c.forbid(field+".size", p.Size < 0, "is %d, expected the number of bytes", p.Size)
	}
	c.forbid("deploy", f.Deploy != nil && f.Image == nil, "needs an image")
	if f.Deploy != nil {
		c.nest("deploy", f.Deploy.checks())
	}
	c.forbidNegative("took", f.Took)
	return c.err()
}

// BuildFailed says that a version could not be built, and why.
type BuildFailed struct {
	Meta
	App     string `json:"app"`
	Version string `json:"version"`
	Reason  string `json:"reason"`
}

func (*BuildFailed) Kind() Kind        { return KindBuildFailed }
func (f *BuildFailed) Subject() string { return KindBuildFailed.Subject(f.App, f.Version) }

func (f *BuildFailed) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("app", CheckApp(f.App))
	c.check("version", CheckVersion(f.Version))
	c.require("reason", f.Reason)
	return c.err()
}

// BuildRefused says that a request to build was not followed, and why.
type BuildRefused struct {
	Meta
	App     string `json:"app"`
	Version string `json:"version"`
	Reason  string `json:"reason"`
}

func (*BuildRefused) Kind() Kind        { return KindBuildRefused }
func (f *BuildRefused) Subject() string { return KindBuildRefused.Subject(f.App, f.Version) }

func (f *BuildRefused) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("app", orUnknown(f.App, CheckApp))
	c.check("version", orUnknown(f.Version, CheckVersion))
	c.require("reason", f.Reason)
	return c.err()
}
