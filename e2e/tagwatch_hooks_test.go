package e2e_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/eventstest"
)

// soon is how long a webhook may take to become a fact. It is to be a second; the
// rest is for a machine that runs many tests at once.
const soon = 5 * time.Second

// A tag is seen because of its webhook, whatever it is called and made of, with
// the source of its commit. Sweeps are too far apart to find it.
func TestTagwatchHook(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{TLS: true})
	web := hub.Repo("acme/web").Private(true)
	w := newWatching(t, hub, watchSettings{github: fields{}, apps: map[string]fields{"web": {"repo": "acme/web"}}})
	old := web.Commit(sources(nil))
	web.Tag("v0.9.0", old)
	w.startWatched()
	w.hook("tagwatch-1", "acme")

	long := "v" + strings.Repeat("x", 199)
	var tagged []string
	var slowest time.Duration
	for name, push := range map[string]func(string, *github.Object) *github.Object{
		"v1.0.0": web.Tag, "v1.1.0": web.TagAnnotated, "v1.2.0": web.TagNested,
		"v1#2": web.Tag, "v1;b": web.Tag, "v$(id)": web.TagAnnotated, "v1%20x": web.Tag, "v-\u00fc-\u7248\u672c": web.TagAnnotated, long: web.Tag,
	} {
		files := sources(github.Files{"version": name, "bin/run": github.Executable("#!/bin/sh\n"), "link": github.Symlink("bin/run")})
		commit := web.Commit(files)
		object := push(name, commit)
		tagged = append(tagged, name)
		subject := events.KindTagSeen.Subject("web", name)
		took := within(t, soon, "tag "+name, func() bool { return len(w.record.Facts(subject)) > 0 })
		slowest = max(slowest, took)
		seen := w.seen("web", name)
		if seen.Tag != name || seen.Commit != commit.ID || seen.Object != object.ID || seen.RepoID != fmt.Sprint(web.ID()) {
			t.Errorf("%s was seen as %+v, expected commit %s and object %s", name, seen, commit.ID, object.ID)
		}
		if diff := cmp.Diff(map[string]string(files), w.staged(seen.Source)); diff != "" {
			t.Errorf("the source of %s is not the tree of its commit (-want +got):\n%s", name, diff)
		}
	}
	t.Logf("the slowest of %d tags was seen %s after its push", len(tagged), slowest.Round(time.Millisecond))

	// It may be told of before it can be seen.
	hub.Lag(1500 * time.Millisecond)
	tagged = append(tagged, "v1.3.0")
	web.Tag("v1.3.0", web.Commit(sources(nil)))
	within(t, 2*soon, "tag v1.3.0", func() bool { return len(w.record.Facts(events.KindTagSeen.Subject("web", "v1.3.0"))) > 0 })
	hub.Lag(0)

	web.TagBlob("v2.0.0", "nothing to build")
	web.Tag("v2.1.0", old.Target)
	web.Tag("v2.2.0", web.Commit(github.Files{"README.md": "no recipe"}))
	for _, version := range []string{"v2.0.0", "v2.1.0", "v2.2.0"} {
		refused := w.record.Wait(events.KindTagRefused.Subject("web", version)).(*events.TagRefused)
		t.Logf("%s: %s", version, refused.Reason)
		if refused.Tag != version || refused.Reason == "" {
			t.Errorf("%s was refused as %+v", version, refused)
		}
	}
	web.Tag("latest", old) // no version of the app
	w.seenOnce("web", tagged...)
	w.noSecrets(w.token.Value(), hookSecret)
}

// Calls that must not be followed are not, and leave nothing behind.
func TestTagwatchBadHooks(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	web, other := hub.Repo("acme/web"), hub.Repo("acme/other")
	w := newWatching(t, hub, watchSettings{
		github: fields{"webhook_secrets": []string{hookSecret, nextSecret}},
		apps:   map[string]fields{"web": {"repo": "acme/web"}},
	})
	commit := web.Commit(sources(nil))
	w.startWatched()
	unknown := hub.Hook(github.HookConfig{URL: w.webhooks("tagwatch-1"), Secret: hookSecret, Repo: "acme/other"})
	other.Tag("v1.0.0", other.Commit(sources(nil)))
	eventstest.Eventually(t, func() error {
		if d := lastPush(unknown, "v1.0.0"); d.Code != http.StatusAccepted {
			return fmt.Errorf("a repository that nobody watches: answered with %d %s, expected 202", d.Code, d.Response)
		}
		return nil
	})

	payload := fmt.Sprintf(`{"ref":"refs/tags/v9.9.9","after":%q,"created":true,"repository":{"id":%d,"full_name":"acme/web"}}`, commit.ID, web.ID())
	sign := func(secret string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(payload))
		return "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	old := hmac.New(sha1.New, []byte(hookSecret))
	old.Write([]byte(payload))
	cases := map[string]struct {
		header map[string]string
		body   io.Reader
		status int
	}{
		"unsigned":     {nil, strings.NewReader(payload), http.StatusUnauthorized},
		"SHA-1 alone":  {map[string]string{"X-Hub-Signature": "sha1=" + hex.EncodeToString(old.Sum(nil))}, strings.NewReader(payload), http.StatusUnauthorized},
		"other secret": {map[string]string{"X-Hub-Signature-256": sign("guessed")}, strings.NewReader(payload), http.StatusUnauthorized},
		"other body":   {map[string]string{"X-Hub-Signature-256": sign(hookSecret)}, strings.NewReader(payload + " "), http.StatusUnauthorized},
		"too large":    {map[string]string{"X-Hub-Signature-256": sign(hookSecret)}, bytes.NewReader(make([]byte, 27<<20)), http.StatusRequestEntityTooLarge},
		"text":         {map[string]string{"X-Hub-Signature-256": sign(hookSecret), "Content-Type": "text/plain"}, strings.NewReader(payload), http.StatusUnsupportedMediaType},
	}
	for name, c := range cases {
		header := map[string]string{"X-GitHub-Event": "push"}
		for key, value := range c.header {
			header[key] = value
		}
		if status, answer := w.post("tagwatch-1", c.body, header); status != c.status {
			t.Errorf("%s: answered with %d %s, expected %d", name, status, answer, c.status)
		}
	}
	if stored := w.hints(); stored != 0 {
		t.Errorf("%d hints are stored, expected none", stored)
	}

	// While NATS is away, GitHub is told that the delivery has failed.
	hook := hub.Hook(github.HookConfig{URL: w.webhooks("tagwatch-1"), Secret: nextSecret, Repo: "acme/web", Events: []string{"push"}})
	w.server.Stop()
	web.Tag("v1.0.0", web.Commit(sources(nil)))
	eventstest.Eventually(t, func() error {
		if d := lastPush(hook, "v1.0.0"); d.Code != http.StatusServiceUnavailable || d.Took > soon {
			return fmt.Errorf("the delivery ended as %d %s after %s, expected 503", d.Code, d.Response, d.Took)
		}
		return nil
	})
	w.server.Start()
	// It may take a moment until the connection is there again; GitHub has a button for that.
	eventstest.Eventually(t, func() error {
		if d := lastPush(hook, "v1.0.0"); d.Code != http.StatusAccepted {
			return fmt.Errorf("the delivery ended as %d %s, %v", d.Code, d.Response, hook.Redeliver(d.ID))
		}
		return nil
	})
	w.seenOnce("web", "v1.0.0")
	for _, d := range hook.Deliveries() {
		if d.Event == "ping" && d.Code != http.StatusOK {
			t.Errorf("the ping was answered with %d %s", d.Code, d.Response)
		}
	}
}

// lastPush is the newest attempt to tell of a pushed tag; zero if there is none.
func lastPush(h *github.Hook, tag string) github.Delivery {
	for _, d := range slices.Backward(h.Deliveries()) {
		if d.Event == "push" && bytes.Contains(d.Payload, []byte(`"refs/tags/`+tag+`"`)) {
			return d
		}
	}
	return github.Delivery{}
}

// hints is how many hints are kept.
func (w *watching) hints() uint64 {
	w.t.Helper()
	stream, err := w.server.JetStream().Stream(w.t.Context(), events.StreamHooks)
	if err != nil {
		w.t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// A secret is replaced without losing a tag: both are good until the old one is
// taken out, and then only the new one is.
func TestTagwatchSecretReplaced(t *testing.T) {
	t.Parallel()
	hub := newHub(t, github.Options{Enterprise: true})
	web := hub.Repo("acme/web")
	web.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{
		github: fields{"webhook_secrets": []string{hookSecret, nextSecret}},
		apps:   map[string]fields{"web": {"repo": "acme/web"}},
	})
	w.startWatched()
	add := func(secret string) *github.Hook {
		return hub.Hook(github.HookConfig{URL: w.webhooks("tagwatch-1"), Secret: secret, Repo: "acme/web", Form: secret == nextSecret})
	}
	old, next := add(hookSecret), add(nextSecret)
	next.Deliver(github.Policy{Drop: 1})
	web.Tag("v1.0.0", web.Commit(sources(nil)))
	w.seen("web", "v1.0.0")
	old.Deliver(github.Policy{Drop: 1})
	next.Deliver(github.Policy{})
	web.Tag("v1.1.0", web.Commit(sources(nil)))
	w.seen("web", "v1.1.0")

	w.settings.github["webhook_secrets"] = []string{nextSecret}
	w.configure()
	w.replicas["tagwatch-1"].stop()
	w.start("tagwatch-1")
	old.Deliver(github.Policy{Lose: []string{"create"}})
	web.Tag("v1.2.0", web.Commit(sources(nil)))
	w.seenOnce("web", "v1.0.0", "v1.1.0", "v1.2.0")
	eventstest.Eventually(t, func() error {
		if d := lastPush(old, "v1.2.0"); d.Code != http.StatusUnauthorized {
			return fmt.Errorf("the old secret was answered with %d %s, expected 401", d.Code, d.Response)
		}
		return nil
	})
}
