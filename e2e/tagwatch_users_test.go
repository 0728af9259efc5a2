package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/eventstest"
	"golang.org/x/crypto/bcrypt"
)

// As the user tagwatch of deploy/users.conf it may do all that it has to: by
// hooks, sweeps and requests, with a report. It is the only test that is not
// parallel, for the configuration takes passwords from the environment.
func TestTagwatchAsItsUser(t *testing.T) {
	for _, user := range []string{"admin", "tagwatch", "builder", "releaser", "cdnpush", "ops", "developer", "viewer", "sys"} {
		hash, err := bcrypt.GenerateFromPassword([]byte("of-"+user), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("NATS_"+strings.ToUpper(user)+"_PASSWORD", string(hash))
	}
	deployed, err := server.ProcessConfigFile(filepath.Join("..", "deploy", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	deployed.Port, deployed.HTTPPort, deployed.HTTPHost = freePort(t), 0, ""
	deployed.StoreDir, deployed.NoSigs, deployed.NoLog = t.TempDir(), true, true
	users := eventstest.NewServer(t, func(o *server.Options) { *o = *deployed })

	hub := newHub(t, github.Options{Enterprise: true})
	web := hub.Repo("acme/web")
	web.Commit(sources(nil))
	w := newWatching(t, hub, watchSettings{
		github: fields{}, interval: "1s", apps: map[string]fields{"web": {"repo": "acme/web"}},
		server: users, admin: fmt.Sprintf("nats://admin:of-admin@127.0.0.1:%d", deployed.Port),
		nats: fields{"user": "${NATS_USER}", "password": "of-${NATS_USER}", "setup": false},
	})
	t.Setenv("NATS_USER", "admin")
	t.Setenv("HUB_TOKEN", w.token.Value())
	if code, out, problems := tagship(t, w.dir, "setup", "--config", w.config); code != 0 {
		t.Fatalf("tagship setup exited with %d:\n%s%s", code, out, problems)
	}
	t.Setenv("NATS_USER", "tagwatch")
	p := w.startWatched()
	hook := w.hook("tagwatch-1", "acme")
	first := web.Commit(sources(nil))
	web.Tag("v1.0.0", first)
	seen := w.seen("web", "v1.0.0")
	w.shows(web, "tagship: web@v1.0.0", "pending", "seen")
	started, done := w.build("web", "v1.0.0")
	w.state(started, done, &events.ReleaseDone{Release: releaseOf("dev", "web", "v1.0.0"), ReleaseID: "r1", Instances: 1, TagSeq: 1})
	w.deploys(web, "dev", "v1.0.0", "success")
	hook.Deliver(github.Policy{Drop: 1})
	web.Tag("v1.1.0", web.Commit(sources(nil))) // by a sweep
	w.seen("web", "v1.1.0")
	web.MoveTag("v1.0.0", web.Commit(sources(nil)))
	w.moved("v1.0.0")
	web.DeleteTag("v1.1.0")
	w.record.Wait(events.KindTagDeleted.Subject("web", "v1.1.0"))
	w.publish(events.TagRequested.Subject("web"), "web@v9.9.9")
	w.record.Wait(events.KindTagRefused.Subject("web", "v9.9.9"))
	if files := w.staged(seen.Source); len(files) == 0 {
		t.Error("the source is empty")
	}
	w.settled()
	p.stop()
	for line := range strings.Lines(p.output.String()) {
		if strings.Contains(strings.ToLower(line), "permission") || strings.Contains(line, `"level":"error"`) && !strings.Contains(line, "TAG MOVED") {
			t.Errorf("tagwatch wrote: %s", line)
		}
	}
}
