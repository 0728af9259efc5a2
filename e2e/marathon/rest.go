package marathon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The routes, as faults and counts name them. Apps of any name are one route.
const (
	RoutePing             = "GET /ping"
	RouteInfo             = "GET /v2/info"
	RouteLeader           = "GET /v2/leader"
	RouteAbdicate         = "DELETE /v2/leader"
	RouteEvents           = "GET /v2/events"
	RouteApps             = "GET /v2/apps"
	RoutePostApp          = "POST /v2/apps"
	RoutePutApps          = "PUT /v2/apps"
	RoutePatchApps        = "PATCH /v2/apps"
	RouteApp              = "GET /v2/apps/{id}"
	RoutePutApp           = "PUT /v2/apps/{id}"
	RoutePatchApp         = "PATCH /v2/apps/{id}"
	RouteDeleteApp        = "DELETE /v2/apps/{id}"
	RouteRestart          = "POST /v2/apps/{id}/restart"
	RouteVersions         = "GET /v2/apps/{id}/versions"
	RouteVersion          = "GET /v2/apps/{id}/versions/{version}"
	RouteAppTasks         = "GET /v2/apps/{id}/tasks"
	RouteTasks            = "GET /v2/tasks"
	RouteKill             = "POST /v2/tasks/delete"
	RouteDeployments      = "GET /v2/deployments"
	RouteDeleteDeployment = "DELETE /v2/deployments/{id}"
	RouteQueue            = "GET /v2/queue"
	RouteResetDelay       = "DELETE /v2/queue/{id}/delay"
)

// answer is what a request is answered with: body as JSON, or raw.
type answer struct {
	status    int
	header    map[string]string
	body      any
	raw, kind string // kind is the content type of raw
}

// refuse is an error as the API words it.
func refuse(status int, format string, args ...any) *answer {
	return &answer{status: status, body: Fields{"message": fmt.Sprintf(format, args...)}}
}

func (a *answer) write(w http.ResponseWriter) {
	text := []byte(a.raw)
	if a.body != nil {
		text = encode(a.body)
		a.kind = "application/json"
	}
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	if a.kind != "" {
		w.Header().Set("Content-Type", a.kind)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(text) // the client may have gone
}

// encode writes JSON with < and > as they are, as Marathon does.
func encode(value any) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(fmt.Sprintf("encode %v: %v", value, err)) // a test said what is no JSON
	}
	return bytes.TrimSpace(text.Bytes())
}

// call is a request, taken apart.
type call struct {
	method    string
	route     string
	id, extra string // of the app or deployment, and what follows it
	query     url.Values
	accept    string
	body      []byte
}

// serve answers a request to a member.
func (s *Sim) serve(member int, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	c := parse(r)
	c.body = body
	f := s.fault(c.route, c.id)
	if f != nil && !f.Applied {
		s.strike(f, w, r)
		return
	}
	a, streams := s.answer(member, r, c)
	switch {
	case f != nil:
		s.strike(f, w, r)
	case streams:
		s.serveEvents(w, r)
	default:
		a.write(w)
	}
}

// parse finds the route of a request.
func parse(r *http.Request) call {
	c := call{method: r.Method, query: r.URL.Query(), accept: r.Header.Get("Accept")}
	path := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/marathon"), "/")
	c.route = r.Method + " " + path
	if id, is := strings.CutPrefix(path, "/v2/apps/"); is {
		c.id, c.route = "/"+strings.TrimPrefix(id, "/"), r.Method+" /v2/apps/{id}"
		for _, part := range []string{"/restart", "/versions", "/tasks"} {
			if id, is := strings.CutSuffix(c.id, part); is {
				c.id, c.route = id, c.route+part
				return c
			}
		}
		if id, version, is := strings.Cut(c.id, "/versions/"); is {
			c.id, c.extra, c.route = id, version, c.route+"/versions/{version}"
		}
	} else if id, is := strings.CutPrefix(path, "/v2/deployments/"); is {
		c.id, c.route = id, r.Method+" /v2/deployments/{id}"
	} else if id, is := strings.CutPrefix(path, "/v2/queue/"); is {
		c.id, c.route = "/"+strings.TrimPrefix(strings.TrimSuffix(id, "/delay"), "/"), r.Method+" /v2/queue/{id}/delay"
	}
	return c
}

// answer does what a request asks for; streams tells that it asks for events, and gets them.
func (s *Sim) answer(member int, r *http.Request, c call) (a *answer, streams bool) {
	s.enter()
	defer s.leave()
	if refusal := s.admit(r); refusal != nil {
		return refusal, false
	}
	switch c.route {
	case RoutePing:
		return s.ping(c), false
	case RouteInfo:
		return s.info(member), false
	}
	if s.leader == noLeader {
		if c.route == RouteLeader {
			return refuse(http.StatusNotFound, "There is no leader"), false
		}
		if s.minor >= 8 {
			return &answer{status: http.StatusBadGateway, kind: "text/plain", raw: "Could not determine the current leader"}, false
		}
		return &answer{status: http.StatusServiceUnavailable, kind: "text/plain", raw: "Could not determine the current leader"}, false
	}
	if c.route == RouteEvents {
		switch {
		case !strings.Contains(c.accept, "text/event-stream"):
			return htmlPage(http.StatusMethodNotAllowed), false
		case member != s.leader && s.minor >= 7:
			return &answer{status: http.StatusFound, header: map[string]string{"Location": s.urls[s.leader] + r.URL.RequestURI()}}, false
		}
		return nil, true
	}
	a = s.handle(c)
	if member != s.leader {
		if a.header == nil {
			a.header = map[string]string{}
		}
		a.header["X-Marathon-Via"] = "1.1 " + strings.TrimPrefix(s.urls[member], "http://")
		a.header["X-Marathon-Leader"] = s.urls[s.leader]
	}
	return a, false
}

// handle answers what only the leader can.
func (s *Sim) handle(c call) *answer {
	switch c.route {
	case RouteLeader:
		return ok(Fields{"leader": strings.TrimPrefix(s.urls[s.leader], "http://")})
	case RouteAbdicate:
		s.elect(1 - s.leader)
		return ok(Fields{"message": "Leadership abdicated"})
	case RouteApps:
		return s.listApps(c)
	case RoutePostApp:
		return s.createApp(c)
	case RoutePutApps, RoutePatchApps:
		return s.putApps(c)
	case RoutePutApp, RoutePatchApp:
		return s.putApp(c, "127.0.0.1")
	case RouteDeployments:
		return ok(s.showDeployments())
	case RouteDeleteDeployment:
		a := s.undo(c.id, c.query.Get("force") == "true")
		return &a
	case RouteTasks:
		tasks := []Fields{}
		for _, a := range s.sorted() {
			tasks = append(tasks, s.showTasks(a)...)
		}
		return ok(Fields{"tasks": tasks})
	case RouteKill:
		return s.killTasks(c)
	case RouteQueue:
		return ok(Fields{"queue": s.showQueue()})
	case RouteResetDelay:
		return s.resetDelay(c)
	case RouteApp, RouteDeleteApp, RouteRestart, RouteVersions, RouteVersion, RouteAppTasks:
		return s.handleApp(c)
	}
	if s.minor >= 8 {
		return refuse(http.StatusInternalServerError, "URI not found")
	}
	return refuse(http.StatusNotFound, "URI not found: %s", strings.TrimPrefix(c.route, c.method+" "))
}

func ok(body any) *answer { return &answer{status: http.StatusOK, body: body} }

// handleApp answers what needs an app to be there.
func (s *Sim) handleApp(c call) *answer {
	a := s.find(c.id)
	if a == nil {
		return noApp(c.id)
	}
	switch c.route {
	case RouteDeleteApp:
		done := s.answerUpdate([]change{{app: c.id}}, c.query.Get("force") != "false")
		return &done
	case RouteRestart:
		done := s.answerUpdate([]change{{app: c.id, fields: a.spec.fields, restart: true}}, c.query.Get("force") == "true")
		return &done
	case RouteVersions:
		versions := []string{}
		for _, f := range slices.Backward(a.versions) {
			versions = append(versions, stamp(f.version))
		}
		return ok(Fields{"versions": versions})
	case RouteVersion:
		if f := a.at(c.extra); f != nil {
			return ok(s.show(f))
		}
		return refuse(http.StatusNotFound, "App '%s' (version %s) does not exist", c.id, c.extra)
	case RouteAppTasks:
		return ok(Fields{"tasks": s.showTasks(a)})
	}
	return ok(Fields{"app": s.showApp(a, true)})
}

func noApp(id string) *answer { return refuse(http.StatusNotFound, "App '%s' does not exist", id) }

// find is an app that is there; nil if none is.
func (s *Sim) find(id string) *app {
	if a := s.apps[id]; a != nil && a.spec != nil {
		return a
	}
	return nil
}

// at is the app at a version; nil if it never had it.
func (a *app) at(version string) *spec {
	for _, f := range a.versions {
		if stamp(f.version) == version {
			return f
		}
	}
	return nil
}

// sorted are all apps by id.
func (s *Sim) sorted() []*app {
	var apps []*app
	for _, a := range s.apps {
		if a.spec != nil {
			apps = append(apps, a)
		}
	}
	slices.SortFunc(apps, func(a, b *app) int { return strings.Compare(a.id, b.id) })
	return apps
}

func (s *Sim) ping(c call) *answer {
	pong := &answer{status: http.StatusOK, kind: "text/plain", raw: "pong"}
	if c.accept == "application/json" && s.minor >= 5 {
		if s.minor < 8 {
			return &answer{status: http.StatusNotAcceptable}
		}
		pong.raw, pong.kind = `"pong"`, "application/json"
	}
	return pong
}

func (s *Sim) info(member int) *answer {
	info := Fields{
		"name": "marathon", "version": s.opts.Version + ".0", "buildref": "unknown", "elected": member == s.leader,
		"frameworkId": "framework-0000", "marathon_config": Fields{"ha": true, "max_running_deployments": s.opts.MaxDeployments},
		"zookeeper_config": Fields{"zk_timeout": 10000}, "http_config": Fields{"http_port": 8080},
	}
	if s.leader != noLeader {
		info["leader"] = strings.TrimPrefix(s.urls[s.leader], "http://")
	}
	return ok(info)
}

func (s *Sim) listApps(c call) *answer {
	label, value, valued := strings.Cut(c.query.Get("label"), "==")
	apps := []Fields{}
	for _, a := range s.sorted() {
		labels, _ := a.spec.fields["labels"].(Fields)
		command, _ := a.spec.fields["cmd"].(string)
		got, has := labels[label]
		if !strings.Contains(a.id, c.query.Get("id")) || !strings.Contains(command, c.query.Get("cmd")) ||
			label != "" && (!has || valued && got != value) {
			continue
		}
		shown := s.showApp(a, slices.Contains(c.query["embed"], "apps.tasks"))
		if a.lastFailure != nil && slices.Contains(c.query["embed"], "apps.lastTaskFailure") {
			shown["lastTaskFailure"] = a.lastFailure
		}
		apps = append(apps, shown)
	}
	return ok(Fields{"apps": apps})
}

// killTasks kills tasks, which are launched anew unless the apps are scaled down too.
func (s *Sim) killTasks(c call) *answer {
	var asked struct{ IDs []string }
	if refusal := decode(c.body, &asked); refusal != nil {
		return refusal
	}
	killed, changes := []Fields{}, []change{}
	for _, a := range s.sorted() {
		chosen := slices.DeleteFunc(slices.Clone(a.tasks), func(t *task) bool { return !slices.Contains(asked.IDs, t.id) })
		for _, t := range chosen {
			s.end(t, "TASK_KILLED", "")
			killed = append(killed, Fields{"id": t.id, "appId": a.id})
		}
		if len(chosen) > 0 {
			changes = append(changes, change{app: a.id, fields: merge(a.spec.fields, Fields{"instances": float64(a.spec.instances() - len(chosen))}, true)})
		}
	}
	if c.query.Get("scale") == "true" {
		done := s.answerUpdate(changes, c.query.Get("force") == "true")
		return &done
	}
	return ok(Fields{"tasks": killed})
}

// showQueue is what waits for a launch.
func (s *Sim) showQueue() []Fields {
	queue := []Fields{}
	for _, a := range s.sorted() {
		count := a.spec.instances()
		for _, t := range a.tasks {
			if t.current() {
				count--
			}
		}
		left := a.delayed.Sub(s.time)
		if count <= 0 || a.short.IsZero() && left <= 0 {
			continue
		}
		entry := Fields{"app": s.show(a.spec), "count": count, "delay": Fields{"timeLeftSeconds": int(max(0, left).Seconds() + 0.999), "overdue": left <= 0}}
		if s.minor >= 5 {
			entry["since"] = stamp(s.time)
			summary := Fields{"processedOffersCount": 0, "unusedOffersCount": 0, "rejectSummaryLastOffers": []Fields{}, "rejectSummaryLaunchAttempt": []Fields{}}
			if !a.short.IsZero() {
				reasons := []Fields{{"reason": s.lifeOf(a.id, a.spec).NoResources, "declined": 3, "processed": 3}}
				entry["since"] = stamp(a.short)
				summary = Fields{
					"processedOffersCount": 3, "unusedOffersCount": 3, "lastUnusedOfferAt": stamp(s.time),
					"rejectSummaryLastOffers": reasons, "rejectSummaryLaunchAttempt": reasons,
				}
			}
			entry["processedOffersSummary"] = summary
		}
		queue = append(queue, entry)
	}
	return queue
}

func (s *Sim) resetDelay(c call) *answer {
	a := s.find(c.id)
	if a == nil || a.delayed.IsZero() {
		return refuse(http.StatusNotFound, "Application %s not found in tasks queue.", c.id)
	}
	a.backoff, a.delayed = 0, s.time
	return &answer{status: http.StatusNoContent}
}
