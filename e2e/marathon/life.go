package marathon

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Life is how the tasks of an app live. The zero value starts at once, and is healthy at the first probe.
type Life struct {
	Staging      time.Duration // until it runs
	Stuck        bool          // it stays staging
	BadImage     string        // it fails after Staging with this message
	NoResources  string        // it is never launched for this reason, such as InsufficientCpus
	CrashAfter   time.Duration // it fails so long after it ran, if not 0
	HealthyAfter time.Duration // health checks fail until so long after it ran
	Unhealthy    bool          // health checks fail always
	Flapping     bool          // every second health check fails
	NullResults  bool          // health results hold a null beside the true one
	ReadyAfter   time.Duration // readiness checks fail until so long after it ran
}

// rule says how tasks live.
type rule struct {
	app, image string
	life       Life
}

// task is a task; it is forgotten when it ended, but see app.dead.
type task struct {
	id, state       string
	app             *app
	spec            *spec
	life            Life
	port            int
	staged, started time.Time
	ready           bool
	probed, alive   bool
	failures        int
	firstSuccess    time.Time
	lastSuccess     time.Time
	lastFailure     time.Time
	probes          int
	gone            bool
}

// Play makes tasks that are launched from now on live so: those of an app with an image, all if both are empty.
// The last rule that fits holds.
func (s *Sim) Play(app, image string, life Life) {
	s.enter()
	defer s.leave()
	s.lives = append(s.lives, rule{app, image, life})
}

func (s *Sim) lifeOf(id string, f *spec) Life {
	for _, r := range slices.Backward(s.lives) {
		if (r.app == "" || r.app == id) && (r.image == "" || r.image == f.image()) {
			return r.life
		}
	}
	return Life{}
}

// launch starts up to n tasks of the present version, as far as back-off and resources let it.
func (s *Sim) launch(a *app, n int) bool {
	if n <= 0 || s.time.Before(a.delayed) {
		return false
	}
	life := s.lifeOf(a.id, a.spec)
	if life.NoResources != "" {
		if a.short.IsZero() {
			a.short = s.time
		}
		return false
	}
	a.short = time.Time{}
	for range n {
		s.serial++
		name := strings.ReplaceAll(strings.TrimPrefix(a.id, "/"), "/", "_")
		t := &task{
			app: a, spec: a.spec, life: life, state: "TASK_STAGING", staged: s.time, port: 31000 + s.serial%1000,
			id: fmt.Sprintf("%s.%08x-0000-11e6-8000-000000000001", name, s.serial),
		}
		if s.minor >= 8 {
			t.id = fmt.Sprintf("%s.instance-%08x-0000-11e6-8000-000000000001._app.1", name, s.serial)
		}
		a.tasks = append(a.tasks, t)
		if len(a.dead) > 0 {
			a.dead = a.dead[1:]
		}
		s.publishStatus(t, "")
		if !life.Stuck {
			s.after(life.Staging, func() { s.begin(t) })
		}
	}
	return true
}

// begin makes a task run, or fail to.
func (s *Sim) begin(t *task) {
	if t.gone {
		return
	}
	if t.life.BadImage != "" {
		s.end(t, "TASK_FAILED", t.life.BadImage)
		return
	}
	t.state, t.started = "TASK_RUNNING", s.time
	s.publishStatus(t, "")
	if t.life.CrashAfter > 0 {
		s.after(t.life.CrashAfter, func() { s.end(t, "TASK_FAILED", "Command exited with status 1") })
	}
	s.after(t.life.ReadyAfter, func() { t.ready = true })
	if len(t.spec.checks("healthChecks")) > 0 {
		s.after(t.interval(), func() { s.probe(t) })
	}
}

func (t *task) interval() time.Duration {
	return max(time.Millisecond, time.Duration(t.spec.check("intervalSeconds", 60)*float64(time.Second)))
}

// probe is one health check.
func (s *Sim) probe(t *task) {
	if t.gone {
		return
	}
	age := s.time.Sub(t.started)
	alive := !t.life.Unhealthy && age >= t.life.HealthyAfter && (!t.life.Flapping || t.probes%2 == 0)
	t.probes++
	changed := !t.probed || t.alive != alive
	t.probed, t.alive = true, alive
	if alive {
		t.failures, t.lastSuccess = 0, s.time
		if t.firstSuccess.IsZero() {
			t.firstSuccess = s.time
		}
	} else {
		t.lastFailure = s.time
		grace := time.Duration(t.spec.check("gracePeriodSeconds", 300) * float64(time.Second))
		if !t.firstSuccess.IsZero() || age > grace {
			t.failures++
		}
		s.publish("failed_health_check_event", Fields{"appId": t.app.id, "taskId": t.instance(), "healthCheck": t.spec.checks("healthChecks")[0]})
	}
	if changed {
		s.publishHealth(t)
	}
	if most := int(t.spec.check("maxConsecutiveFailures", 3)); most > 0 && t.failures > most {
		s.end(t, "TASK_KILLED", "Killed for failing health checks")
		return
	}
	s.after(t.interval(), func() { s.probe(t) })
}

// end ends a task that is to be replaced; failures make the next launch wait longer.
func (s *Sim) end(t *task, state, message string) {
	if t.gone {
		return
	}
	a := t.app
	s.kill(t, state, message)
	if s.minor >= 8 {
		a.dead = append(a.dead, t)
	}
	if state == "TASK_KILLED" {
		return
	}
	a.lastFailure = Fields{
		"appId": a.id, "host": "agent-1.example.org", "message": message, "state": state, "taskId": t.id,
		"timestamp": stamp(s.time), "version": stamp(t.spec.version), "slaveId": "agent-1",
	}
	if a.spec == nil || t.spec.configured != a.spec.configured {
		return
	}
	if a.backoff == 0 {
		a.backoff = a.spec.seconds("backoffSeconds", 1)
	} else {
		a.backoff = time.Duration(float64(a.backoff) * a.spec.number("backoffFactor", 1.15))
	}
	a.backoff = min(a.backoff, a.spec.seconds("maxLaunchDelaySeconds", 300))
	a.delayed = s.time.Add(a.backoff)
	s.after(a.backoff, func() {}) // whatever comes due is followed by launches
}

// kill ends a task for good.
func (s *Sim) kill(t *task, state, message string) {
	t.gone, t.state = true, state
	t.app.tasks = slices.DeleteFunc(t.app.tasks, func(x *task) bool { return x == t })
	s.publishStatus(t, message)
}

// healthy tells whether a deployment counts the task as healthy.
func (t *task) healthy() bool {
	return t.state == "TASK_RUNNING" && (len(t.spec.checks("healthChecks")) == 0 || t.probed && t.alive)
}

// isReady tells whether a deployment may go on with it.
func (t *task) isReady() bool { return len(t.spec.checks("readinessChecks")) == 0 || t.ready }

// current tells whether the task runs what the app is now.
func (t *task) current() bool {
	return t.app.spec != nil && !t.spec.version.Before(t.app.spec.configured)
}

// instance is the id that health events know the task by.
func (t *task) instance() string { return strings.TrimSuffix(t.id, "._app.1") }

// counts are those of the API, of tasks of every version.
func (a *app) counts() (staged, running, healthy, unhealthy int) {
	for _, t := range a.tasks {
		switch {
		case t.state != "TASK_RUNNING":
			staged++
			continue
		case t.probed && t.alive:
			healthy++
		case t.probed:
			unhealthy++
		}
		running++
	}
	return staged, running, healthy, unhealthy
}

// showTasks are the tasks of an app as the API writes them.
func (s *Sim) showTasks(a *app) []Fields {
	shown := []Fields{}
	for _, t := range a.tasks {
		task := Fields{
			"id": t.id, "appId": a.id, "host": "agent-1.example.org", "slaveId": "agent-1", "ports": []int{t.port},
			"stagedAt": stamp(t.staged), "version": stamp(t.spec.version), "state": t.state,
			"ipAddresses": []Fields{{"ipAddress": "10.0.0.1", "protocol": "IPv4"}},
		}
		if s.minor < 4 {
			delete(task, "state")
		}
		if !t.started.IsZero() {
			task["startedAt"] = stamp(t.started)
		}
		if t.probed {
			results := []any{s.showHealth(t)}
			if t.life.NullResults {
				results = append(results, nil)
			}
			task["healthCheckResults"] = results
		}
		shown = append(shown, task)
	}
	for _, t := range a.dead {
		shown = append(shown, Fields{"id": t.id, "appId": a.id, "host": "agent-1.example.org", "slaveId": "agent-1", "state": t.state})
	}
	return shown
}

func (s *Sim) showHealth(t *task) Fields {
	result := Fields{"alive": t.alive, "consecutiveFailures": t.failures, "firstSuccess": nil, "lastSuccess": nil, "lastFailure": nil, "lastFailureCause": nil}
	for name, at := range map[string]time.Time{"firstSuccess": t.firstSuccess, "lastSuccess": t.lastSuccess, "lastFailure": t.lastFailure} {
		if !at.IsZero() {
			result[name] = stamp(at)
		}
	}
	if !t.lastFailure.IsZero() {
		result["lastFailureCause"] = "ConnectException: Connection refused"
	}
	if s.minor < 4 {
		result["taskId"] = t.id
	} else {
		result["instanceId"] = t.instance()
	}
	return result
}
