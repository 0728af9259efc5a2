package rancher_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/e2e/rancher"
)

func Test01ProjectsAndKeys(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	other := w.Project("demo")
	below := "/projects/" + w.project.ID() + w.path()
	w.get()
	w.ask(http.StatusOK, http.MethodGet, below, nil)
	w.ask(http.StatusNotFound, http.MethodGet, "/projects/"+other.ID()+w.path(), nil)
	w.ask(http.StatusNotFound, http.MethodGet, "/nothing", nil)
	w.key = w.AccountKey()
	got := w.ask(http.StatusOK, http.MethodGet, below, nil)
	if link := sub(got, "links")["self"]; link != w.URL()+below {
		t.Errorf("the service's link is %v", link)
	}
	w.ask(http.StatusNotFound, http.MethodGet, w.path(), nil)
	if list := data(w.ask(http.StatusOK, http.MethodGet, "/projects", nil)); len(list) != 2 {
		t.Errorf("projects of an account: %v", list)
	}
	w.key.Secret = "wrong"
	if got := w.ask(http.StatusUnauthorized, http.MethodGet, below, nil); got["code"] != "Unauthorized" || got["type"] != "error" {
		t.Errorf("a wrong key: %v", got)
	}
}

func Test02Collections(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	second := w.project.Stack("other")
	second.Service("web", rancher.Config{LaunchConfig: object{"imageUuid": v1}})
	if list := data(w.ask(http.StatusOK, http.MethodGet, "/services?name=web", nil)); len(list) != 2 {
		t.Errorf("services called web: %v", list)
	}
	if list := data(w.ask(http.StatusOK, http.MethodGet, "/services?name=web&stackId="+second.ID(), nil)); len(list) != 1 {
		t.Errorf("services called web of a stack: %v", list)
	}
	w.ask(http.StatusOK, http.MethodDelete, w.path(), nil)
	w.become("removed")
	for query, want := range map[string]int{"?name=web": 2, "?name=web&removed_null": 1} {
		if list := data(w.ask(http.StatusOK, http.MethodGet, "/services"+query, nil)); len(list) != want {
			t.Errorf("%s: %v", query, list)
		}
	}
	for i := range 120 {
		second.Service(fmt.Sprint("s", i), rancher.Config{Inactive: true, LaunchConfig: object{"imageUuid": v1}})
	}
	page := w.ask(http.StatusOK, http.MethodGet, "/services", nil)
	next, _ := sub(page, "pagination")["next"].(string)
	if len(data(page)) != 100 || next == "" {
		t.Fatalf("the first page has %d, and next is %q", len(data(page)), next)
	}
	page = w.ask(http.StatusOK, http.MethodGet, next, nil)
	if len(data(page)) != 22 || sub(page, "pagination")["next"] != nil {
		t.Errorf("the second page has %d: %v", len(data(page)), page["pagination"])
	}
}

func Test03Actions(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	for state, want := range map[string][]string{
		"active":   {"deactivate", "remove", "restart", "update", "upgrade"},
		"upgraded": {"finishupgrade", "remove", "rollback"},
	} {
		if state == "upgraded" {
			w.act(http.StatusAccepted, "upgrade", to(v2))
			w.become(state)
		}
		var got []string
		for name, address := range sub(w.get(), "actions") {
			got = append(got, name)
			if address != w.URL()+w.path()+"/?action="+name {
				t.Errorf("%s is at %v", name, address)
			}
		}
		slices.Sort(got)
		same(t, state, got, want)
		w.refused("cancelupgrade", nil, "ActionNotAvailable", "action")
		w.refused("explode", nil, "InvalidAction", "action")
		if state == "upgraded" {
			w.act(http.StatusAccepted, "rollback", nil)
			w.become("active")
		}
	}
}

func Test04States(t *testing.T) {
	for _, c := range []struct {
		path []string // an action, the state that follows, an action…
	}{
		{[]string{"upgrade", "upgrading", "", "upgraded", "finishupgrade", "finishing-upgrade", "", "active"}},
		{[]string{"upgrade", "upgrading", "", "upgraded", "rollback", "rolling-back", "", "active"}},
		{[]string{"upgrade", "upgrading", "cancelupgrade", "canceling-upgrade", "", "canceled-upgrade", "continueupgrade", "upgrading", "", "upgraded"}},
		{[]string{"upgrade", "upgrading", "", "upgraded", "finishupgrade", "finishing-upgrade", "cancelupgrade", "canceling-upgrade", "", "canceled-upgrade"}},
		{[]string{"restart", "restarting", "", "active"}},
		{[]string{"deactivate", "deactivating", "", "inactive", "activate", "activating", "", "active"}},
		{[]string{"remove", "removing", "", "removed"}},
	} {
		t.Run(strings.Join(c.path, " "), func(t *testing.T) {
			w := begin(t, rancher.Options{}, rancher.Config{})
			for i := 0; i < len(c.path); i += 2 {
				if action := c.path[i]; action != "" {
					got := w.act(http.StatusAccepted, action, to(v2))
					if got["state"] != c.path[i+1] || got["transitioning"] != "yes" {
						t.Errorf("%s: it is %v, transitioning %v", action, got["state"], got["transitioning"])
					}
					w.Advance(20 * time.Millisecond) // it lasts several polls
				}
				if c.path[i] == "" {
					w.become(c.path[i+1])
				}
				w.is("state", c.path[i+1])
			}
			w.is("transitioning", "no")
		})
	}
}

func Test05Put(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	got := w.ask(http.StatusOK, http.MethodPut, w.path(), object{"launchConfig": object{"imageUuid": v2}, "scale": 3})
	if sub(got, "launchConfig")["imageUuid"] != v1 || got["scale"] != 3.0 || got["state"] != "updating-active" {
		t.Errorf("a PUT made it %v", got)
	}
	w.become("active")
	w.is("currentScale", 3.0)
	w.Image(v2, rancher.Image{Unhealthy: true})
	w.act(http.StatusAccepted, "upgrade", to(v2))
	w.Advance(time.Second)
	w.is("state", "upgrading")
	w.ask(http.StatusOK, http.MethodPut, w.path(), object{"metadata": object{"a": "b"}})
	w.become("upgraded")
	if states := w.containers(); slices.Contains(states[v2], "stopped") || !slices.Contains(states[v1], "running") {
		t.Errorf("upgraded too early: %v", states)
	}
	w.ask(http.StatusConflict, http.MethodPut, w.path(), object{"scale": 1})
	// Finishing carries on what was not done.
	w.act(http.StatusAccepted, "finishupgrade", nil)
	w.Advance(time.Second)
	w.is("state", "finishing-upgrade")
	w.Image(v2, rancher.Image{})
	w.become("active")
	same(t, "new containers", w.containers()[v2], []string{"running", "running", "running"})
	same(t, "old containers", w.containers()[v1], nil)
}

func Test06LaunchConfigIsReplaced(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{LaunchConfig: object{"imageUuid": v1, "environment": object{"A": "b"}, "tty": true}})
	got := w.act(http.StatusAccepted, "upgrade", to(v2))
	launch := sub(got, "launchConfig")
	if launch["imageUuid"] != v2 || launch["environment"] != nil || launch["tty"] != nil {
		t.Errorf("the new launch config is %v", launch)
	}
	if version, _ := launch["version"].(string); len(version) != 36 {
		t.Errorf("its version is %q", version)
	}
	previous := sub(sub(sub(got, "upgrade"), "inServiceStrategy"), "previousLaunchConfig")
	if previous["imageUuid"] != v1 || sub(previous, "environment")["A"] != "b" {
		t.Errorf("the previous one is %v", previous)
	}
}

func Test07Validation(t *testing.T) {
	w := begin(t, rancher.Options{Whitelist: []string{"registry.acme.io"}}, rancher.Config{RetainIP: true})
	good := "docker:registry.acme.io/web:v2"
	for _, c := range []struct {
		body        object
		code, field string
	}{
		{object{}, "MissingRequired", "Upgrade strategy needs to be set"},
		{object{"inServiceStrategy": object{}}, "InvalidOption", "LaunchConfig/secondaryLaunchConfigs need to be specified for inService strategy"},
		{to(good, object{"startFirst": true}), "InvalidOption", "StartFirst option can't be used for service with retainIp"},
		{to(good, object{"batchSize": 0}), "MinLimitExceeded", "batchSize"},
		{to(good, object{"intervalMillis": 99}), "MinLimitExceeded", "intervalMillis"},
		{to("registry.acme.io/web:v2"), "InvalidReference", "imageUuid"},
		{to("docker:other.io/web:v2"), "InvalidOption", "The provided registry is not whitelisted"},
	} {
		w.refused("upgrade", c.body, c.code, c.field)
	}
	w.is("state", "active")
	w.act(http.StatusAccepted, "upgrade", to(good))
}

func Test08Order(t *testing.T) {
	for _, c := range []struct {
		first       bool
		batch       int
		least, most int // running at once
	}{{false, 1, 3, 4}, {true, 1, 4, 5}, {false, 2, 2, 4}, {true, 2, 4, 6}} {
		t.Run(fmt.Sprint(c.first, c.batch), func(t *testing.T) {
			w := begin(t, rancher.Options{}, rancher.Config{Scale: 4})
			w.act(http.StatusAccepted, "upgrade", to(v2, object{"startFirst": c.first, "batchSize": c.batch}))
			least, most, began := 4, 4, w.Requests("")
			for i := 0; w.web.State() == "upgrading" && i < 1000; i++ {
				w.Advance(10 * time.Millisecond)
				running := 0
				for _, one := range w.web.Containers() {
					if one.State == "running" {
						running++
					}
				}
				least, most = min(least, running), max(most, running)
			}
			if least != c.least || most != c.most || w.Requests("") != began {
				t.Errorf("%d to %d ran at once, want %d to %d", least, most, c.least, c.most)
			}
			same(t, "old containers", w.containers()[v1], []string{"stopped", "stopped", "stopped", "stopped"})
		})
	}
}

func Test09SecondUpgrade(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	w.act(http.StatusAccepted, "upgrade", to(v2))
	w.become("upgraded")
	w.refused("upgrade", to(v1), "ActionNotAvailable", "action")
	w.act(http.StatusAccepted, "finishupgrade", nil)
	w.become("active")
	w.act(http.StatusAccepted, "upgrade", to(v1))
}

func Test10Finish(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	w.act(http.StatusAccepted, "upgrade", to(v2))
	w.become("upgraded")
	w.act(http.StatusAccepted, "finishupgrade", nil)
	w.become("active")
	same(t, "old containers", w.containers()[v1], nil)
	w.refused("rollback", nil, "ActionNotAvailable", "action")
	if w.get()["upgrade"] == nil {
		t.Error("the upgrade is forgotten")
	}
	if list := data(w.ask(http.StatusOK, http.MethodGet, w.path()+"/instances", nil)); len(list) != 2 {
		t.Errorf("instances: %v", list)
	}
}

func Test11Rollback(t *testing.T) {
	for _, from := range []string{"upgrading", "upgraded", "canceled-upgrade"} {
		t.Run(from, func(t *testing.T) {
			w := begin(t, rancher.Options{}, rancher.Config{})
			before := w.web.Containers()
			w.act(http.StatusAccepted, "upgrade", to(v2))
			w.Advance(150 * time.Millisecond)
			if from == "canceled-upgrade" {
				w.act(http.StatusAccepted, "cancelupgrade", nil)
			}
			w.become(from)
			w.act(http.StatusAccepted, "rollback", nil)
			w.become("active")
			if after := w.web.Containers(); !slices.Equal(before, after) {
				t.Errorf("the containers were %v, and are %v", before, after)
			}
			if image := sub(w.get(), "launchConfig")["imageUuid"]; image != v1 {
				t.Errorf("the image is %v", image)
			}
		})
	}
}

func Test12Cancel(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	w.act(http.StatusAccepted, "upgrade", to(v2))
	w.act(http.StatusAccepted, "cancelupgrade", nil)
	w.become("canceled-upgrade")
	before := w.containers()
	w.Advance(time.Second)
	if after := w.containers(); len(after[v2]) != len(before[v2]) {
		t.Errorf("it goes on: %v, then %v", before, after)
	}
	w.act(http.StatusAccepted, "continueupgrade", nil)
	w.become("upgraded")
	same(t, "new containers", w.containers()[v2], []string{"running", "running"})
}

func Test13MissingImage(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	w.Image(v2, rancher.Image{Missing: "image not found"})
	w.act(http.StatusAccepted, "upgrade", to(v2))
	w.Advance(10 * time.Minute)
	w.is("state", "upgrading")
	w.is("transitioning", "yes")
	w.is("transitioningMessage", "image not found")
	seen := map[string]bool{}
	for range 50 {
		w.Advance(10 * time.Millisecond)
		for _, state := range w.containers()[v2] {
			seen[state] = true
		}
	}
	if !seen["error"] || !seen["stopped"] || seen["running"] {
		t.Errorf("the container was %v", seen)
	}
}

func Test14Unhealthy(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{Scale: 1})
	w.Image(v2, rancher.Image{Unhealthy: true})
	w.act(http.StatusAccepted, "upgrade", to(v2))
	seen := map[any]bool{}
	for range 200 {
		w.Advance(10 * time.Millisecond)
		seen[w.get()["healthState"]] = true
	}
	w.is("state", "upgrading")
	w.is("healthState", "unhealthy")
	if !seen["initializing"] {
		t.Errorf("its health was %v", seen)
	}
	w.Image(v2, rancher.Image{})
	w.become("upgraded")
	w.is("healthState", "healthy")
}

func Test15CrashesWithoutHealthCheck(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	w.Image(v2, rancher.Image{Crashes: true})
	w.act(http.StatusAccepted, "upgrade", to(v2, object{"launchConfig": object{"imageUuid": v2}}))
	w.become("upgraded")
	seen := map[any]bool{}
	for range 100 {
		w.Advance(10 * time.Millisecond)
		seen[w.get()["healthState"]] = true
	}
	w.is("state", "upgraded")
	if !seen["healthy"] || !seen["degraded"] {
		t.Errorf("its health was %v", seen)
	}
}

func Test16StartOnceAndSidekicks(t *testing.T) {
	once := object{"imageUuid": v1, "labels": object{"io.rancher.container.start_once": "true"}}
	w := begin(t, rancher.Options{}, rancher.Config{Scale: 1, LaunchConfig: once})
	w.act(http.StatusAccepted, "upgrade", to(v2, object{"launchConfig": object{"imageUuid": v2, "labels": once["labels"]}}))
	w.become("upgraded")
	w.Advance(time.Second)
	w.is("healthState", "started-once")

	w.web = w.project.Stack("shop").Service("app", rancher.Config{
		LaunchConfig:           object{"imageUuid": v1},
		SecondaryLaunchConfigs: []map[string]any{{"name": "log", "imageUuid": "docker:log:1"}, {"name": "old", "imageUuid": "docker:old:1"}},
	})
	w.act(http.StatusAccepted, "upgrade", to(v2, object{"secondaryLaunchConfigs": []object{
		{"name": "log", "imageUuid": "docker:log:2"}, {"name": "old", "imageUuid": "rancher/none"},
	}}))
	w.become("upgraded")
	w.act(http.StatusAccepted, "finishupgrade", nil)
	w.become("active")
	states := w.containers()
	if len(states) != 2 || len(states[v2]) != 1 || len(states["docker:log:2"]) != 1 {
		t.Errorf("containers: %v", states)
	}
	if list, _ := w.get()["secondaryLaunchConfigs"].([]any); len(list) != 1 {
		t.Errorf("sidekicks: %v", list)
	}
}

func Test17Error(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	w.web.Break("no host has room")
	w.is("state", "error")
	w.is("transitioning", "error")
	w.is("transitioningMessage", "no host has room")
	w.refused("upgrade", to(v2), "ActionNotAvailable", "action")
}

func Test18Conflict(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	f := w.Misbehave(rancher.Fault{Route: "POST /services/{id}?action=upgrade", Status: 409, Code: "Conflict", Times: 1})
	if got := w.act(http.StatusConflict, "upgrade", to(v2)); got["code"] != "Conflict" {
		t.Errorf("busy: %v", got)
	}
	w.act(http.StatusAccepted, "upgrade", to(v2))
	if n := w.Requests("POST /services/{id}?action=upgrade"); n != 2 || f.Seen() != 1 {
		t.Errorf("%d requests, %d of them went wrong", n, f.Seen())
	}
	w.ask(http.StatusOK, http.MethodDelete, w.path(), nil)
	w.ask(http.StatusMethodNotAllowed, http.MethodDelete, w.path(), nil)
}

func Test19LostAnswer(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	w.Misbehave(rancher.Fault{Route: "POST /services/{id}?action=upgrade", Lost: true, Times: 1})
	if status, _, err := w.try(http.MethodPost, w.path()+"?action=upgrade", to(v2)); err == nil {
		t.Fatalf("it was answered with %d", status)
	}
	w.is("state", "upgrading")
	if image := sub(w.get(), "launchConfig")["imageUuid"]; image != v2 {
		t.Errorf("the image is %v", image)
	}
	w.refused("upgrade", to(v2), "ActionNotAvailable", "action")
	w.Misbehave(rancher.Fault{Route: "POST /services/{id}?action=cancelupgrade", Status: 504, After: true, Times: 1})
	w.act(http.StatusGatewayTimeout, "cancelupgrade", nil)
	w.become("canceled-upgrade")
}

func Test20StuckRollback(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	w.act(http.StatusAccepted, "upgrade", to(v2))
	w.become("upgraded")
	w.web.Stick(true)
	w.act(http.StatusAccepted, "rollback", nil)
	w.Advance(10 * time.Minute)
	w.is("state", "rolling-back")
	w.web.Stick(false)
	w.become("active")
}

func Test21Restart(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	w.act(http.StatusAccepted, "upgrade", to(v2))
	if err := w.Down(); err != nil {
		t.Fatal(err)
	}
	if status, _, err := w.try(http.MethodGet, w.path(), nil); err == nil {
		t.Fatalf("it was answered with %d", status)
	}
	if err := w.Up(); err != nil {
		t.Fatal(err)
	}
	f := w.Misbehave(rancher.Fault{Status: 503})
	if body := w.ask(http.StatusServiceUnavailable, http.MethodGet, w.path(), nil); body != nil {
		t.Errorf("the page is %v", body)
	}
	f.Stop()
	w.is("state", "upgrading")

	w.Misbehave(rancher.Fault{Reset: true, Times: 1})
	if _, _, err := w.try(http.MethodPost, w.path()+"?action=cancelupgrade", nil); err == nil {
		t.Error("the connection was not reset")
	}
	w.is("state", "upgrading")
	w.Misbehave(rancher.Fault{Hang: true, Times: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := http.DefaultTransport.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer, but %v", err)
	}
}

func Test22Hands(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	w.act(http.StatusAccepted, "upgrade", to(v2))
	w.become("upgraded")
	if err := w.web.Act("finishupgrade", nil); err != nil {
		t.Fatal(err)
	}
	w.become("active")
	if err := w.web.Act("rollback", nil); err == nil {
		t.Error("a person rolled back what was finished")
	}
	w.web.Edit(func(config map[string]any) { config["imageUuid"] = "docker:acme/web:hand" })
	if image := sub(w.get(), "launchConfig")["imageUuid"]; image != "docker:acme/web:hand" {
		t.Errorf("the image is %v", image)
	}
	if n := w.Requests("POST /services/{id}?action=finishupgrade"); n != 0 {
		t.Errorf("a hand was counted as %d requests", n)
	}
}

func Test23Inactive(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{Inactive: true})
	w.act(http.StatusAccepted, "upgrade", to(v2))
	w.become("upgraded")
	same(t, "containers", w.containers()[v2], nil)
	w.act(http.StatusAccepted, "finishupgrade", nil)
	w.become("active")
	same(t, "containers", w.containers()[v2], []string{"running", "running"})
	w.act(http.StatusAccepted, "deactivate", nil)
	w.become("inactive")
	w.act(http.StatusAccepted, "activate", nil)
	w.act(http.StatusAccepted, "upgrade", to(v1))
	w.become("upgraded")
}

func Test24Fields(t *testing.T) {
	w := begin(t, rancher.Options{Registry: "registry.acme.io"}, rancher.Config{})
	got := w.act(http.StatusAccepted, "upgrade", to(v2, object{"launchConfig": object{
		"imageUuid": v2, "oomScoreAdj": 7, "sysctls": object{"a": "b"}, "inventedHere": true,
	}}))
	launch := sub(got, "launchConfig")
	if launch["oomScoreAdj"] != 7.0 || sub(launch, "sysctls")["a"] != "b" {
		t.Errorf("fields of the schema are lost: %v", launch)
	}
	if _, has := launch["inventedHere"]; has {
		t.Error("a field that the schema does not know was kept")
	}
	if launch["imageUuid"] != "docker:registry.acme.io/acme/web:v2" {
		t.Errorf("the image is %v", launch["imageUuid"])
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL()+w.path()+"?action=rollback", strings.NewReader("{"))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(w.key.Access, w.key.Secret)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("X-API-Schemas") == "" {
		t.Errorf("bad JSON: %d", resp.StatusCode)
	}
}

func Test25Scale(t *testing.T) {
	w := begin(t, rancher.Options{Hosts: 3}, rancher.Config{Scale: 1, LaunchConfig: object{
		"imageUuid": v1, "labels": object{"io.rancher.scheduler.global": "true"},
	}})
	w.is("scale", 1.0)
	w.is("currentScale", 3.0)
	w.web = w.project.Stack("shop").Service("plain", rancher.Config{Scale: 2, LaunchConfig: object{"imageUuid": v1}})
	w.ask(http.StatusOK, http.MethodPut, w.path(), object{"scale": 4})
	w.is("scale", 4.0)
	w.is("currentScale", 2.0)
	w.become("active")
	w.is("currentScale", 4.0)
}

func Test08Interval(t *testing.T) {
	for _, first := range []bool{false, true} {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			w := begin(t, rancher.Options{}, rancher.Config{})
			w.act(http.StatusAccepted, "upgrade", to(v2, object{"startFirst": first, "intervalMillis": 10_000}))
			w.Advance(9 * time.Second)
			same(t, "new containers", w.containers()[v2], []string{"running"})
			w.Advance(2 * time.Second)
			same(t, "new containers", w.containers()[v2], []string{"running", "running"})
			w.become("upgraded")
		})
	}
}
