package rancher_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/e2e/rancher"
)

// object is decoded JSON.
type object = map[string]any

// world is a Rancher with a stopped clock, a service and a client.
type world struct {
	*rancher.Sim
	t       *testing.T
	project *rancher.Project
	web     *rancher.Service
	key     rancher.Key
}

// begin starts a Rancher, with a service web of two containers unless config says otherwise.
func begin(t *testing.T, opts rancher.Options, config rancher.Config) *world {
	t.Helper()
	t.Parallel()
	opts.Frozen = true
	sim, err := rancher.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	if config.Scale == 0 {
		config.Scale = 2
	}
	if config.LaunchConfig == nil {
		config.LaunchConfig = object{"imageUuid": "docker:acme/web:v1", "healthCheck": object{"port": 80}}
	}
	p := sim.Project("prod")
	return &world{Sim: sim, t: t, project: p, web: p.Stack("shop").Service("web", config), key: p.Key()}
}

// try makes a request; it returns nil bodies for what is no JSON.
func (w *world) try(method, path string, body any) (int, object, error) {
	w.t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			w.t.Fatal(err)
		}
	}
	address := path
	if !strings.HasPrefix(path, "http") {
		address = w.URL() + path
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, address, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	req.SetBasicAuth(w.key.Access, w.key.Secret)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err
	}
	var got object
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(answer, &got); err != nil {
			w.t.Fatalf("%v in %s", err, answer)
		}
	}
	return resp.StatusCode, got, nil
}

// ask makes a request that must be answered with a status.
func (w *world) ask(status int, method, path string, body any) object {
	w.t.Helper()
	got, answer, err := w.try(method, path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if got != status {
		w.t.Fatalf("%s %s: %d %v, want %d", method, path, got, answer, status)
	}
	return answer
}

func (w *world) path() string { return "/services/" + w.web.ID() }

// get reads the service.
func (w *world) get() object {
	w.t.Helper()
	return w.ask(http.StatusOK, http.MethodGet, w.path(), nil)
}

// act takes an action that must be answered with a status.
func (w *world) act(status int, action string, body any) object {
	w.t.Helper()
	return w.ask(status, http.MethodPost, w.path()+"?action="+action, body)
}

// refused takes an action that must be answered with a 422 of a code and a field.
func (w *world) refused(action string, body any, code, field string) {
	w.t.Helper()
	got := w.act(http.StatusUnprocessableEntity, action, body)
	if got["code"] != code || got["fieldName"] != field || got["message"] != nil {
		w.t.Errorf("%s: %v, want %s of %s", action, got, code, field)
	}
}

// become waits until the service is in a state.
func (w *world) become(state string) {
	w.t.Helper()
	for range 1000 {
		if w.web.State() == state {
			return
		}
		w.Advance(10 * time.Millisecond)
	}
	w.t.Fatalf("it stays %s, and does not become %s: %v", w.web.State(), state, w.web.Containers())
}

// is compares a field of the service.
func (w *world) is(field string, want any) {
	w.t.Helper()
	if got := w.get()[field]; got != want {
		w.t.Errorf("%s is %v, want %v", field, got, want)
	}
}

// containers are the states of the containers by image.
func (w *world) containers() map[string][]string {
	states := map[string][]string{}
	for _, c := range w.web.Containers() {
		states[c.Image] = append(states[c.Image], c.State)
	}
	return states
}

// to is an upgrade to an image, with more fields of the strategy.
func to(image string, more ...object) object {
	strategy := object{"launchConfig": object{"imageUuid": image, "healthCheck": object{"port": 80}}, "intervalMillis": 100}
	for _, m := range more {
		for name, value := range m {
			strategy[name] = value
		}
	}
	return object{"inServiceStrategy": strategy}
}

func data(answer object) []object {
	var list []object
	all, _ := answer["data"].([]any)
	for _, one := range all {
		o, _ := one.(object)
		list = append(list, o)
	}
	return list
}

func sub(o object, name string) object {
	value, _ := o[name].(object)
	return value
}

const (
	v1 = "docker:acme/web:v1"
	v2 = "docker:acme/web:v2"
)

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
