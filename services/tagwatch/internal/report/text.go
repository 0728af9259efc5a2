package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxText is how many characters GitHub keeps of a description (REST API,
	// "Create a deployment status": short description, at most 140).
	maxText = 140
	// maxContext is how many characters a context may have.
	maxContext = 255
	// leastReason is how much of a reason is shown, whatever else there is to say.
	leastReason = 40
)

// The steps that a link may name.
const (
	stepTag     = "tag"
	stepBuild   = "build"
	stepRelease = "release"
)

// status is the commit status that shows what is known.
func (v *version) status(known *record) Status {
	s := Status{Commit: v.commit, Context: v.context()}
	step, env := stepTag, ""
	failed, released := known.outcomes()
	switch {
	case v.refused != "":
		s.State, s.Description = Failure, describe("refused: ", v.refused, "")
	case failed != "":
		place := known.Places[failed]
		step, env = stepRelease, failed
		s.State, s.Description = Failure, describe("release to "+failed+" failed: ", place.Reason, "; "+runs(failed, place.Running))
	case len(released) > 0:
		step, env = stepRelease, released[len(released)-1]
		s.State, s.Description = Success, "released to "+strings.Join(released, ", ")
	case known.Build.State == Success:
		step, s.State, s.Description = stepBuild, Success, "built"
	case known.Build.State == Failure:
		step, s.State, s.Description = stepBuild, Failure, describe("build failed: ", known.Build.Reason, "")
	case known.Build.State == InProgress:
		step, s.State, s.Description = stepBuild, Pending, "building"
	default:
		s.State, s.Description = Pending, "seen, waits to be built"
	}
	s.Description = clip(s.Description, maxText)
	s.Link = v.link(step, env)
	return s
}

// outcomes tells the environment where the newest failure was, empty if none
// failed, and the environments where releases were done, in the order of that.
func (k *record) outcomes() (failed string, released []string) {
	envs := slices.SortedFunc(maps.Keys(k.Places), func(a, b string) int {
		return cmp.Compare(k.Places[a].Ended, k.Places[b].Ended)
	})
	for _, env := range envs {
		switch k.Places[env].Outcome {
		case Failure:
			failed = env
		case Success:
			released = append(released, env)
		}
	}
	return failed, released
}

// deploymentStatus is what the deployment of a place shows; by is what replaced
// it since, empty for nothing.
func (v *version) deploymentStatus(p *place, env, by string) DeploymentStatus {
	s := DeploymentStatus{State: p.State, Link: v.link(stepRelease, env)}
	switch {
	case p.State == Failure:
		s.Description = describe("", p.Reason, "; "+runs(env, p.Running))
	case p.State == Success && by != "":
		s.State, s.Description = Inactive, "replaced by "+by
	case p.State == Success:
		s.Description = "running and healthy"
	default:
		s.Description = "releasing"
	}
	s.Description = clip(s.Description, maxText)
	return s
}

// context is unique to app and version, for two tags on a commit share its statuses.
func (v *version) context() string {
	c := "tagship: " + v.app + "@" + v.name
	if utf8.RuneCountInString(c) <= maxContext {
		return c
	}
	sum := sha256.Sum256([]byte(c))
	digest := " " + hex.EncodeToString(sum[:8])
	return clip(c, maxContext-len(digest)) + digest
}

// link fills in the host's link; empty if it has none.
func (v *version) link(step, env string) string {
	return strings.NewReplacer(
		"{app}", url.QueryEscape(v.app),
		"{version}", url.QueryEscape(v.name),
		"{env}", url.QueryEscape(env),
		"{step}", step,
	).Replace(v.host.Link)
}

// describe puts a reason between other words, and shortens it first if it does not fit.
func describe(before, reason, after string) string {
	room := maxText - utf8.RuneCountInString(before+after)
	return before + clip(reason, max(room, leastReason)) + after
}

func runs(env, version string) string {
	if version == "" {
		return "nothing runs in " + env
	}
	return env + " runs " + version
}

// clip makes one line of at most so many characters.
func clip(s string, most int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return strings.TrimSpace(string([]rune(s)[:most-len(cutMark)])) + cutMark
}

// cutMark ends what was cut.
const cutMark = "..."
