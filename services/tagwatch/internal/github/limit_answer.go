package github

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// refusal is an answer by which GitHub wants fewer requests.
type refusal struct {
	whole  bool          // of the credential, rather than of one resource
	wait   time.Duration // at most longestBlock; 0 if GitHub does not say
	reason string
}

// The words of refusals. Those of the secondary limits also stand in the address
// of the documentation.
var (
	secondaryWords = regexp.MustCompile(`(?i)secondary[ -]rate|abuse[ -](detection|rate)`)
	primaryWords   = regexp.MustCompile(`(?i)rate limit (already )?exceeded`)
)

const (
	reasonCore      = "GitHub's hourly limit of requests is reached"
	reasonGraphQL   = "GitHub's hourly limit of GraphQL points is reached"
	reasonPace      = "pacing: more requests at once than GitHub allows in a minute; the rest waits"
	reasonSecondary = "GitHub asks for fewer requests: its secondary rate limit is reached"
)

// reasonUsedUp is why nothing is asked of a resource whose budget is used up.
func reasonUsedUp(kind resource) string {
	if kind == resourceGraphQL {
		return reasonGraphQL
	}
	return reasonCore
}

// classify tells whether an answer is a refusal, in any of the shapes GitHub has
// for that. There are two limits: that of an hour, the primary, which is one per
// resource and ends at a time that GitHub tells; and the secondary ones, for which
// it may tell for how long to wait. Either comes as a 403, as a 429, or beside
// data of GraphQL. For a secondary one the reset of the hour's has no meaning.
func classify(kind resource, status int, header http.Header, body []byte, now time.Time) (refusal, bool) {
	var secondary, primary bool
	used := header.Get("X-Ratelimit-Remaining") == "0"
	switch {
	case status == http.StatusForbidden || status == http.StatusTooManyRequests:
		secondary = secondaryWords.Match(body) || header.Get("Gh-Limited-By") != ""
		primary = !secondary && (used || primaryWords.Match(body))
		secondary = secondary || !primary && (status == http.StatusTooManyRequests || header.Get("Retry-After") != "")
	case status == http.StatusOK && kind == resourceGraphQL:
		secondary, primary = refusedBeside(body)
	}
	server := serverTime(header, now)
	switch {
	case secondary:
		return refusal{whole: true, wait: retryAfter(header, server), reason: reasonSecondary}, true
	case primary:
		wait := retryAfter(header, server)
		if reset, ok := unixTime(header.Get("X-Ratelimit-Reset")); ok && used {
			wait = max(wait, bounded(reset.Sub(server)))
		}
		return refusal{wait: wait, reason: reasonUsedUp(kind)}, true
	}
	return refusal{}, false
}

// refusedBeside looks for refusals among the errors of an answer of GraphQL. Only
// there: a tag may have any name.
func refusedBeside(body []byte) (secondary, primary bool) {
	if !bytes.Contains(body, []byte(`"errors"`)) {
		return false, false
	}
	var answer struct {
		Errors []struct{ Type, Message string }
	}
	if json.Unmarshal(body, &answer) != nil {
		return false, false // whoever reads the data reports it
	}
	for _, e := range answer.Errors {
		switch {
		case secondaryWords.MatchString(e.Message):
			return true, false
		case strings.HasPrefix(e.Type, "RATE_LIMIT") || primaryWords.MatchString(e.Message):
			primary = true
		}
	}
	return false, primary
}

// retryAfter reads how long to wait: a number of seconds, or a date. 0 is for none that makes sense.
func retryAfter(header http.Header, server time.Time) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return bounded(time.Duration(min(seconds, int64(longestBlock/time.Second))) * time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return bounded(at.Sub(server))
	}
	return 0
}

// bounded is a wait that makes sense, or 0.
func bounded(d time.Duration) time.Duration { return min(max(d, 0), longestBlock) }

// serverTime is what GitHub's clock shows, by which its times are meant.
func serverTime(header http.Header, now time.Time) time.Time {
	if at, err := http.ParseTime(header.Get("Date")); err == nil {
		return at
	}
	return now
}

func unixTime(text string) (time.Time, bool) {
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0), err == nil && seconds > 0
}
