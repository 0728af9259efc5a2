package tell_test

import (
	"testing"
	"time"

	"github.com/tagship/tagship/cmd/tagship/internal/tell"
	"github.com/tagship/tagship/events"
)

func TestFact(t *testing.T) {
	t.Parallel()
	release := events.Release{Env: "prod", App: "web", Version: "v2"}
	commit := "0123456789abcdef0123456789abcdef01234567"
	for _, c := range []struct {
		fact  events.Fact
		about string
		text  string
		mood  tell.Mood
	}{
		{&events.TagSeen{App: "web", Version: "v2", Commit: commit}, "web@v2", "seen at commit 0123456789", tell.Good},
		{&events.TagMoved{App: "web", Version: "v2", Old: commit, New: "f" + commit}, "web@v2", "the tag moved from commit 0123456789 to f012345678; the version stays what it was", tell.Bad},
		{&events.TagMoved{App: "web", Version: "v2", Old: commit, New: "f" + commit, Pusher: "eve", Suspicion: "so did 8 others"}, "web@v2", "the tag moved from commit 0123456789 to f012345678, pushed by eve; the version stays what it was; so did 8 others", tell.Bad},
		{&events.TagDeleted{App: "web", Version: "v2", Commit: commit}, "web@v2", "the tag on commit 0123456789 was deleted; the version stays what it was", tell.Bad},
		{&events.TagDeleted{App: "web", Version: "v2", Commit: commit, Pusher: "eve"}, "web@v2", "the tag on commit 0123456789 was deleted by eve; the version stays what it was", tell.Bad},
		{&events.TagRefused{App: "web", Version: events.Unknown, Reason: "why"}, "web", "tag refused: why", tell.Bad},
		{&events.TagLooked{App: "web"}, "web", "no new version", tell.Good},
		{&events.TagLooked{App: "web", New: []string{"v1", "v2"}}, "web", "new: v1, v2", tell.Good},
		{&events.BuildStarted{App: "web", Version: "v2", Executor: "docker"}, "web@v2", "compiling on the docker executor", tell.Neutral},
		{&events.BuildDone{App: "web", Version: "v2", Took: events.Duration(1500 * time.Millisecond), Image: &events.Image{Repository: "r/web", Digest: "sha256:a"}, Packages: []events.Package{{Name: "a.deb"}}}, "web@v2", "built in 1.5s, image r/web@sha256:a, a.deb", tell.Good},
		{&events.BuildFailed{App: "web", Version: "v2", Reason: "why"}, "web@v2", "build failed: why", tell.Bad},
		{&events.BuildRefused{App: "web", Version: "v2", Reason: "why"}, "web@v2", "build refused: why", tell.Bad},
		{&events.ReleaseWanted{Release: release, Promoted: "build"}, "web@v2", "wanted in prod, promoted because it is built", tell.Neutral},
		{&events.ReleaseWanted{Release: release, Promoted: "demo"}, "web@v2", "wanted in prod, promoted from demo", tell.Neutral},
		{&events.ReleaseStarted{Release: release, Replaces: "v1"}, "web@v2", "releasing to prod, where v1 runs", tell.Neutral},
		{&events.ReleaseDone{Release: release, Instances: 1, Took: events.Duration(time.Second)}, "web@v2", "runs in prod, 1 instance, healthy after 1.0s", tell.Good},
		{&events.ReleaseDone{Release: release, Unchanged: true, Address: "http://a"}, "web@v2", "runs in prod at http://a already; nothing was changed", tell.Good},
		{&events.ReleaseFailed{Release: release, Reason: "why", Running: "v1"}, "web@v2", "release to prod failed: why; v1 runs there", tell.Bad},
		{&events.ReleaseFailed{Release: release, Reason: "why"}, "web@v2", "release to prod failed: why; nothing runs there now", tell.Bad},
		{&events.ReleaseRefused{Env: "prod", App: "web", Version: "v2", Reason: "why"}, "web@v2", "release to prod refused: why", tell.Bad},
		{&events.CDNStarted{Channel: "beta", App: "web", Version: "v2"}, "web@v2", "publishing to beta", tell.Neutral},
		{&events.CDNDone{Channel: "beta", App: "web", Version: "v2", Unchanged: true, Files: []events.Download{{URL: "http://a"}}}, "web@v2", "published to beta already; nothing was changed\nhttp://a", tell.Good},
		{&events.CDNFailed{Channel: "beta", App: "web", Version: "v2", Reason: "why"}, "web@v2", "publication to beta failed: why", tell.Bad},
		{&events.CDNRefused{Channel: "beta", App: "web", Version: "v2", Reason: "why"}, "web@v2", "publication to beta refused: why", tell.Bad},
	} {
		about, text, mood := tell.Fact(c.fact)
		if about != c.about || text != c.text || mood != c.mood {
			t.Errorf("%s: got %q, %q, %d; expected %q, %q, %d", c.fact.Kind(), about, text, mood, c.about, c.text, c.mood)
		}
	}
}
