package events

import (
	"fmt"
	"strings"
)

// Streams of the pipeline. Each is written by one service, except Dead and Logs.
const (
	StreamTags     = "TAGS"
	StreamBuilds   = "BUILDS"
	StreamReleases = "RELEASES"
	StreamCDN      = "CDN"
	StreamDead     = "DEAD"
	StreamLogs     = "LOGS"
)

// Kind is what a subject begins with: one token for a request, two for a fact.
type Kind string

// The kinds of messages. What follows the kind in a subject stands beside it.
const (
	TagRequested     Kind = "tag"     // <app>
	BuildRequested   Kind = "build"   // <app>
	ReleaseRequested Kind = "release" // <env>
	CDNRequested     Kind = "cdn"     // <channel>

	KindTagSeen    Kind = "tag.seen"    // <app>.<version>, once
	KindTagMoved   Kind = "tag.moved"   // <app>.<version>
	KindTagRefused Kind = "tag.refused" // <app>.<version>
	KindTagLooked  Kind = "tag.looked"  // <app>

	KindBuildStarted Kind = "build.started" // <app>.<version>
	KindBuildDone    Kind = "build.done"    // <app>.<version>, once
	KindBuildFailed  Kind = "build.failed"  // <app>.<version>
	KindBuildRefused Kind = "build.refused" // <app>.<version>

	KindReleaseWanted  Kind = "release.wanted"  // <env>.<app>
	KindReleaseStarted Kind = "release.started" // <env>.<app>
	KindReleaseDone    Kind = "release.done"    // <env>.<app>
	KindReleaseFailed  Kind = "release.failed"  // <env>.<app>
	KindReleaseRefused Kind = "release.refused" // <env>.<app>

	KindCDNStarted Kind = "cdn.started" // <channel>.<app>
	KindCDNDone    Kind = "cdn.done"    // <channel>.<app>
	KindCDNFailed  Kind = "cdn.failed"  // <channel>.<app>
	KindCDNRefused Kind = "cdn.refused" // <channel>.<app>
)

// definition is what is known of a kind: where it lives, the names that follow
// it in a subject, and an empty message of it to decode into.
type definition struct {
	kind   Kind
	stream string
	tokens []string
	once   bool // at most one such fact per subject, ever
	fresh  func() Event
}

func definitions() []definition {
	appVersion, envApp, channelApp := []string{"app", "version"}, []string{"env", "app"}, []string{"channel", "app"}
	return []definition{
		{TagRequested, StreamTags, []string{"app"}, false, func() Event { return &Request{kind: TagRequested} }},
		{KindTagSeen, StreamTags, appVersion, true, func() Event { return &TagSeen{} }},
		{KindTagMoved, StreamTags, appVersion, false, func() Event { return &TagMoved{} }},
		{KindTagRefused, StreamTags, appVersion, false, func() Event { return &TagRefused{} }},
		{KindTagLooked, StreamTags, []string{"app"}, false, func() Event { return &TagLooked{} }},

		{BuildRequested, StreamBuilds, []string{"app"}, false, func() Event { return &Request{kind: BuildRequested} }},
		{KindBuildStarted, StreamBuilds, appVersion, false, func() Event { return &BuildStarted{} }},
		{KindBuildDone, StreamBuilds, appVersion, true, func() Event { return &BuildDone{} }},
		{KindBuildFailed, StreamBuilds, appVersion, false, func() Event { return &BuildFailed{} }},
		{KindBuildRefused, StreamBuilds, appVersion, false, func() Event { return &BuildRefused{} }},

		{ReleaseRequested, StreamReleases, []string{"env"}, false, func() Event { return &Request{kind: ReleaseRequested} }},
		{KindReleaseWanted, StreamReleases, envApp, false, func() Event { return &ReleaseWanted{} }},
		{KindReleaseStarted, StreamReleases, envApp, false, func() Event { return &ReleaseStarted{} }},
		{KindReleaseDone, StreamReleases, envApp, false, func() Event { return &ReleaseDone{} }},
		{KindReleaseFailed, StreamReleases, envApp, false, func() Event { return &ReleaseFailed{} }},
		{KindReleaseRefused, StreamReleases, envApp, false, func() Event { return &ReleaseRefused{} }},

		{CDNRequested, StreamCDN, []string{"channel"}, false, func() Event { return &Request{kind: CDNRequested} }},
		{KindCDNStarted, StreamCDN, channelApp, false, func() Event { return &CDNStarted{} }},
		{KindCDNDone, StreamCDN, channelApp, false, func() Event { return &CDNDone{} }},
		{KindCDNFailed, StreamCDN, channelApp, false, func() Event { return &CDNFailed{} }},
		{KindCDNRefused, StreamCDN, channelApp, false, func() Event { return &CDNRefused{} }},
	}
}

// Kinds lists every kind, requests and facts, in the order of the pipeline.
func Kinds() []Kind {
	var kinds []Kind
	for _, d := range definitions() {
		kinds = append(kinds, d.kind)
	}
	return kinds
}

func definitionOf(k Kind) (definition, bool) {
	for _, d := range definitions() {
		if d.kind == k {
			return d, true
		}
	}
	return definition{}, false
}

// Stream is the name of the stream that holds messages of this kind.
func (k Kind) Stream() string {
	d, _ := definitionOf(k)
	return d.stream
}

// Once reports whether such a fact happens at most once per subject.
func (k Kind) Once() bool {
	d, _ := definitionOf(k)
	return d.once
}

// Request reports whether messages of this kind ask, rather than state a fact.
func (k Kind) Request() bool { return !strings.Contains(string(k), ".") }

// Subject is the subject of a message of this kind about the given names, which
// are escaped: KindBuildDone.Subject("web", "v1.0") is "build.done.web.v1=2E0".
func (k Kind) Subject(names ...string) string {
	var b strings.Builder
	b.WriteString(string(k))
	for _, name := range names {
		b.WriteByte('.')
		b.WriteString(Escape(name))
	}
	return b.String()
}

// All is the filter for every message of this kind.
func (k Kind) All() string {
	d, _ := definitionOf(k)
	return string(k) + strings.Repeat(".*", len(d.tokens))
}

// ParseSubject tells the kind of a subject and the names in it, unescaped. It
// refuses whatever no message of Tagship can have as its subject.
func ParseSubject(subject string) (Kind, []string, error) {
	d, tokens, err := split(subject)
	if err != nil {
		return "", nil, err
	}
	names := make([]string, len(tokens))
	for i, token := range tokens {
		if names[i], err = Unescape(token); err != nil {
			return "", nil, fmt.Errorf("subject %q: %w", subject, err)
		}
		if names[i] == "" {
			return "", nil, fmt.Errorf("subject %q: the %s is empty", subject, d.tokens[i])
		}
	}
	return d.kind, names, nil
}

// split finds the definition for a subject. A request has two tokens, so a
// two-token subject never matches a fact, nor the other way round.
func split(subject string) (definition, []string, error) {
	tokens := strings.Split(subject, ".")
	words := 2
	if len(tokens) == 2 {
		words = 1
	}
	if len(tokens) > words {
		d, known := definitionOf(Kind(strings.Join(tokens[:words], ".")))
		if known && len(tokens)-words == len(d.tokens) {
			return d, tokens[words:], nil
		}
	}
	return definition{}, nil, fmt.Errorf("subject %q is of no kind that Tagship knows", subject)
}
