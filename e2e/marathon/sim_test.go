package marathon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	client "github.com/gambol99/go-marathon"

	"github.com/tagship/tagship/e2e/marathon"
)

type fields = marathon.Fields

// start starts a Marathon with a frozen clock that ends with the test.
func start(t *testing.T, opts marathon.Options) *marathon.Sim {
	t.Helper()
	opts.Frozen = true
	sim, err := marathon.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return sim
}

// connect is go-marathon.
func connect(t *testing.T, sim *marathon.Sim, change func(*client.Config)) client.Marathon {
	t.Helper()
	config := client.NewDefaultConfig()
	config.URL = sim.URL()
	config.EventsTransport = client.EventsTransportSSE
	config.HTTPClient = &http.Client{Timeout: 10 * time.Second}
	if change != nil {
		change(&config)
	}
	c, err := client.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reply is an answer to a request.
type reply struct {
	status int
	header http.Header
	text   string
	body   fields // if it is a JSON object
}

// try makes a request; headers are names and values in turn.
func try(t *testing.T, method, address string, body any, headers ...string) (reply, error) {
	t.Helper()
	text, is := body.(string)
	if !is && body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(encoded)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewBufferString(text))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	// A connection of its own, so that nothing is sent twice.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: resp.StatusCode, header: resp.Header, text: string(content)}
	_ = json.Unmarshal(content, &r.body) // what is none stays nil
	return r, nil
}

// do makes a request that is answered with the status.
func do(t *testing.T, status int, method, address string, body any, headers ...string) reply {
	t.Helper()
	r, err := try(t, method, address, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	if r.status != status {
		t.Fatalf("%s %s: got status %d, want %d: %s", method, address, r.status, status, r.text)
	}
	return r
}

// web is an app.
func web(image string, instances int) fields {
	return fields{"id": "/web", "instances": instances, "container": fields{"type": "DOCKER", "docker": fields{"image": image}}}
}

// deployed is a Marathon where web:1 runs n times.
func deployed(t *testing.T, opts marathon.Options, app fields) *marathon.Sim {
	t.Helper()
	sim := start(t, opts)
	do(t, 201, "POST", sim.URL()+"/v2/apps", app)
	sim.Advance(2 * time.Minute)
	if got := list(t, sim); len(got) != 0 {
		t.Fatalf("it is still being deployed: %v", got)
	}
	return sim
}

// app is /web as it is.
func app(t *testing.T, sim *marathon.Sim) fields {
	t.Helper()
	shown, is := do(t, 200, "GET", sim.URL()+"/v2/apps/web", nil).body["app"].(fields)
	if !is {
		t.Fatal("there is no app in the answer")
	}
	return shown
}

// list are the deployments.
func list(t *testing.T, sim *marathon.Sim) []fields {
	t.Helper()
	var all []fields
	if err := json.Unmarshal([]byte(do(t, 200, "GET", sim.URL()+"/v2/deployments", nil).text), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// tasks are those of /web: how many run what it is now, and how many something older.
func tasks(t *testing.T, sim *marathon.Sim) (fresh, old int) {
	t.Helper()
	a := app(t, sim)
	info, _ := a["versionInfo"].(fields)
	since, _ := info["lastConfigChangeAt"].(string)
	all, _ := a["tasks"].([]any)
	for _, x := range all {
		task, _ := x.(fields)
		version, has := task["version"].(string)
		switch {
		case !has:
		case version >= since:
			fresh++
		default:
			old++
		}
	}
	return fresh, old
}

// wantTasks fails unless there are so many.
func wantTasks(t *testing.T, sim *marathon.Sim, fresh, old int) {
	t.Helper()
	if f, o := tasks(t, sim); f != fresh || o != old {
		t.Errorf("got %d new and %d old tasks, want %d and %d", f, o, fresh, old)
	}
}

// want fails unless an answer's field is so, by JSON.
func want(t *testing.T, got fields, name string, value any) {
	t.Helper()
	a, err := json.Marshal(got[name])
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%s: got %s, want %s", name, a, b)
	}
}

// listen collects events; the function returned waits for one of a type.
func listen(t *testing.T, sim *marathon.Sim, query string) (next func(kind string) fields) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, sim.URL()+"/v2/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	decoder := newFrames(resp.Body)
	return func(kind string) fields {
		t.Helper()
		for {
			event := decoder()
			if event == nil || event["eventType"] == kind {
				return event
			}
		}
	}
}

// newFrames reads the data of server-sent events; nil at the end.
func newFrames(r io.Reader) func() fields {
	var rest []byte
	return func() fields {
		for {
			if line, after, found := bytes.Cut(rest, []byte("\r\n")); found {
				rest = after
				if data, is := strings.CutPrefix(string(line), "data: "); is {
					var event fields
					if json.Unmarshal([]byte(data), &event) == nil {
						return event
					}
				}
				continue
			}
			chunk := make([]byte, 4096)
			n, err := r.Read(chunk)
			rest = append(rest, chunk[:n]...)
			if err != nil && n == 0 {
				return nil
			}
		}
	}
}
