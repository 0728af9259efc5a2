// Package tell puts facts into words: one line for each, for people who watch.
package tell

import (
	"fmt"
	"strings"
	"time"

	"github.com/tagship/tagship/events"
)

// Mood is what a fact means for whoever waits for it.
type Mood int

// The moods of facts.
const (
	Neutral Mood = iota // a step on the way
	Good                // it is done
	Bad                 // it failed or was refused
)

// Fact says in one line what happened to what. The text may hold line breaks
// where a reason does.
func Fact(f events.Fact) (about, text string, mood Mood) {
	switch f := f.(type) {
	case *events.TagSeen:
		return name(f.App, f.Version), "seen at commit " + short(f.Commit), Good
	case *events.TagMoved:
		return name(f.App, f.Version), Moved(f), Bad
	case *events.TagDeleted:
		return name(f.App, f.Version), Deleted(f), Bad
	case *events.TagRefused:
		return name(f.App, f.Version), "tag refused: " + f.Reason, Bad
	case *events.TagLooked:
		return f.App, looked(f), Good
	case *events.BuildStarted:
		return name(f.App, f.Version), "compiling on the " + f.Executor + " executor", Neutral
	case *events.BuildDone:
		return name(f.App, f.Version), "built in " + took(f.Took) + made(f), Good
	case *events.BuildFailed:
		return name(f.App, f.Version), "build failed: " + f.Reason, Bad
	case *events.BuildRefused:
		return name(f.App, f.Version), "build refused: " + f.Reason, Bad
	}
	return placed(f)
}

// placed tells facts about an environment or a channel.
func placed(f events.Fact) (about, text string, mood Mood) {
	switch f := f.(type) {
	case *events.ReleaseWanted:
		return name(f.App, f.Version), "wanted in " + f.Env + promoted(f.Promoted), Neutral
	case *events.ReleaseStarted:
		return name(f.App, f.Version), "releasing to " + f.Env + replaces(f.Replaces), Neutral
	case *events.ReleaseDone:
		return name(f.App, f.Version), "runs in " + f.Env + running(f), Good
	case *events.ReleaseFailed:
		return name(f.App, f.Version), "release to " + f.Env + " failed: " + f.Reason + "; " + Remains(f), Bad
	case *events.ReleaseRefused:
		return name(f.App, f.Version), "release to " + f.Env + " refused: " + f.Reason, Bad
	case *events.CDNStarted:
		return name(f.App, f.Version), "publishing to " + f.Channel, Neutral
	case *events.CDNDone:
		return name(f.App, f.Version), "published to " + f.Channel + published(f), Good
	case *events.CDNFailed:
		return name(f.App, f.Version), "publication to " + f.Channel + " failed: " + f.Reason, Bad
	case *events.CDNRefused:
		return name(f.App, f.Version), "publication to " + f.Channel + " refused: " + f.Reason, Bad
	}
	return f.Subject(), "happened", Neutral
}

// Moved says where a tag went, and what it looks like.
func Moved(f *events.TagMoved) string {
	text := fmt.Sprintf("the tag moved from commit %s to %s%s; the version stays what it was", short(f.Old), short(f.New), by(", pushed by ", f.Pusher))
	if f.Suspicion != "" {
		text += "; " + f.Suspicion
	}
	return text
}

// Deleted says that a tag is gone.
func Deleted(f *events.TagDeleted) string {
	return fmt.Sprintf("the tag on commit %s was deleted%s; the version stays what it was", short(f.Commit), by(" by ", f.Pusher))
}

// by names whom the host names, if it does.
func by(words, login string) string {
	if login == "" {
		return ""
	}
	return words + login
}

// Remains says what runs after a release that failed.
func Remains(f *events.ReleaseFailed) string {
	if f.Running == "" {
		return "nothing runs there now"
	}
	return f.Running + " runs there"
}

func name(app, version string) string {
	if version == events.Unknown {
		return app
	}
	return app + "@" + version
}

func looked(f *events.TagLooked) string {
	if len(f.New) == 0 {
		return "no new version"
	}
	return "new: " + strings.Join(f.New, ", ")
}

func made(f *events.BuildDone) string {
	var b strings.Builder
	if f.Image != nil {
		b.WriteString(", image " + f.Image.Ref())
	}
	for _, p := range f.Packages {
		b.WriteString(", " + p.Name)
	}
	return b.String()
}

func promoted(from string) string {
	switch from {
	case "":
		return ""
	case "build":
		return ", promoted because it is built"
	}
	return ", promoted from " + from
}

func replaces(version string) string {
	if version == "" {
		return ""
	}
	return ", where " + version + " runs"
}

func running(f *events.ReleaseDone) string {
	var b strings.Builder
	if f.Address != "" {
		b.WriteString(" at " + f.Address)
	}
	if f.Unchanged {
		return b.String() + " already; nothing was changed"
	}
	instances := "1 instance"
	if f.Instances != 1 {
		instances = fmt.Sprintf("%d instances", f.Instances)
	}
	return b.String() + fmt.Sprintf(", %s, healthy after %s", instances, took(f.Took))
}

func published(f *events.CDNDone) string {
	var b strings.Builder
	if f.Unchanged {
		b.WriteString(" already; nothing was changed")
	}
	for _, file := range f.Files {
		b.WriteString("\n" + file.URL)
	}
	return b.String()
}

func short(commit string) string { return commit[:min(len(commit), 10)] }

func took(d events.Duration) string {
	return fmt.Sprintf("%.1fs", time.Duration(d).Seconds())
}
