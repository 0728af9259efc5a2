package events

// Release is what all facts about one release name: where, what, and which bytes.
type Release struct {
	Env     string `json:"env"`
	App     string `json:"app"`
	Version string `json:"version"`
	Digest  string `json:"digest"` // of the image
}

func (r *Release) validate(m *Meta) *fieldChecks {
	var c fieldChecks
	m.validate(&c)
	c.check("env", CheckPlace(r.Env))
	c.check("app", CheckApp(r.App))
	c.check("version", CheckVersion(r.Version))
	c.check("digest", CheckDigest(r.Digest))
	return &c
}

// ReleaseWanted says that a version is to run in an environment: by request, or
// because it was promoted. The newest one of an environment and app wins.
type ReleaseWanted struct {
	Meta
	Release
	TagSeq   uint64 `json:"tag_seq"`            // as in build.done
	Promoted string `json:"promoted,omitempty"` // what it was promoted from: build or an environment; empty for a request
}

func (*ReleaseWanted) Kind() Kind        { return KindReleaseWanted }
func (f *ReleaseWanted) Subject() string { return KindReleaseWanted.Subject(f.Env, f.App) }

func (f *ReleaseWanted) Validate() error {
	c := f.Release.validate(&f.Meta)
	c.forbid("tag_seq", f.TagSeq == 0, "is missing, expected the sequence of the tag.seen fact")
	return c.err()
}

// ReleaseStarted says that a releaser has begun to change the target.
type ReleaseStarted struct {
	Meta
	Release
	ReleaseID string `json:"release_id"`         // the target keeps it beside what it runs
	Replaces  string `json:"replaces,omitempty"` // the version that ran before
}

func (*ReleaseStarted) Kind() Kind        { return KindReleaseStarted }
func (f *ReleaseStarted) Subject() string { return KindReleaseStarted.Subject(f.Env, f.App) }

func (f *ReleaseStarted) Validate() error {
	c := f.Release.validate(&f.Meta)
	c.require("release_id", f.ReleaseID)
	return c.err()
}

// ReleaseDone says that the target itself reports the wanted digest running in
// the wanted number and healthy.
type ReleaseDone struct {
	Meta
	Release
	ReleaseID string   `json:"release_id"`
	Unchanged bool     `json:"unchanged,omitempty"` // it ran there already; nothing was touched
	Address   string   `json:"address,omitempty"`   // where it answers, such as http://127.0.0.1:8081
	Instances int      `json:"instances"`
	TagSeq    uint64   `json:"tag_seq"`
	Took      Duration `json:"took"`
}

func (*ReleaseDone) Kind() Kind        { return KindReleaseDone }
func (f *ReleaseDone) Subject() string { return KindReleaseDone.Subject(f.Env, f.App) }

func (f *ReleaseDone) Validate() error {
	c := f.Release.validate(&f.Meta)
	c.require("release_id", f.ReleaseID)
	c.forbid("instances", f.Instances < 1, "is %d, expected how many run", f.Instances)
	c.forbid("tag_seq", f.TagSeq == 0, "is missing, expected the sequence of the tag.seen fact")
	c.forbidNegative("took", f.Took)
	return c.err()
}

// ReleaseFailed says that a release was begun, did not become healthy, and what
// runs now instead.
type ReleaseFailed struct {
	Meta
	Release
	ReleaseID string `json:"release_id"`
	Reason    string `json:"reason"`
	Running   string `json:"running,omitempty"` // the version that runs after rollback; empty if none does
}

func (*ReleaseFailed) Kind() Kind        { return KindReleaseFailed }
func (f *ReleaseFailed) Subject() string { return KindReleaseFailed.Subject(f.Env, f.App) }

func (f *ReleaseFailed) Validate() error {
	c := f.Release.validate(&f.Meta)
	c.require("release_id", f.ReleaseID)
	c.require("reason", f.Reason)
	return c.err()
}

// ReleaseRefused says that nothing was touched, and why.
type ReleaseRefused struct {
	Meta
	Env     string `json:"env"` // as it was asked for; there may be no such environment
	App     string `json:"app"`
	Version string `json:"version"`
	Reason  string `json:"reason"`
}

func (*ReleaseRefused) Kind() Kind        { return KindReleaseRefused }
func (f *ReleaseRefused) Subject() string { return KindReleaseRefused.Subject(f.Env, f.App) }

func (f *ReleaseRefused) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("env", checkAskedPlace(f.Env))
	c.check("app", orUnknown(f.App, CheckApp))
	c.check("version", orUnknown(f.Version, CheckVersion))
	c.require("reason", f.Reason)
	return c.err()
}
