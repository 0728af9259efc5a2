package rancher

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// apiError is an answer of an error.
type apiError struct {
	status               int
	code, message, field string
}

func (e *apiError) Error() string { return strings.Join([]string{e.code, e.message + e.field}, ": ") }

// body is the error's JSON.
func (e *apiError) body(id string) map[string]any {
	body := map[string]any{
		"id": id, "type": "error", "baseType": "error", "links": map[string]any{}, "actions": map[string]any{},
		"status": e.status, "code": e.code, "message": nil, "detail": nil,
	}
	if e.message != "" {
		body["message"] = e.message
	}
	if e.field != "" {
		body["fieldName"] = e.field
	}
	return body
}

// invalid is a 422. Texts of some validations stand where the field's name is expected.
func invalid(code, field string) error {
	return &apiError{status: http.StatusUnprocessableEntity, code: code, field: field}
}

func notFound() error {
	return &apiError{status: http.StatusNotFound, code: "NotFound", message: "Not Found"}
}

func notAllowed() error {
	return &apiError{status: http.StatusMethodNotAllowed, code: "MethodNotAllowed", message: "Method not allowed"}
}

// call is a request on its way.
type call struct {
	sim     *Sim
	r       *http.Request
	key     Key
	base    string   // the address of the collections that it asks below
	project *Project // that it asks in; nil if none
	path    []string // without the version and the project
	body    map[string]any
}

// serve answers a request.
func (s *Sim) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{sim: s, r: r, base: s.URL(), path: strings.Split(strings.Trim(r.URL.Path, "/"), "/")}
	c.key.Access, c.key.Secret, _ = r.BasicAuth()
	version := c.path[0]
	c.path = c.path[1:]
	under := ""
	if len(c.path) > 2 && c.path[0] == "projects" {
		under, c.path = c.path[1], c.path[2:]
	}
	// Read before the mutex is taken: a client may be slow.
	decoding := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&c.body)

	s.mu.Lock()
	s.settle()
	route := c.route()
	s.counts[route]++
	fault := s.fault(route)
	if fault != nil && !fault.Lost && !fault.After {
		s.mu.Unlock()
		fault.spoil(w, r)
		return
	}
	status, answer := http.StatusOK, any(nil)
	err := c.enter(under)
	switch {
	case err != nil:
	case version != "v2-beta":
		err = notFound()
	case decoding != nil && r.ContentLength != 0:
		err = &apiError{status: http.StatusBadRequest, code: "InvalidBodyContent", message: "Invalid JSON in body"}
	default:
		status, answer, err = c.answer()
	}
	var refused *apiError
	if errors.As(err, &refused) {
		status, answer = refused.status, refused.body(s.uuid())
	}
	text, broken := json.Marshal(answer) // with the mutex: it shows what the sim works with
	s.mu.Unlock()
	switch {
	case broken != nil:
		http.Error(w, broken.Error(), http.StatusInternalServerError)
	case fault != nil:
		fault.spoil(w, r)
	default:
		w.Header().Set("X-API-Schemas", c.base+"/schemas")
		write(w, status, json.RawMessage(text))
	}
}

// write sends JSON.
func write(w http.ResponseWriter, status int, answer any) {
	text, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// A client that has gone needs no answer.
	_, _ = w.Write(text)
}

// route is what the request is counted by.
func (c *call) route() string {
	parts := slices.Clone(c.path)
	if len(parts) > 1 {
		parts[1] = "{id}"
	}
	route := c.r.Method + " /" + strings.Join(parts, "/")
	if action := c.r.URL.Query().Get("action"); action != "" {
		route += "?action=" + action
	}
	return route
}

// enter checks who asks, and finds the project.
func (c *call) enter(under string) error {
	var own *Project // that the key is for
	for _, p := range c.sim.projects {
		if p.key == c.key {
			own = p
		}
	}
	if own == nil && c.key != c.sim.account {
		return &apiError{status: http.StatusUnauthorized, code: "Unauthorized", message: "Unauthorized"}
	}
	c.project = own
	if under == "" {
		return nil
	}
	for _, p := range c.projects() {
		if p.id == under {
			c.project, c.base = p, c.base+"/projects/"+p.id
			return nil
		}
	}
	return notFound()
}

// projects are the projects that the key is for.
func (c *call) projects() []*Project {
	if c.key == c.sim.account {
		return c.sim.projects
	}
	return slices.DeleteFunc(slices.Clone(c.sim.projects), func(p *Project) bool { return p.key != c.key })
}

// answer does what is asked.
func (c *call) answer() (int, any, error) {
	if len(c.path) == 0 {
		return http.StatusOK, c.root(), nil
	}
	kind, resources := c.collection(c.path[0])
	if kind == "" {
		return 0, nil, notFound()
	}
	if len(c.path) == 1 {
		switch {
		case c.r.Method == http.MethodGet:
			return http.StatusOK, c.list(kind, resources), nil
		case c.r.Method == http.MethodPost && c.project != nil:
			return c.create(kind)
		}
		return 0, nil, notAllowed()
	}
	one := slices.IndexFunc(resources, func(r map[string]any) bool { return r["id"] == c.path[1] })
	switch {
	case one < 0 || len(c.path) > 3:
		return 0, nil, notFound()
	case len(c.path) == 3:
		return c.linked(kind)
	case c.r.Method == http.MethodGet:
		return http.StatusOK, resources[one], nil
	case kind != "service":
		return 0, nil, notAllowed()
	}
	return c.change(c.service(c.path[1]))
}

// change writes to a service.
func (c *call) change(v *Service) (status int, answer any, err error) {
	switch c.r.Method {
	case http.MethodPost:
		status, err = http.StatusAccepted, v.act(c.r.URL.Query().Get("action"), c.body)
	case http.MethodPut:
		status, err = http.StatusOK, v.update(c.body)
	case http.MethodDelete:
		// A deletion that the state does not allow is cancelled.
		if status, err = http.StatusOK, v.act("remove", nil); err != nil {
			err = notAllowed()
		}
	default:
		err = notAllowed()
	}
	return status, c.showService(v), err
}

// collection are all resources of a plural name; the kind is empty if there is no such.
func (c *call) collection(plural string) (kind string, list []map[string]any) {
	switch plural {
	case "projects":
		for _, p := range c.projects() {
			list = append(list, c.showProject(p))
		}
		return "project", list
	case "stacks", "services", "instances", "containers":
	default:
		return "", nil
	}
	kind = strings.TrimSuffix(plural, "s")
	if c.project == nil {
		return kind, nil // an account has none of its own
	}
	if kind == "stack" {
		for _, st := range c.project.stacks {
			list = append(list, c.showStack(st))
		}
		return kind, list
	}
	for _, v := range c.project.services {
		if kind == "service" {
			list = append(list, c.showService(v))
			continue
		}
		for _, one := range v.containers {
			list = append(list, c.showContainer(v, one))
		}
	}
	return kind, list
}

// linked is a collection below a resource.
func (c *call) linked(kind string) (int, any, error) {
	var list []map[string]any
	switch {
	case c.r.Method != http.MethodGet:
		return 0, nil, notAllowed()
	case kind == "service" && c.path[2] == "instances":
		v := c.service(c.path[1])
		for _, one := range v.containers {
			if one.removed.IsZero() {
				list = append(list, c.showContainer(v, one))
			}
		}
		return http.StatusOK, c.list("container", list), nil
	case kind == "stack" && c.path[2] == "services":
		for _, v := range c.project.services {
			if v.stack.id == c.path[1] {
				list = append(list, c.showService(v))
			}
		}
		return http.StatusOK, c.list("service", list), nil
	}
	return 0, nil, notFound()
}

// service is the project's service of an id that is there.
func (c *call) service(id string) *Service {
	return c.project.services[slices.IndexFunc(c.project.services, func(v *Service) bool { return v.id == id })]
}

// list is a page of a collection, after the query's filters.
func (c *call) list(kind string, list []map[string]any) map[string]any {
	query := c.r.URL.Query()
	list = slices.DeleteFunc(list, func(one map[string]any) bool {
		for name, values := range query {
			value, has := one[name]
			if name == "removed_null" && one["removed"] != nil || has && !slices.Contains(values, fmt.Sprint(value)) {
				return true
			}
		}
		return false
	})
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 {
		limit = 100
	}
	limit = min(limit, 1000)
	begin, err := strconv.Atoi(strings.TrimPrefix(query.Get("marker"), "m"))
	if err != nil {
		begin = 0
	}
	begin = max(0, min(begin, len(list)))
	end := min(begin+limit, len(list))
	pagination := map[string]any{"limit": limit, "partial": end < len(list), "next": nil, "first": nil, "total": nil}
	if end < len(list) {
		query.Set("marker", "m"+strconv.Itoa(end))
		next := url.URL{Path: c.r.URL.Path, RawQuery: query.Encode()}
		pagination["next"] = "http://" + c.sim.address + next.String()
	}
	return map[string]any{
		"type": "collection", "resourceType": kind, "links": map[string]any{"self": "http://" + c.sim.address + c.r.URL.Path},
		"actions": map[string]any{}, "data": append([]map[string]any{}, list[begin:end]...), "pagination": pagination,
	}
}

func (c *call) root() map[string]any {
	return map[string]any{"id": "v2-beta", "type": "apiVersion", "actions": map[string]any{}, "links": map[string]any{
		"self": c.base, "projects": c.base + "/projects", "stacks": c.base + "/stacks",
		"services": c.base + "/services", "instances": c.base + "/instances", "containers": c.base + "/containers",
	}}
}

func (c *call) showProject(p *Project) map[string]any {
	self := c.sim.URL() + "/projects/" + p.id
	return map[string]any{
		"id": p.id, "type": "project", "name": p.name, "state": "active", "transitioning": "no", "removed": nil,
		"actions": map[string]any{},
		"links":   map[string]any{"self": self, "stacks": self + "/stacks", "services": self + "/services", "instances": self + "/instances"},
	}
}

func (c *call) showStack(st *Stack) map[string]any {
	self := c.base + "/stacks/" + st.id
	return map[string]any{
		"id": st.id, "type": "stack", "name": st.name, "state": "active", "transitioning": "no", "removed": nil,
		"accountId": st.project.id, "actions": map[string]any{},
		"links": map[string]any{"self": self, "services": self + "/services"},
	}
}

func (c *call) showService(v *Service) map[string]any {
	self := c.base + "/services/" + v.id
	allowed := map[string]string{}
	for name := range actions(v.state) {
		allowed[name] = self + "/?action=" + name
	}
	transitioning, message := v.transitioning()
	current := 0
	for _, one := range v.containers {
		if one.launch == "" && one.wanted {
			current++
		}
	}
	secondary := []map[string]any{}
	for _, l := range v.launches[1:] {
		secondary = append(secondary, l.config)
	}
	return map[string]any{
		"id": v.id, "uuid": v.uuid, "type": "service", "baseType": "service", "kind": "service", "name": v.name,
		"accountId": v.stack.project.id, "stackId": v.stack.id, "created": v.created.UTC().Format(time.RFC3339),
		"removed": timeOrNil(v.removed), "state": v.state, "healthState": v.health(), "fqdn": nil,
		"transitioning": transitioning, "transitioningMessage": textOrNil(message), "transitioningProgress": nil,
		"scale": v.scale, "currentScale": current, "retainIp": v.retainIP, "metadata": v.metadata, "upgrade": v.upgrade,
		"launchConfig": v.launches[0].config, "secondaryLaunchConfigs": secondary,
		"actions": allowed,
		"links": map[string]any{
			"self": self, "instances": self + "/instances", "stack": c.base + "/stacks/" + v.stack.id,
		},
	}
}

func (c *call) showContainer(v *Service, one *container) map[string]any {
	transitioning := "no"
	switch one.state {
	case "starting", "stopping":
		transitioning = "yes"
	case "error":
		transitioning = "error"
	}
	return map[string]any{
		"id": one.id, "type": "container", "baseType": "instance", "kind": "container", "name": one.name,
		"accountId": v.stack.project.id, "serviceIds": []string{v.id}, "state": one.state, "removed": timeOrNil(one.removed),
		"healthState": textOrNil(one.health), "imageUuid": one.image, "version": one.version,
		"transitioning": transitioning, "transitioningMessage": textOrNil(one.message),
		"actions": map[string]any{},
		"links":   map[string]any{"self": c.base + "/containers/" + one.id},
	}
}

func textOrNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func timeOrNil(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.UTC().Format(time.RFC3339)
}
