package marathon_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/e2e/marathon"
)

const minute = time.Minute

func health() []fields {
	return []fields{{"protocol": "HTTP", "path": "/", "intervalSeconds": 5, "gracePeriodSeconds": 10, "maxConsecutiveFailures": 3}}
}

func with(app fields, name string, value any) fields {
	app[name] = value
	return app
}

func TestBehaviour01Create(t *testing.T) {
	sim := start(t, marathon.Options{})
	r := do(t, 201, "POST", sim.URL()+"/v2/apps", web("web:1", 2))
	id := r.header.Get("Marathon-Deployment-Id")
	want(t, r.body, "tasksRunning", 0)
	want(t, r.body, "deployments", []fields{{"id": id}})
	want(t, r.body, "versionInfo", nil)
	if got := r.header.Get("Location"); got != "/web" {
		t.Errorf("Location is %q", got)
	}
	r = do(t, 409, "POST", sim.URL()+"/v2/apps", web("web:1", 2))
	want(t, r.body, "message", "An app with id [/web] already exists.")
	if _, has := r.body["deployments"]; has {
		t.Error("a duplicate names deployments")
	}
}

func TestBehaviour02PartialUpdate(t *testing.T) {
	start := with(with(web("web:1", 1), "labels", fields{"a": "1", "b": "2"}), "resourceLimits", fields{"cpus": 2})
	sim := deployed(t, marathon.Options{}, with(start, "user", "www"))
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", fields{"labels": fields{"c": "3"}})
	a := app(t, sim)
	want(t, a, "labels", fields{"c": "3"})
	want(t, a, "user", "www")
	want(t, a, "resourceLimits", nil)
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web?force=true&partialUpdate=false", web("web:1", 1))
	want(t, app(t, sim), "user", nil)
	do(t, 404, "PATCH", sim.URL()+"/v2/apps/none", web("web:1", 1))
	do(t, 201, "PUT", sim.URL()+"/v2/apps/none", web("web:1", 1))
}

func TestBehaviour03ConfigFirstTasksLater(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 1))
	before := app(t, sim)
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", fields{"instances": 2})
	sim.Advance(minute)
	scaled := app(t, sim)
	oldInfo, _ := before["versionInfo"].(fields)
	info, _ := scaled["versionInfo"].(fields)
	want(t, info, "lastConfigChangeAt", oldInfo["lastConfigChangeAt"])
	want(t, info, "lastScalingAt", scaled["version"])
	do(t, 200, "POST", sim.URL()+"/v2/apps/web/restart", nil)
	wantTasks(t, sim, 0, 2)
	restarted := app(t, sim)
	restart, _ := restarted["versionInfo"].(fields)
	want(t, restart, "lastConfigChangeAt", restarted["version"])
	want(t, restart, "lastScalingAt", scaled["version"])
	sim.Advance(minute)
	wantTasks(t, sim, 2, 0)
}

func TestBehaviour04IdenticalPut(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 1))
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("web:2", 1))
	next := listen(t, sim, "?event_type=deployment_success")
	r := do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("web:2", 1))
	want(t, next("deployment_success"), "id", r.body["deploymentId"])
	if all := list(t, sim); len(all) != 1 || all[0]["id"] == r.body["deploymentId"] {
		t.Errorf("the deployments are %v", all)
	}
	if app(t, sim)["version"].(string) >= r.body["version"].(string) {
		t.Error("nothing changed, but the version did")
	}
}

func TestBehaviour05Lock(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 1))
	next := listen(t, sim, "")
	running := do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("web:2", 1)).body["deploymentId"]
	r := do(t, 409, "PUT", sim.URL()+"/v2/apps/web", web("web:3", 1))
	want(t, r.body, "deployments", []fields{{"id": running}})
	if !strings.Contains(r.text, "'/v2/deployments/<DEPLOYMENT_ID>'") {
		t.Errorf("got %s", r.text)
	}
	want(t, next("group_change_failed"), "reason", r.body["message"])
	failed := next("deployment_failed")
	want(t, failed, "reason", r.body["message"])
	if failed["id"] == running {
		t.Error("the deployment under way failed")
	}
	versions := do(t, 200, "GET", sim.URL()+"/v2/apps/web/versions", nil).body["versions"].([]any)
	if len(versions) != 3 {
		t.Errorf("got versions %v, want the one refused among three", versions)
	}
}

func TestBehaviour06Force(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 4))
	sim.Play("/web", "web:2", marathon.Life{Staging: minute})
	first := do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("web:2", 4)).body["deploymentId"]
	sim.Advance(time.Second)
	next := listen(t, sim, "")
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web?force=true", web("web:3", 4))
	failed := next("deployment_failed")
	want(t, failed, "id", first)
	want(t, failed, "reason", "The upgrade has been cancelled")
	if all := list(t, sim); len(all) != 0 {
		t.Errorf("it is listed at once: %v", all)
	}
	wantTasks(t, sim, 0, 8)
	sim.Advance(minute)
	wantTasks(t, sim, 4, 0)
}

func TestBehaviour07Listing(t *testing.T) {
	for version, first := range map[string]int{"1.1": 0, "1.5": 0, "1.8": 1, "1.10": 1} {
		t.Run(version, func(t *testing.T) {
			sim := start(t, marathon.Options{Version: version, Lag: time.Second})
			do(t, 201, "POST", sim.URL()+"/v2/apps", web("web:1", 1))
			if all := list(t, sim); len(all) != first {
				t.Fatalf("got %d deployments at once, want %d", len(all), first)
			}
			if first == 0 {
				sim.Advance(time.Second)
			}
			d := list(t, sim)[0]
			want(t, d, "currentStep", 0)
			want(t, d, "currentActions", []any{})
			_, lists := d["steps"].([]any)[0].([]any)
			if lists != (version == "1.1") {
				t.Errorf("the steps are %v", d["steps"])
			}
			sim.Advance(time.Second)
			if all := list(t, sim); len(all) != 0 {
				t.Errorf("it is still listed: %v", all)
			}
		})
	}
}

func TestBehaviour08Rolling(t *testing.T) {
	for name, c := range map[string]struct {
		healthy, over float64
		fresh, old    int // when no new one is healthy yet
	}{
		"defaults":      {1, 1, 4, 4},
		"one at a time": {1, 0, 1, 4},
		"half":          {0.5, 0, 2, 2},
		"quarter over":  {1, 0.25, 1, 4},
	} {
		t.Run(name, func(t *testing.T) {
			sim := deployed(t, marathon.Options{}, web("web:1", 4))
			sim.Play("", "web:2", marathon.Life{Staging: minute})
			do(t, 200, "PUT", sim.URL()+"/v2/apps/web", with(web("web:2", 4), "upgradeStrategy",
				fields{"minimumHealthCapacity": c.healthy, "maximumOverCapacity": c.over}))
			sim.Advance(time.Second)
			wantTasks(t, sim, c.fresh, c.old)
			want(t, app(t, sim), "tasksRunning", c.old)
			sim.Advance(5 * minute)
			wantTasks(t, sim, 4, 0)
		})
	}
}

func TestBehaviour09CrashLoop(t *testing.T) {
	sim := deployed(t, marathon.Options{}, with(web("web:1", 1), "healthChecks", health()))
	sim.Play("", "web:2", marathon.Life{CrashAfter: time.Second})
	version := do(t, 200, "PUT", sim.URL()+"/v2/apps/web", fields{"container": web("web:2", 1)["container"]}).body["version"]
	left := 0.0
	for range 2 {
		sim.Advance(20 * minute)
		for range 400 {
			sim.Advance(time.Second)
			queue := do(t, 200, "GET", sim.URL()+"/v2/queue", nil).body["queue"].([]any)
			if len(queue) == 0 {
				continue
			}
			delay := queue[0].(fields)["delay"].(fields)
			want(t, delay, "overdue", false)
			if got := delay["timeLeftSeconds"].(float64); got > left {
				left = got
				break
			}
		}
	}
	if left < 100 {
		t.Errorf("it waits only %v s", left)
	}
	failure := app(t, sim)["lastTaskFailure"].(fields)
	want(t, failure, "state", "TASK_FAILED")
	want(t, failure, "version", version)
	if len(list(t, sim)) != 1 {
		t.Error("the deployment ended by itself")
	}
}

func TestBehaviour10NoResources(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 1))
	sim.Play("", "web:2", marathon.Life{NoResources: "InsufficientCpus"})
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("web:2", 1))
	sim.Advance(time.Hour)
	entry := do(t, 200, "GET", sim.URL()+"/v2/queue", nil).body["queue"].([]any)[0].(fields)
	want(t, entry, "count", 1)
	want(t, entry, "delay", fields{"overdue": true, "timeLeftSeconds": 0})
	reason := entry["processedOffersSummary"].(fields)["rejectSummaryLastOffers"].([]any)[0].(fields)
	want(t, reason, "reason", "InsufficientCpus")
	wantTasks(t, sim, 0, 1)
	if len(list(t, sim)) != 1 {
		t.Error("the deployment ended by itself")
	}
}

func TestBehaviour11Health(t *testing.T) {
	sim := start(t, marathon.Options{})
	sim.Play("", "web:1", marathon.Life{Unhealthy: true})
	do(t, 201, "POST", sim.URL()+"/v2/apps", with(web("web:1", 1), "healthChecks", health()))
	task := func() fields { return app(t, sim)["tasks"].([]any)[0].(fields) }
	sim.Advance(4 * time.Second)
	want(t, task(), "healthCheckResults", nil)
	sim.Advance(2 * time.Second)
	result := task()["healthCheckResults"].([]any)[0].(fields)
	want(t, result, "alive", false)
	want(t, result, "consecutiveFailures", 0)
	want(t, app(t, sim), "tasksUnhealthy", 1)
	first := task()["id"]
	sim.Advance(24 * time.Second) // probes at 15, 20, 25 and 30 s fail beyond the grace period
	want(t, task(), "id", first)
	sim.Advance(2 * time.Second)
	if task()["id"] == first {
		t.Error("it was not killed after too many failures")
	}
	sim.Play("", "web:2", marathon.Life{Flapping: true, NullResults: true})
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web?force=true", fields{"container": web("web:2", 1)["container"]})
	alive, nulls := map[bool]bool{}, 0
	for range 10 {
		sim.Advance(5 * time.Second)
		for _, x := range app(t, sim)["tasks"].([]any) {
			if results, has := x.(fields)["healthCheckResults"].([]any); has {
				alive[results[0].(fields)["alive"].(bool)] = true
				if results[len(results)-1] == nil {
					nulls++
				}
			}
		}
	}
	if len(alive) != 2 || nulls == 0 {
		t.Errorf("it does not flap: %v, %d nulls", alive, nulls)
	}
}

func TestBehaviour12CrashAfterDone(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 1))
	sim.Play("", "web:2", marathon.Life{CrashAfter: 5 * time.Second})
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("web:2", 1))
	sim.Advance(time.Second)
	if len(list(t, sim)) != 0 || app(t, sim)["lastTaskFailure"] != nil {
		t.Error("it is not done though it runs")
	}
	sim.Advance(5 * time.Second)
	want(t, app(t, sim)["lastTaskFailure"].(fields), "state", "TASK_FAILED")
}

func TestBehaviour13Readiness(t *testing.T) {
	ready := []fields{{"name": "ready", "path": "/"}}
	sim := deployed(t, marathon.Options{}, with(web("web:1", 1), "readinessChecks", ready))
	sim.Play("", "web:2", marathon.Life{ReadyAfter: minute})
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", fields{"container": web("web:2", 1)["container"]})
	sim.Advance(2 * time.Second)
	wantTasks(t, sim, 1, 1)
	action := list(t, sim)[0]["currentActions"].([]any)[0].(fields)
	want(t, action["readinessCheckResults"].([]any)[0].(fields), "ready", false)
	sim.Advance(minute)
	wantTasks(t, sim, 1, 0)
}

func TestBehaviour14DeleteDeployment(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 2))
	sim.Play("", "web:2", marathon.Life{Stuck: true})
	begin := func() string {
		id := do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("web:2", 2)).body["deploymentId"].(string)
		sim.Advance(time.Second)
		return sim.URL() + "/v2/deployments/" + id
	}
	deployment := begin()
	before := app(t, sim)["tasks"].([]any)[0].(fields)["id"]
	do(t, 200, "DELETE", deployment, nil)
	sim.Advance(minute)
	a := app(t, sim)
	want(t, a["container"].(fields), "docker", fields{"image": "web:1"})
	if a["tasks"].([]any)[0].(fields)["id"] == before {
		t.Error("the rollback kept a good task")
	}
	do(t, 404, "DELETE", deployment, nil)

	if r := do(t, 202, "DELETE", begin()+"?force=true", nil); r.text != "" {
		t.Errorf("got %q", r.text)
	}
	want(t, app(t, sim)["container"].(fields), "docker", fields{"image": "web:2"})

	id := do(t, 200, "POST", sim.URL()+"/v2/apps/web/restart?force=true", nil).body["deploymentId"].(string)
	do(t, 200, "DELETE", sim.URL()+"/v2/deployments/"+id, nil) // there is nothing to revert
	sim.Advance(time.Second)
	if all := list(t, sim); len(all) != 1 || all[0]["id"] != id {
		t.Errorf("the restart was stopped: %v", all)
	}

	id = do(t, 201, "PUT", sim.URL()+"/v2/apps/other", web("web:2", 1)).body["deploymentId"].(string)
	do(t, 200, "DELETE", sim.URL()+"/v2/deployments/"+id, nil)
	sim.Advance(minute)
	do(t, 404, "GET", sim.URL()+"/v2/apps/other", nil)
}

func TestBehaviour15Rollback(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 1))
	first := app(t, sim)["version"]
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("web:2", 1))
	sim.Advance(minute)
	do(t, 422, "PUT", sim.URL()+"/v2/apps/web", fields{"version": first, "instances": 2})
	do(t, 404, "PUT", sim.URL()+"/v2/apps/web", fields{"version": "2001-01-01T00:00:00.000Z"})
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", fields{"version": first})
	sim.Advance(minute)
	a := app(t, sim)
	want(t, a["container"].(fields), "docker", fields{"image": "web:1"})
	if a["version"] == first {
		t.Error("a rollback is no new version")
	}
}

func TestBehaviour16DeleteIsForcedRestartIsNot(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 1))
	do(t, 200, "POST", sim.URL()+"/v2/apps/web/restart", nil)
	do(t, 409, "POST", sim.URL()+"/v2/apps/web/restart", nil)
	do(t, 409, "DELETE", sim.URL()+"/v2/apps/web?force=false", nil)
	sim.Advance(minute)
	first := app(t, sim)["version"]
	do(t, 200, "POST", sim.URL()+"/v2/apps/web/restart", nil)
	if app(t, sim)["version"] == first {
		t.Error("restarting again did nothing")
	}
	do(t, 200, "DELETE", sim.URL()+"/v2/apps/web", nil)
	do(t, 404, "GET", sim.URL()+"/v2/apps/web", nil)
}

func TestBehaviour17LostAnswers(t *testing.T) {
	for name, f := range map[string]marathon.Fault{
		"reset": {Reset: true},
		"html":  {Status: 503},
		"json":  {Status: 503, Body: `{"message":"Timeout"}`},
		"text":  {Status: 504, Body: "Gateway Timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			sim := deployed(t, marathon.Options{}, web("web:1", 1))
			f.Route, f.App, f.Applied, f.Times = marathon.RoutePutApp, "/web", true, 1
			sim.Misbehave(f)
			r, err := try(t, "PUT", sim.URL()+"/v2/apps/web", web("web:2", 1))
			if (err != nil) != f.Reset || r.status != f.Status {
				t.Errorf("got %v, %v", r, err)
			}
			want(t, app(t, sim)["container"].(fields), "docker", fields{"image": "web:2"})
			if got := sim.Requests(marathon.RoutePutApp); got != 1 {
				t.Errorf("it was asked %d times", got)
			}
		})
	}
}

func TestBehaviour18Leadership(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 2))
	r := do(t, 200, "GET", sim.Standby()+"/v2/apps/web", nil)
	if r.header.Get("X-Marathon-Leader") != sim.URL() {
		t.Errorf("got %v", r.header)
	}
	r = do(t, 302, "GET", sim.Standby()+"/v2/events", nil, "Accept", "text/event-stream")
	if got := r.header.Get("Location"); got != sim.URL()+"/v2/events" {
		t.Errorf("it redirects to %q", got)
	}
	next := listen(t, sim, "")
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("web:2", 2))
	do(t, 200, "DELETE", sim.URL()+"/v2/leader", nil)
	if next("no such event") != nil {
		t.Error("the stream goes on")
	}
	sim.Elect(-1)
	do(t, 502, "GET", sim.URL()+"/v2/apps/web", nil)
	do(t, 404, "GET", sim.URL()+"/v2/leader", nil)
	do(t, 200, "GET", sim.URL()+"/v2/info", nil)
	sim.Elect(1)
	sim.Advance(minute)
	wantTasks(t, sim, 2, 0)
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("web:3", 2))
	sim.Crash()
	sim.Advance(minute)
	if len(list(t, sim)) != 0 {
		t.Error("a crash lost nothing")
	}
	wantTasks(t, sim, 0, 2)
}

func TestBehaviour19Authentication(t *testing.T) {
	basic := start(t, marathon.Options{User: "u", Password: "p"})
	r := do(t, 401, "GET", basic.URL()+"/ping", nil)
	if !strings.Contains(r.text, "<html>") || r.header.Get("WWW-Authenticate") == "" {
		t.Errorf("got %v", r)
	}
	do(t, 200, "GET", basic.URL()+"/v2/apps", nil, "Authorization", "Basic dTpw")

	dcos := start(t, marathon.Options{DCOS: true})
	token := "token=" + dcos.Token(time.Hour)
	do(t, 200, "GET", dcos.URL()+"/marathon/v2/apps", nil, "Authorization", token)
	do(t, 404, "GET", dcos.URL()+"/v2/apps", nil, "Authorization", token)
	dcos.Advance(time.Hour)
	do(t, 401, "GET", dcos.URL()+"/marathon/v2/apps", nil, "Authorization", token)

	full := start(t, marathon.Options{MaxDeployments: 1})
	do(t, 201, "POST", full.URL()+"/v2/apps", web("web:1", 1))
	r = do(t, 403, "PUT", full.URL()+"/v2/apps/web?force=true", web("web:2", 1))
	if !strings.Contains(r.text, "Max number (1) of running deployments") {
		t.Errorf("got %s", r.text)
	}
}

func TestBehaviour20Events(t *testing.T) {
	sim := start(t, marathon.Options{Version: "1.5"})
	do(t, 405, "GET", sim.URL()+"/v2/events", nil)
	next := listen(t, sim, "?event_type=known&event_type=unknown_event")
	sim.MisbehaveEvents(marathon.EventFault{Type: "known", Late: true, Times: 1})
	sim.Emit("known", fields{"n": 1})
	sim.Emit("filtered", fields{})
	sim.Emit("known", fields{"n": 2})
	want(t, next("known"), "n", 1) // "filtered" came before it, and was filtered
	want(t, next("known"), "n", 2)
	sim.MisbehaveEvents(marathon.EventFault{Type: "known", Times: 1})
	sim.Emit("known", fields{"n": 3})
	sim.Emit("unknown_event", fields{"n": 4})
	want(t, next("unknown_event"), "n", 4)
	sim.Disconnect()
	if next("known") != nil {
		t.Error("the stream goes on, or told of what was dropped")
	}
	plan := listen(t, sim, "?event_type=deployment_success")
	do(t, 201, "POST", sim.URL()+"/v2/apps", web("web:1", 1))
	sim.Advance(minute)
	if plan("deployment_success")["plan"].(fields)["target"] == nil {
		t.Error("the plan of a 1.5 is without groups")
	}
}

func TestBehaviour21HandEdits(t *testing.T) {
	sim := deployed(t, marathon.Options{}, web("web:1", 1))
	first := app(t, sim)["version"]
	next := listen(t, sim, "?event_type=api_post_event")
	if err := sim.Edit("/web", fields{"instances": 3}, false); err != nil {
		t.Fatal(err)
	}
	want(t, next("api_post_event"), "clientIp", "10.9.9.9")
	if err := sim.Restart("/web", false); err == nil {
		t.Error("a restart is not refused while the app is locked")
	}
	if err := sim.Restart("/web", true); err != nil {
		t.Fatal(err)
	}
	sim.Advance(minute)
	wantTasks(t, sim, 3, 0)
	if err := sim.Edit("/web", fields{"version": first}, false); err != nil {
		t.Fatal(err)
	}
	want(t, app(t, sim), "instances", 1)
}

func TestBehaviour22Errors(t *testing.T) {
	for version, status := range map[string][]int{"1.4": {400, 404}, "1.10": {422, 500}} {
		t.Run(version, func(t *testing.T) {
			sim := start(t, marathon.Options{Version: version})
			if r := do(t, 400, "POST", sim.URL()+"/v2/apps", "{"); r.body["details"].(string) == "" {
				t.Errorf("got %s", r.text)
			}
			do(t, 400, "POST", sim.URL()+"/v2/apps", "")
			r := do(t, status[0], "POST", sim.URL()+"/v2/apps", with(web("web:1", 1), "instances", "two"))
			want(t, r.body, "message", "Invalid JSON")
			want(t, r.body["details"].([]any)[0].(fields), "path", "/instances")
			do(t, status[1], "GET", sim.URL()+"/v2/eventSubscriptions", nil)
			r = do(t, 422, "POST", sim.URL()+"/v2/apps", with(web("web:1", 1), "upgradeStrategy", fields{"minimumHealthCapacity": 2}))
			want(t, r.body, "message", "Object is not valid")
		})
	}
}

func TestBehaviour23ReadModifyWrite(t *testing.T) {
	old := deployed(t, marathon.Options{Version: "1.4"}, web("web:1", 1))
	do(t, 422, "PUT", old.URL()+"/v2/apps/web", app(t, old))
	want(t, app(t, old), "ports", []int{0})
	recent := deployed(t, marathon.Options{}, with(web("web:1", 1), "env", fields{"P": fields{"secret": "s"}}))
	a := app(t, recent)
	want(t, a, "uris", nil)
	want(t, a, "env", fields{"P": fields{"secret": "s"}})
	do(t, 500, "PUT", recent.URL()+"/v2/apps/web", fields{"uris": []any{}, "fetch": []any{}})
}

func TestBehaviour24PingAndInfo(t *testing.T) {
	for version, status := range map[string]int{"1.4": 200, "1.5": 406, "1.10": 200} {
		sim := start(t, marathon.Options{Version: version, Future: true})
		want(t, fields{"": do(t, 200, "GET", sim.URL()+"/ping", nil).text}, "", "pong")
		do(t, status, "GET", sim.URL()+"/ping", nil, "Accept", "application/json")
		sim.Elect(-1)
		want(t, do(t, 200, "GET", sim.URL()+"/v2/info", nil).body, "leader", nil)
		sim.Elect(0)
		if do(t, 201, "POST", sim.URL()+"/v2/apps", web("web:1", 1)).body["futureField"] == nil {
			t.Error("there is no unknown field")
		}
	}
}

func TestBehaviour25Images(t *testing.T) {
	image := "registry.example.org/web@sha256:aa"
	sim := deployed(t, marathon.Options{}, web(image, 1))
	want(t, app(t, sim)["container"].(fields), "docker", fields{"image": image})
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web(image, 1))
	if len(list(t, sim)) != 0 {
		t.Error("the same image is rolled out again")
	}
	sim.Play("", "none:1", marathon.Life{BadImage: "Failed to pull none:1"})
	do(t, 200, "PUT", sim.URL()+"/v2/apps/web", web("none:1", 1))
	sim.Advance(time.Second)
	want(t, app(t, sim)["lastTaskFailure"].(fields), "message", "Failed to pull none:1")
	dead := 0
	for _, x := range app(t, sim)["tasks"].([]any) {
		if task := x.(fields); task["state"] == "TASK_FAILED" && task["version"] == nil {
			dead++
		}
	}
	if dead != 1 {
		t.Errorf("%d failed tasks are still shown, want 1", dead)
	}
}

func TestFaults(t *testing.T) {
	sim := start(t, marathon.Options{})
	f := sim.Misbehave(marathon.Fault{Route: marathon.RouteApps, Skip: 1, Times: 1, Status: http.StatusBadGateway})
	for _, status := range []int{200, 502, 200} {
		do(t, status, "GET", sim.URL()+"/v2/apps", nil)
	}
	f.Stop()
	hang := sim.Misbehave(marathon.Fault{Hang: true, Times: 1})
	done := make(chan error, 1)
	go func() {
		_, err := try(t, "GET", sim.URL()+"/v2/info", nil)
		done <- err
	}()
	if err := <-done; err == nil {
		t.Error("it was answered")
	}
	hang.Stop()
	if got := sim.Requests(""); got != 4 {
		t.Errorf("%d requests are counted, want 4", got)
	}
}
