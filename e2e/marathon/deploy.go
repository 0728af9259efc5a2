package marathon

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The actions of deployments.
const (
	actionStart   = "StartApplication"
	actionStop    = "StopApplication"
	actionScale   = "ScaleApplication"
	actionRestart = "RestartApplication"
)

const (
	locked    = "App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'."
	cancelled = "The upgrade has been cancelled"
)

// change is what an update makes of one app.
type change struct {
	app     string
	fields  Fields // of the app as it will be; nil removes it
	restart bool   // though nothing differs
}

// action is a step of a deployment; every step has one.
type action struct{ name, app string }

// deployment is a plan under way.
type deployment struct {
	id, version string
	steps       []action
	step        int // from 1; 0 before it begins
	listed      bool
	original    map[string]Fields // of what it changes; nil where there was nothing
	// Of the step that restarts an app:
	kills, killed int // old tasks that may end without a new one, and those that did end
	maxTasks      int
}

// accepted is an update that the API answers with.
type accepted struct{ id, version string }

// update makes a plan of changes and starts it.
func (s *Sim) update(changes []change, force bool) (accepted, *answer) {
	now := s.newVersion()
	d := &deployment{id: s.newID(), version: stamp(now), original: map[string]Fields{}}
	next := map[string]*spec{}
	for _, c := range changes {
		s.plan(d, c, now, next)
	}
	result := accepted{d.id, d.version}
	if s.minor >= 6 && len(s.deployments) >= s.opts.MaxDeployments {
		return result, refuse(http.StatusForbidden, "Max number (%d) of running deployments is achieved. Wait for existing deployments to complete or cancel oneusing force=true parameter. "+
			"You can increase max deployment number by using --max_running_deployments parameter but be advised that this can have negative effects on the performance.", s.opts.MaxDeployments)
	}
	if len(d.steps) == 0 {
		s.publishPlan("deployment_success", d, "")
		return result, nil
	}
	conflicts := s.conflicts(d)
	if s.minor >= 5 || len(conflicts) == 0 || force {
		s.store(next)
	}
	if len(conflicts) > 0 && !force {
		s.publish("group_change_failed", Fields{"groupId": "/", "version": d.version, "reason": locked})
		s.publishPlan("deployment_failed", d, locked)
		ids := []Fields{}
		for _, other := range conflicts {
			ids = append(ids, Fields{"id": other.id})
		}
		return result, &answer{status: http.StatusConflict, body: Fields{"message": locked, "deployments": ids}}
	}
	for _, other := range conflicts {
		s.cancel(other)
	}
	for id, f := range next {
		if s.apps[id] == nil {
			s.apps[id] = &app{id: id, versions: []*spec{f}}
		}
		s.apps[id].spec = f
	}
	s.publish("group_change_success", Fields{"groupId": "/", "version": d.version})
	s.deployments = append(s.deployments, d)
	s.schedule(d, force)
	return result, nil
}

// plan adds the steps of a change.
func (s *Sim) plan(d *deployment, c change, now time.Time, next map[string]*spec) {
	var old *spec
	if a := s.apps[c.app]; a != nil {
		old = a.spec
	}
	if old != nil {
		d.original[c.app] = old.fields
	} else {
		d.original[c.app] = nil
	}
	f := &spec{fields: c.fields, version: now, scaled: now, configured: now}
	switch {
	case c.fields == nil && old == nil:
		return
	case c.fields == nil:
		d.steps = append(d.steps, action{actionStop, c.app})
		next[c.app] = nil
		return
	case old == nil:
		d.steps = append(d.steps, action{actionStart, c.app}, action{actionScale, c.app})
	case !sameConfig(old.fields, c.fields):
		d.steps = append(d.steps, action{actionRestart, c.app})
	case c.restart:
		f.scaled = old.scaled
		d.steps = append(d.steps, action{actionRestart, c.app})
	case old.instances() != f.instances():
		f.configured = old.configured
		d.steps = append(d.steps, action{actionScale, c.app})
	default:
		return
	}
	next[c.app] = f
}

// store keeps versions, whether they will ever run or not.
func (s *Sim) store(next map[string]*spec) {
	for id, f := range next {
		if a := s.apps[id]; a != nil && f != nil {
			a.versions = append(a.versions, f)
		}
	}
}

// conflicts are the deployments that change one of the same apps.
func (s *Sim) conflicts(d *deployment) []*deployment {
	var found []*deployment
	for _, other := range s.deployments {
		if slices.ContainsFunc(d.apps(), func(id string) bool { return slices.Contains(other.apps(), id) }) {
			found = append(found, other)
		}
	}
	return found
}

// apps are those that the deployment changes.
func (d *deployment) apps() []string {
	ids := []string{}
	for _, a := range d.steps {
		if !slices.Contains(ids, a.app) {
			ids = append(ids, a.app)
		}
	}
	return ids
}

// schedule lists a deployment, and begins it after a while. A forced one is hidden until
// what it cancelled has stopped, and before 1.8 any one is for a moment.
func (s *Sim) schedule(d *deployment, force bool) {
	begin := func() {
		if slices.Contains(s.deployments, d) && d.step == 0 {
			s.enterStep(d)
		}
	}
	if s.minor >= 8 && !force {
		d.listed = true
		s.after(s.opts.Lag, begin)
		return
	}
	s.after(s.opts.Lag, func() {
		d.listed = true
		s.after(s.opts.Lag, begin)
	})
}

// cancel ends a deployment, and leaves what it did.
func (s *Sim) cancel(d *deployment) {
	s.forget(d)
	s.publishPlan("deployment_failed", d, cancelled)
}

func (s *Sim) forget(d *deployment) {
	s.deployments = slices.DeleteFunc(s.deployments, func(x *deployment) bool { return x == d })
}

// settle does all that can be done now.
func (s *Sim) settle() {
	for moved := s.leader != noLeader; moved; {
		moved = false
		for _, d := range slices.Clone(s.deployments) {
			if d.step > 0 {
				moved = s.proceed(d) || moved
			}
		}
		for _, id := range slices.Sorted(maps.Keys(s.apps)) {
			if len(s.deploymentsOf(id)) == 0 {
				moved = s.scale(s.apps[id]) || moved
			}
		}
	}
}

// enterStep begins the next step, or ends the deployment.
func (s *Sim) enterStep(d *deployment) {
	d.step++
	if d.step > len(d.steps) {
		s.forget(d)
		s.publishPlan("deployment_success", d, "")
		return
	}
	s.prepare(d)
	s.publishStep("deployment_info", d)
}

// prepare decides how the present step goes about it, when it begins and when a new leader resumes it.
func (s *Sim) prepare(d *deployment) {
	step := d.steps[d.step-1]
	a := s.apps[step.app]
	a.backoff, a.delayed = 0, time.Time{}
	if step.name != actionRestart {
		return
	}
	healthy, good := 0, 0
	for _, t := range a.tasks {
		if t.healthy() {
			healthy++
			if t.current() && t.isReady() {
				good++
			}
		}
	}
	minHealthy, most := a.spec.bounds()
	if minHealthy == most && most <= healthy {
		most++
	}
	d.kills, d.killed, d.maxTasks = max(0, healthy-minHealthy), good, most
}

// proceed does what the present step can do, and tells whether that was anything.
func (s *Sim) proceed(d *deployment) bool {
	step := d.steps[d.step-1]
	a := s.apps[step.app]
	var moved, done bool
	switch step.name {
	case actionStart:
		done = true
	case actionStop:
		moved, done = s.scale(a), true
	case actionScale:
		moved = s.scale(a)
		done = len(a.tasks) == a.spec.instances() && !slices.ContainsFunc(a.tasks, func(t *task) bool { return !t.healthy() || !t.isReady() })
	case actionRestart:
		moved, done = s.replace(d, a)
	}
	if done {
		s.publishStep("deployment_step_success", d)
		s.enterStep(d)
	}
	return moved || done
}

// scale launches what is missing and kills what is too much, and tells whether that was anything.
func (s *Sim) scale(a *app) bool {
	if a.spec == nil {
		for _, t := range slices.Clone(a.tasks) {
			s.kill(t, "TASK_KILLED", "")
		}
		delete(s.apps, a.id)
		s.publish("app_terminated_event", Fields{"appId": a.id})
		return true
	}
	n := a.spec.instances()
	surplus := max(0, len(a.tasks)-n)
	for range surplus {
		last := a.tasks[len(a.tasks)-1]
		if a.spec.fields["killSelection"] == "OLDEST_FIRST" {
			last = a.tasks[0]
		}
		s.kill(last, "TASK_KILLED", "")
	}
	return s.launch(a, n-len(a.tasks)) || surplus > 0
}

// replace is the rolling update: one old task ends for each new one that is healthy and
// ready, and any that is more than must be healthy. Where there is no room for new tasks,
// which happens after a forced update, old ones that are not healthy make it.
func (s *Sim) replace(d *deployment, a *app) (moved, done bool) {
	var old []*task
	good, healthy, n := 0, 0, a.spec.instances()
	for _, t := range a.tasks {
		switch {
		case !t.current():
			old = append(old, t)
			healthy += btoi(t.healthy())
		case t.healthy() && t.isReady():
			good++
			healthy++
		}
	}
	fresh := len(a.tasks) - len(old)
	minHealthy, _ := a.spec.bounds()
	slices.SortStableFunc(old, func(x, y *task) int { return cmp.Compare(btoi(x.healthy()), btoi(y.healthy())) })
	for len(old) > 0 {
		crowded := fresh < n && len(a.tasks) >= d.maxTasks && !old[0].healthy()
		if good < n && d.killed >= d.kills+good && healthy <= minHealthy && !crowded {
			break
		}
		healthy -= btoi(old[0].healthy())
		s.kill(old[0], "TASK_KILLED", "")
		old = old[1:]
		d.killed++
		moved = true
	}
	if s.launch(a, min(n-fresh, d.maxTasks-len(a.tasks))) {
		return true, false
	}
	if len(old) == 0 && fresh > n {
		return s.scale(a), false
	}
	return moved, len(old) == 0 && good == n && fresh == n
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// deploymentsOf are the ids of deployments that change an app.
func (s *Sim) deploymentsOf(id string) []Fields {
	ids := []Fields{}
	for _, d := range s.deployments {
		if slices.Contains(d.apps(), id) {
			ids = append(ids, Fields{"id": d.id})
		}
	}
	return ids
}

// undo answers DELETE of a deployment.
func (s *Sim) undo(id string, force bool) answer {
	i := slices.IndexFunc(s.deployments, func(d *deployment) bool { return d.id == id })
	if i < 0 {
		return *refuse(http.StatusNotFound, "DeploymentPlan %s does not exist", id)
	}
	d := s.deployments[i]
	if force {
		s.cancel(d)
		return answer{status: http.StatusAccepted}
	}
	var changes []change
	for _, id := range d.apps() {
		changes = append(changes, change{app: id, fields: d.original[id]})
	}
	return s.answerUpdate(changes, true)
}

// answerUpdate is the usual answer to an update.
func (s *Sim) answerUpdate(changes []change, force bool) answer {
	result, refusal := s.update(changes, force)
	if refusal != nil {
		return *refusal
	}
	return answer{
		status: http.StatusOK, header: map[string]string{"Marathon-Deployment-Id": result.id},
		body: Fields{"version": result.version, "deploymentId": result.id},
	}
}

// showDeployments is the answer of /v2/deployments.
func (s *Sim) showDeployments() []Fields {
	shown := []Fields{}
	for _, d := range s.deployments {
		if !d.listed {
			continue
		}
		current := []Fields{}
		if d.step > 0 {
			current = append(current, s.showAction(d.steps[d.step-1], true))
		}
		deployment := Fields{
			"id": d.id, "version": d.version, "affectedApps": d.apps(), "currentActions": current,
			"currentStep": d.step, "totalSteps": len(d.steps), "steps": s.showSteps(d),
		}
		if s.minor >= 4 {
			deployment["affectedPods"] = []string{}
		}
		if s.minor == 1 {
			var lists [][]Fields
			for _, a := range d.steps {
				lists = append(lists, []Fields{s.showAction(a, false)})
			}
			deployment["steps"] = lists
		}
		shown = append(shown, deployment)
	}
	return shown
}

func (s *Sim) showSteps(d *deployment) []Fields {
	steps := []Fields{}
	for _, a := range d.steps {
		steps = append(steps, Fields{"actions": []Fields{s.showAction(a, false)}})
	}
	return steps
}

func (s *Sim) showAction(a action, readiness bool) Fields {
	shown := Fields{"action": a.name, "app": a.app}
	app := s.apps[a.app]
	if !readiness || app == nil || app.spec == nil {
		return shown
	}
	results := []Fields{}
	for _, t := range app.tasks {
		if checks := t.spec.checks("readinessChecks"); len(checks) > 0 && t.current() && t.state == "TASK_RUNNING" {
			check, _ := checks[0].(Fields)
			status := http.StatusServiceUnavailable
			if t.ready {
				status = http.StatusOK
			}
			results = append(results, Fields{
				"taskId": t.id, "name": check["name"], "ready": t.ready,
				"lastResponse": Fields{"status": status, "contentType": "text/plain", "body": strings.ToLower(http.StatusText(status))},
			})
		}
	}
	shown["readinessCheckResults"] = results
	return shown
}
