package events

import "fmt"

// CDNStarted says that the packages of a version are being published to a channel.
type CDNStarted struct {
	Meta
	Channel string `json:"channel"`
	App     string `json:"app"`
	Version string `json:"version"`
}

func (*CDNStarted) Kind() Kind        { return KindCDNStarted }
func (f *CDNStarted) Subject() string { return KindCDNStarted.Subject(f.Channel, f.App) }

func (f *CDNStarted) Validate() error {
	return checkPublication(&f.Meta, f.Channel, f.App, f.Version).err()
}

// Download is one published file.
type Download struct {
	URL    string `json:"url"`
	Digest string `json:"digest"` // of the file
	Size   int64  `json:"size"`   // of the file, in bytes
}

// CDNDone says that every package of a version can be downloaded.
type CDNDone struct {
	Meta
	Channel   string     `json:"channel"`
	App       string     `json:"app"`
	Version   string     `json:"version"`
	Files     []Download `json:"files"`
	Unchanged bool       `json:"unchanged,omitempty"` // all of it was there already, byte for byte
	Latest    bool       `json:"latest"`              // the channel's latest pointer names this version
	TagSeq    uint64     `json:"tag_seq"`             // as in build.done
	Took      Duration   `json:"took"`
}

func (*CDNDone) Kind() Kind        { return KindCDNDone }
func (f *CDNDone) Subject() string { return KindCDNDone.Subject(f.Channel, f.App) }

func (f *CDNDone) Validate() error {
	c := checkPublication(&f.Meta, f.Channel, f.App, f.Version)
	c.forbid("files", len(f.Files) == 0, "is empty, expected what was published")
	for i, file := range f.Files {
		c.require(fmt.Sprintf("files[%d].url", i), file.URL)
		c.check(fmt.Sprintf("files[%d].digest", i), CheckDigest(file.Digest))
		c.forbid(fmt.Sprintf("files[%d].size", i), file.Size < 0, "is %d, expected the number of bytes", file.Size)
	}
	c.forbid("tag_seq", f.TagSeq == 0, "is missing, expected the sequence of the tag.seen fact")
	c.forbidNegative("took", f.Took)
	return c.err()
}

// CDNFailed says that a publication was begun and could not be completed.
type CDNFailed struct {
	Meta
	Channel string `json:"channel"`
	App     string `json:"app"`
	Version string `json:"version"`
	Reason  string `json:"reason"`
}

func (*CDNFailed) Kind() Kind        { return KindCDNFailed }
func (f *CDNFailed) Subject() string { return KindCDNFailed.Subject(f.Channel, f.App) }

func (f *CDNFailed) Validate() error {
	c := checkPublication(&f.Meta, f.Channel, f.App, f.Version)
	c.require("reason", f.Reason)
	return c.err()
}

// CDNRefused says that nothing was published, and why.
type CDNRefused struct {
	Meta
	Channel string `json:"channel"` // as it was asked for; there may be no such channel
	App     string `json:"app"`
	Version string `json:"version"`
	Reason  string `json:"reason"`
}

func (*CDNRefused) Kind() Kind        { return KindCDNRefused }
func (f *CDNRefused) Subject() string { return KindCDNRefused.Subject(f.Channel, f.App) }

func (f *CDNRefused) Validate() error {
	var c fieldChecks
	f.Meta.validate(&c)
	c.check("channel", checkAskedPlace(f.Channel))
	c.check("app", orUnknown(f.App, CheckApp))
	c.check("version", orUnknown(f.Version, CheckVersion))
	c.require("reason", f.Reason)
	return c.err()
}

func checkPublication(m *Meta, channel, app, version string) *fieldChecks {
	var c fieldChecks
	m.validate(&c)
	c.check("channel", CheckPlace(channel))
	c.check("app", CheckApp(app))
	c.check("version", CheckVersion(version))
	return &c
}
