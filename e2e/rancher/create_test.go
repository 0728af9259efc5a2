package rancher_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tagship/tagship/e2e/rancher"
)

func TestCreate(t *testing.T) {
	w := begin(t, rancher.Options{}, rancher.Config{})
	stack := w.ask(http.StatusCreated, http.MethodPost, "/stacks", object{"name": "new"})
	w.ask(http.StatusUnprocessableEntity, http.MethodPost, "/stacks", object{"name": "new"})
	body := object{
		"name": "api", "stackId": stack["id"], "scale": 2, "startOnCreate": true, "launchConfig": object{"imageUuid": v1},
	}
	got := w.ask(http.StatusCreated, http.MethodPost, "/services", body)
	if got["state"] != "registering" || got["transitioning"] != "yes" {
		t.Errorf("it is %v, transitioning %v", got["state"], got["transitioning"])
	}
	if got := w.ask(http.StatusUnprocessableEntity, http.MethodPost, "/services", body); got["code"] != "NotUnique" {
		t.Errorf("the same again: %v", got)
	}
	id, _ := got["id"].(string)
	states := map[any]bool{}
	for range 40 {
		w.Advance(10 * time.Millisecond)
		states[w.ask(http.StatusOK, http.MethodGet, "/services/"+id, nil)["state"]] = true
	}
	got = w.ask(http.StatusOK, http.MethodGet, "/services/"+id, nil)
	if !states["activating"] || got["state"] != "active" || got["currentScale"] != 2.0 {
		t.Errorf("it was %v, and is %v with %v containers", states, got["state"], got["currentScale"])
	}
	body["name"], body["stackId"] = "other", "1st999"
	if got := w.ask(http.StatusUnprocessableEntity, http.MethodPost, "/services", body); got["code"] != "InvalidReference" {
		t.Errorf("no such stack: %v", got)
	}
}

// A clock that is not stopped moves by itself, and by hand.
func TestRunningClock(t *testing.T) {
	t.Parallel()
	sim, err := rancher.Start(rancher.Options{})
	if err != nil {
		t.Fatal(err)
	}
	web := sim.Project("prod").Stack("shop").Service("web", rancher.Config{LaunchConfig: object{"imageUuid": v1}})
	if err := web.Act("restart", nil); err != nil {
		t.Fatal(err)
	}
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for range 1000 {
		if web.State() == "active" {
			break
		}
		<-poll.C
	}
	if err := web.Act("upgrade", to(v2)); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		sim.Advance(time.Second)
	}
	if state := web.State(); state != "upgraded" {
		t.Errorf("it is %s", state)
	}
	if err := sim.Close(); err != nil {
		t.Error(err)
	}
}
