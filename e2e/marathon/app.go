package marathon

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"time"
)

// Fields are fields of an app as in its JSON.
type Fields = map[string]any

// spec is an app in one version.
type spec struct {
	fields                      Fields // without what the server adds
	version, scaled, configured time.Time
}

// app is an app and what became of it.
type app struct {
	id          string
	spec        *spec // nil while it is being removed
	versions    []*spec
	tasks       []*task
	dead        []*task // which were not relaunched yet
	lastFailure Fields
	backoff     time.Duration
	delayed     time.Time // no launch before
	short       time.Time // since when nothing could be launched for it
}

// number is a number of an app, or what it is if nothing is said.
func (f *spec) number(name string, otherwise float64) float64 {
	if n, is := f.fields[name].(float64); is {
		return n
	}
	return otherwise
}

func (f *spec) instances() int { return int(f.number("instances", 1)) }

func (f *spec) seconds(name string, otherwise float64) time.Duration {
	return time.Duration(f.number(name, otherwise) * float64(time.Second))
}

// image is the image of the app's container.
func (f *spec) image() string {
	container, _ := f.fields["container"].(Fields)
	docker, _ := container["docker"].(Fields)
	image, _ := docker["image"].(string)
	return image
}

// capacity is one of the shares of the upgrade strategy.
func (f *spec) capacity(name string) float64 {
	strategy, _ := f.fields["upgradeStrategy"].(Fields)
	if share, is := strategy[name].(float64); is {
		return share
	}
	return 1
}

// bounds are how many tasks have to be healthy, and how many there may be.
func (f *spec) bounds() (minHealthy, maxTasks int) {
	n := float64(f.instances())
	return int(math.Ceil(n * f.capacity("minimumHealthCapacity"))), int(math.Floor(n * (1 + f.capacity("maximumOverCapacity"))))
}

// checks are the health checks or readiness checks.
func (f *spec) checks(kind string) []any {
	checks, _ := f.fields[kind].([]any)
	return checks
}

// check is a number of seconds or times of the first health check.
func (f *spec) check(name string, otherwise float64) float64 {
	check, _ := f.checks("healthChecks")[0].(Fields)
	if n, is := check[name].(float64); is {
		return n
	}
	return otherwise
}

// readOnly are fields that only the server sets.
func readOnly() []string {
	return []string{"version", "versionInfo", "tasks", "tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy", "deployments", "lastTaskFailure", "futureField"}
}

// merge is an update of an app, which is shallow: what is present is replaced whole.
func merge(old, update Fields, partial bool) Fields {
	merged := Fields{}
	if partial {
		maps.Copy(merged, old)
		delete(merged, "executorResources")
		delete(merged, "resourceLimits")
	}
	for name, value := range update {
		if value != nil && !slices.Contains(readOnly(), name) {
			merged[name] = value
		}
	}
	return merged
}

// withDefaults fills in what a new app does not say.
func (s *Sim) withDefaults(id string, fields Fields) Fields {
	full := Fields{
		"instances": 1.0, "cpus": 1.0, "mem": 128.0, "disk": 0.0, "backoffSeconds": 1.0, "backoffFactor": 1.15,
		"maxLaunchDelaySeconds": 300.0, "env": Fields{}, "labels": Fields{}, "constraints": []any{}, "healthChecks": []any{},
		"upgradeStrategy": Fields{"minimumHealthCapacity": 1.0, "maximumOverCapacity": 1.0},
	}
	if s.minor < 5 {
		full["maxLaunchDelaySeconds"] = 3600.0
	} else {
		full["networks"] = []any{Fields{"mode": "host"}}
		full["killSelection"] = "YOUNGEST_FIRST"
	}
	full["fetch"] = []any{}
	full["portDefinitions"] = []any{Fields{"port": 0.0, "protocol": "tcp", "name": "default"}}
	maps.Copy(full, fields)
	full["id"] = id
	return full
}

// sameConfig tells whether only the number of instances differs, if anything does.
func sameConfig(a, b Fields) bool {
	a, b = maps.Clone(a), maps.Clone(b)
	delete(a, "instances")
	delete(b, "instances")
	return reflect.DeepEqual(a, b)
}

// show is an app in one version as the API writes it.
func (s *Sim) show(f *spec) Fields {
	shown := maps.Clone(f.fields)
	shown["version"] = stamp(f.version)
	shown["versionInfo"] = Fields{"lastScalingAt": stamp(f.scaled), "lastConfigChangeAt": stamp(f.configured)}
	if s.minor < 5 {
		shown["ports"] = each(shown["portDefinitions"], "port")
		shown["uris"] = each(shown["fetch"], "uri")
	}
	if s.opts.Future {
		shown["futureField"] = Fields{"of": "a later version"}
	}
	return shown
}

// each is one field of each object of a list.
func each(list any, name string) []any {
	values := []any{}
	objects, _ := list.([]any)
	for _, o := range objects {
		object, _ := o.(Fields)
		values = append(values, object[name])
	}
	return values
}

// showApp is an app with its counts and deployments.
func (s *Sim) showApp(a *app, withTasks bool) Fields {
	shown := s.show(a.spec)
	staged, running, healthy, unhealthy := a.counts()
	shown["tasksStaged"], shown["tasksRunning"], shown["tasksHealthy"], shown["tasksUnhealthy"] = staged, running, healthy, unhealthy
	shown["deployments"] = s.deploymentsOf(a.id)
	if withTasks {
		shown["tasks"] = s.showTasks(a)
		if a.lastFailure != nil {
			shown["lastTaskFailure"] = a.lastFailure
		}
	}
	return shown
}
