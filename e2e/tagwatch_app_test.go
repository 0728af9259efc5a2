package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/eventstest"
)

// A GitHub App has a token for each owner, renews them in time, and copes with
// one that ends early; an owner that takes its access away stops its own apps alone.
func TestTagwatchApp(t *testing.T) {
	t.Parallel()
	// A token is renewed a minute before its end, so these last for two seconds.
	hub := newHub(t, github.Options{Enterprise: true, TokenLife: 62 * time.Second})
	app, err := hub.App()
	if err != nil {
		t.Fatal(err)
	}
	acme, globex := app.Install("acme"), app.Install("globex")
	web, api := hub.Repo("acme/web").Private(true), hub.Repo("globex/api").Private(true)
	web.Commit(sources(nil))
	api.Commit(sources(nil))
	key := filepath.Join(t.TempDir(), "app.pem")
	if err := os.WriteFile(key, app.PrivateKey(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWatching(t, hub, watchSettings{
		github: fields{"app": fields{"id": app.ID(), "private_key": "${file:" + key + "}"}}, interval: "1s",
		apps: map[string]fields{"web": {"repo": "acme/web"}, "api": {"repo": "globex/api"}},
	})
	w.startWatched()
	hub.Hook(github.HookConfig{URL: w.webhooks("tagwatch-1"), Secret: hookSecret, App: app})
	tags := map[*github.Repo]int{}
	tag := func(r *github.Repo) string {
		name := fmt.Sprintf("v1.%d.0", tags[r])
		tags[r]++
		r.Tag(name, r.Commit(sources(nil)))
		return name
	}
	w.seen("web", tag(web))
	w.seen("api", tag(api))

	issued := acme.Tokens()
	eventstest.Eventually(t, func() error {
		if now := acme.Tokens(); now < issued+2 {
			return fmt.Errorf("%d tokens were made, and then %d", issued, now)
		}
		return nil
	})
	if refused := hub.Answered(http.StatusUnauthorized); refused > 0 {
		t.Errorf("%d requests were made with a token that had ended", refused)
	}
	acme.Expire()
	w.seen("web", tag(web))

	globex.Suspend(true)
	w.fails("api", "globex")
	missed := tag(api)
	w.seen("web", tag(web))
	w.goesWell("web")
	w.none(events.KindTagSeen.Subject("api", missed))
	globex.Suspend(false)
	w.seen("api", missed)
	w.goesWell("api")
	w.none(events.KindTagMoved.All(), events.KindTagDeleted.All(), events.KindTagRefused.All())
	var secrets []string
	for secret := range hub.TokensSeen(github.HostAPI) {
		secrets = append(secrets, secret)
	}
	w.noSecrets(secrets...)
}

// A token that loses access to one repository watches the others, and goes on
// with the first when it may again.
func TestTagwatchAccessLost(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"graphql", "rest"} {
		t.Run(list, func(t *testing.T) {
			t.Parallel()
			hub := newHub(t, github.Options{Enterprise: true})
			web, api := hub.Repo("acme/web"), hub.Repo("acme/api")
			web.Commit(sources(nil))
			api.Tag("v1.0.0", api.Commit(sources(nil)))
			w := newWatching(t, hub, watchSettings{
				github: fields{"list": list}, interval: "1s",
				apps: map[string]fields{"web": {"repo": "acme/web"}, "api": {"repo": "acme/api"}},
			})
			w.startWatched()
			api.Shut(w.token)
			w.fails("api", "acme/api")
			api.Tag("v1.1.0", api.Commit(sources(nil)))
			web.Tag("v1.0.0", web.Commit(sources(nil)))
			w.seenOnce("web", "v1.0.0")
			api.Open(w.token)
			w.seenOnce("api", "v1.1.0")
			w.goesWell("api")

			// A token that has ended is said to have, and a new one makes good what was missed.
			w.token.Expire()
			w.hostStatus("that the token is not accepted", func(s hostStatus) bool { return strings.Contains(s.Error, "does not accept the token") })
			web.Tag("v1.1.0", web.Commit(sources(nil)))
			w.replicas["tagwatch-1"].stop()
			w.token = hub.PersonalToken("robot")
			w.start("tagwatch-1")
			w.seenOnce("web", "v1.0.0", "v1.1.0")
			w.goesWell("web")
			w.hostStatus("no error", func(s hostStatus) bool { return s.Error == "" })
			w.none(events.KindTagMoved.All(), events.KindTagDeleted.All(), events.KindTagRefused.All())
		})
	}
}
