package marathon

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
)

var validID = regexp.MustCompile(`^(/[a-z0-9]([a-z0-9.-]*[a-z0-9])?)+$`)

var reservedID = regexp.MustCompile(`/(restart|tasks|versions)$`)

// decode reads a body; the details of its errors are a text.
func decode(body []byte, into any) *answer {
	err := json.Unmarshal(body, into)
	switch {
	case len(body) == 0:
		return &answer{status: http.StatusBadRequest, body: Fields{"message": "Please specify data in JSON format", "details": "No content to map due to end-of-input"}}
	case err != nil:
		return &answer{status: http.StatusBadRequest, body: Fields{"message": "Invalid JSON", "details": err.Error()}}
	}
	return nil
}

// invalid is an error about a field.
func invalid(status int, message, path, problem string) *answer {
	return &answer{status: status, body: Fields{"message": message, "details": []Fields{{"path": path, "errors": []string{problem}}}}}
}

// check refuses what a client sends for an app.
func (s *Sim) check(update Fields) *answer {
	unprocessable := func(path, problem string) *answer {
		return invalid(http.StatusUnprocessableEntity, "Object is not valid", path, problem)
	}
	for _, name := range []string{"instances", "cpus", "mem"} {
		if value := update[name]; value != nil {
			n, is := value.(float64)
			switch {
			case !is && s.minor >= 5:
				return invalid(http.StatusUnprocessableEntity, "Invalid JSON", "/"+name, "error.expected.jsnumber")
			case !is:
				return invalid(http.StatusBadRequest, "Invalid JSON", "/"+name, "error.expected.jsnumber")
			case n < 0:
				return unprocessable("/"+name, "is less than 0")
			}
		}
	}
	if update["uris"] != nil && update["fetch"] != nil {
		if s.minor >= 5 {
			return refuse(http.StatusInternalServerError, "You cannot specify both uris and fetch fields")
		}
		return unprocessable("/", "You cannot specify both uris and fetch fields")
	}
	if update["ports"] != nil && update["portDefinitions"] != nil && !reflect.DeepEqual(update["ports"], each(update["portDefinitions"], "port")) {
		return unprocessable("/", "You cannot specify both ports and portDefinitions")
	}
	f := spec{fields: update}
	for _, name := range []string{"minimumHealthCapacity", "maximumOverCapacity"} {
		if f.capacity(name) > 1 {
			return unprocessable("/upgradeStrategy/"+name, "is greater than 1")
		}
	}
	container, _ := update["container"].(Fields)
	if docker, _ := container["docker"].(Fields); container["type"] == "DOCKER" && docker["pullConfig"] != nil {
		return unprocessable("/container/docker/pullConfig", "pullConfig is not supported with Docker containerizer")
	}
	return nil
}

// complete refuses an app that cannot be.
func (s *Sim) complete(id string, fields Fields) *answer {
	if !validID.MatchString(id) || s.minor >= 8 && reservedID.MatchString(id) {
		return invalid(http.StatusUnprocessableEntity, "Object is not valid", "/id", "must fully match regular expression")
	}
	f := spec{fields: fields}
	if fields["cmd"] == nil && fields["args"] == nil && f.image() == "" {
		return invalid(http.StatusUnprocessableEntity, "Object is not valid", "/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
	}
	return nil
}

// modern says what is said in old ways in the new one.
func modern(update Fields) Fields {
	said := Fields{}
	for name, value := range update {
		list, _ := value.([]any)
		switch {
		case value == nil:
		case name == "uris":
			fetch := []any{}
			for _, uri := range list {
				fetch = append(fetch, Fields{"uri": uri, "extract": true, "executable": false, "cache": false})
			}
			said["fetch"] = fetch
		case name == "ports":
			definitions := []any{}
			for _, port := range list {
				definitions = append(definitions, Fields{"port": port, "protocol": "tcp"})
			}
			if update["portDefinitions"] == nil {
				said["portDefinitions"] = definitions
			}
		default:
			said[name] = value
		}
	}
	return said
}

func (s *Sim) createApp(c call) *answer {
	var update Fields
	if refusal := decode(c.body, &update); refusal != nil {
		return refusal
	}
	id, _ := update["id"].(string)
	if len(id) > 0 && id[0] != '/' {
		id = "/" + id
	}
	if refusal := s.check(update); refusal != nil {
		return refusal
	}
	fields := s.withDefaults(id, merge(nil, modern(update), false))
	if refusal := s.complete(id, fields); refusal != nil {
		return refusal
	}
	if s.find(id) != nil {
		return refuse(http.StatusConflict, "An app with id [%s] already exists.", id)
	}
	done, refusal := s.update([]change{{app: id, fields: fields}}, c.query.Get("force") == "true")
	if refusal != nil {
		return refusal
	}
	s.publish("api_post_event", Fields{"clientIp": "127.0.0.1", "uri": "/v2/apps", "appDefinition": fields})
	shown := s.showApp(s.apps[id], false)
	delete(shown, "versionInfo")
	return &answer{status: http.StatusCreated, header: map[string]string{"Location": id, "Marathon-Deployment-Id": done.id}, body: shown}
}

// wanted is what an update makes of an app.
func (s *Sim) wanted(id string, update Fields, partial bool) (change, *answer) {
	a := s.find(id)
	if version, is := update["version"].(string); is {
		return s.former(id, version, update)
	}
	if refusal := s.check(update); refusal != nil {
		return change{}, refusal
	}
	var fields Fields
	if a != nil && partial {
		fields = merge(a.spec.fields, modern(update), true)
		fields["id"] = id
	} else {
		fields = s.withDefaults(id, merge(nil, modern(update), false))
	}
	return change{app: id, fields: fields}, s.complete(id, fields)
}

// former is a change back to a version.
func (s *Sim) former(id, version string, update Fields) (change, *answer) {
	for name, value := range update {
		if value != nil && name != "id" && name != "version" {
			problem := "The 'version' field may only be combined with the 'id' field."
			if s.minor < 5 {
				problem = "requirement failed: " + problem
			}
			return change{}, invalid(http.StatusUnprocessableEntity, "Object is not valid", "/", problem)
		}
	}
	if a := s.find(id); a != nil {
		if f := a.at(version); f != nil {
			return change{app: id, fields: f.fields}, nil
		}
	}
	return change{}, noApp(id)
}

func (s *Sim) putApp(c call, client string) *answer {
	var update Fields
	if refusal := decode(c.body, &update); refusal != nil {
		return refusal
	}
	created := s.find(c.id) == nil
	if c.method == http.MethodPatch {
		if s.minor < 4 {
			return htmlPage(http.StatusMethodNotAllowed)
		}
		if created {
			return noApp(c.id)
		}
	}
	partial := c.method == http.MethodPatch || c.query.Get("partialUpdate") != "false"
	wanted, refusal := s.wanted(c.id, update, partial)
	if refusal != nil {
		return refusal
	}
	done := s.answerUpdate([]change{wanted}, c.query.Get("force") == "true")
	if done.status != http.StatusOK {
		return &done
	}
	s.publish("api_post_event", Fields{"clientIp": client, "uri": "/v2/apps" + c.id, "appDefinition": wanted.fields})
	if created {
		done.status = http.StatusCreated
		done.header["Location"] = c.id
	}
	return &done
}

func (s *Sim) putApps(c call) *answer {
	var updates []Fields
	if refusal := decode(c.body, &updates); refusal != nil {
		return refusal
	}
	var changes []change
	for _, update := range updates {
		id, _ := update["id"].(string)
		if c.method == http.MethodPatch && s.find(id) == nil {
			return noApp(id)
		}
		wanted, refusal := s.wanted(id, update, c.method == http.MethodPatch || c.query.Get("partialUpdate") != "false")
		if refusal != nil {
			return refusal
		}
		changes = append(changes, wanted)
	}
	done := s.answerUpdate(changes, c.query.Get("force") == "true")
	return &done
}

// Edit changes an app as somebody else by hand: {"instances": 3}, or back to {"version": …}.
// It returns what Marathon refuses it with.
func (s *Sim) Edit(id string, fields Fields, force bool) error {
	text, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("edit %s: %w", id, err)
	}
	return s.byHand(RoutePutApp, http.MethodPut, id, text, force)
}

// Restart restarts an app as somebody else by hand.
func (s *Sim) Restart(id string, force bool) error {
	return s.byHand(RouteRestart, http.MethodPost, id, nil, force)
}

func (s *Sim) byHand(route, method, id string, body []byte, force bool) error {
	s.enter()
	defer s.leave()
	c := call{method: method, route: route, id: id, query: url.Values{"force": {fmt.Sprint(force)}}, body: body}
	var a *answer
	if route == RoutePutApp {
		a = s.putApp(c, "10.9.9.9")
	} else {
		a = s.handleApp(c)
	}
	if !slices.Contains([]int{http.StatusOK, http.StatusCreated}, a.status) {
		return fmt.Errorf("edit %s: status %d: %v", id, a.status, a.body)
	}
	return nil
}
