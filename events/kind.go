package events

import (
	"fmt"
	"strings"
)

// Streams of the pipeline. Each is written by one service, except Dead and Logs.
// Hooks holds hints, which are forgotten; all others are the record.
const (
	StreamTags     = "TAGS"
	StreamBuilds   = "BUILDS"
	StreamReleases = "RELEASES"
	StreamCDN      = "CDN"
	StreamDead     = "DEAD"
	StreamLogs     = "LOGS"
	StreamHooks    = "HOOKS"
)

// Kind is what a subject begins with: one token for a request, two for a fact.
type Kind string

// The kinds of messages. What follows the kind in a subject stands beside it.
const (
	TagRequested     Kind = "tag"     // <app>
	BuildRequested   Kind = "build"   // <app>
	ReleaseRequested Kind = "release" // <env>
	CDNRequested     Kind = "cdn"     // <channel>
	HookReceived     Kind = "hook"    // what it is about, see [Hook]

	KindTagSeen    Kind = "tag.seen"    // <app>.<version>, once
	KindTagMoved   Kind = "tag.moved"   // <app>.<version>
	KindTagDeleted Kind = "tag.deleted" // <app>.<version>
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
// it in a subject, and an empty fact of it to decode into, nil for requests and hooks.
type definition struct {
	kind   Kind
	stream string
	names  [2]string // the second is empty where one name follows
	once   bool      // at most one such fact per subject, ever
	fresh  func() Fact
}

// definitions are never written to.
var definitions = [...]definition{
	{TagRequested, StreamTags, [2]string{"app"}, false, nil},
	{KindTagSeen, StreamTags, [2]string{"app", "version"}, true, func() Fact { return &TagSeen{} }},
	{KindTagMoved, StreamTags, [2]string{"app", "version"}, false, func() Fact { return &TagMoved{} }},
	{KindTagDeleted, StreamTags, [2]string{"app", "version"}, false, func() Fact { return &TagDeleted{} }},
	{KindTagRefused, StreamTags, [2]string{"app", "version"}, false, func() Fact { return &TagRefused{} }},
	{KindTagLooked, StreamTags, [2]string{"app"}, false, func() Fact { return &TagLooked{} }},
	{HookReceived, StreamHooks, [2]string{"name"}, false, nil},

	{BuildRequested, StreamBuilds, [2]string{"app"}, false, nil},
	{KindBuildStarted, StreamBuilds, [2]string{"app", "version"}, false, func() Fact { return &BuildStarted{} }},
	{KindBuildDone, StreamBuilds, [2]string{"app", "version"}, true, func() Fact { return &BuildDone{} }},
	{KindBuildFailed, StreamBuilds, [2]string{"app", "version"}, false, func() Fact { return &BuildFailed{} }},
	{KindBuildRefused, StreamBuilds, [2]string{"app", "version"}, false, func() Fact { return &BuildRefused{} }},

	{ReleaseRequested, StreamReleases, [2]string{"env"}, false, nil},
	{KindReleaseWanted, StreamReleases, [2]string{"env", "app"}, false, func() Fact { return &ReleaseWanted{} }},
	{KindReleaseStarted, StreamReleases, [2]string{"env", "app"}, false, func() Fact { return &ReleaseStarted{} }},
	{KindReleaseDone, StreamReleases, [2]string{"env", "app"}, false, func() Fact { return &ReleaseDone{} }},
	{KindReleaseFailed, StreamReleases, [2]string{"env", "app"}, false, func() Fact { return &ReleaseFailed{} }},
	{KindReleaseRefused, StreamReleases, [2]string{"env", "app"}, false, func() Fact { return &ReleaseRefused{} }},

	{CDNRequested, StreamCDN, [2]string{"channel"}, false, nil},
	{KindCDNStarted, StreamCDN, [2]string{"channel", "app"}, false, func() Fact { return &CDNStarted{} }},
	{KindCDNDone, StreamCDN, [2]string{"channel", "app"}, false, func() Fact { return &CDNDone{} }},
	{KindCDNFailed, StreamCDN, [2]string{"channel", "app"}, false, func() Fact { return &CDNFailed{} }},
	{KindCDNRefused, StreamCDN, [2]string{"channel", "app"}, false, func() Fact { return &CDNRefused{} }},
}

// width is how many names follow the kind in a subject.
func (d *definition) width() int {
	if d.names[1] == "" {
		return 1
	}
	return 2
}

// definitionOf is nil for a kind that Tagship does not know.
func definitionOf(k Kind) *definition {
	for i := range definitions {
		if definitions[i].kind == k {
			return &definitions[i]
		}
	}
	return nil
}

// Kinds lists every kind, requests and facts, in the order of the pipeline.
func Kinds() []Kind {
	kinds := make([]Kind, len(definitions))
	for i := range definitions {
		kinds[i] = definitions[i].kind
	}
	return kinds
}

// Stream is the name of the stream that holds messages of this kind; empty for
// a kind that Tagship does not know.
func (k Kind) Stream() string {
	if d := definitionOf(k); d != nil {
		return d.stream
	}
	return ""
}

// Once reports whether such a fact happens at most once per subject.
func (k Kind) Once() bool {
	d := definitionOf(k)
	return d != nil && d.once
}

// Request reports whether messages of this kind ask, rather than state a fact or hint at one.
func (k Kind) Request() bool {
	d := definitionOf(k)
	return d != nil && d.fresh == nil && k != HookReceived
}

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
	d := definitionOf(k)
	if d == nil {
		return string(k) // matches no message; an empty filter would match all
	}
	return string(k) + strings.Repeat(".*", d.width())
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
			return "", nil, fmt.Errorf("subject %q: the %s is empty", subject, d.names[i])
		}
	}
	return d.kind, names, nil
}

// split finds the definition for a subject. A request has two tokens, so a
// two-token subject never matches a fact, nor the other way round.
func split(subject string) (*definition, []string, error) {
	tokens := strings.Split(subject, ".")
	words, kind := 1, tokens[0]
	if len(tokens) > 2 {
		words, kind = 2, subject[:len(tokens[0])+1+len(tokens[1])]
	}
	if d := definitionOf(Kind(kind)); d != nil && len(tokens) == words+d.width() {
		return d, tokens[words:], nil
	}
	return nil, nil, fmt.Errorf("subject %q is of no kind that Tagship knows", subject)
}
