package github

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/services/tagwatch/internal/report"
	"go.uber.org/zap/zaptest"
)

// desk is a GitHub that takes reports, and writes down what it is sent.
type desk struct {
	mu     sync.Mutex
	calls  []string
	answer func(w http.ResponseWriter, r *http.Request) (answered bool) // instead of success
	known  []map[string]any                                             // the deployments
}

func newDesk(t *testing.T) (*desk, *Reporter) {
	t.Helper()
	d := &desk{}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	host, err := Open(Settings{Name: "github.com", API: server.URL + "/", Token: "t0ken", Spool: t.TempDir(), UserAgent: "tagship"}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	return d, NewReporter(host)
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Authorization") != "Bearer t0ken" {
		http.Error(w, "who is that?", http.StatusUnauthorized)
		return
	}
	d.calls = append(d.calls, strings.TrimSpace(r.Method+" "+r.RequestURI+"\n"+string(body)))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if d.answer != nil && d.answer(w, r) {
		return
	}
	var answer any = d.known
	switch {
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/deployments"):
		var made map[string]any
		if err := json.Unmarshal(body, &made); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		made["id"] = len(d.known) + 7
		d.known = append(d.known, made)
		w.WriteHeader(http.StatusCreated)
		answer = made
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusCreated)
		answer = map[string]any{"id": 1}
	case d.known == nil:
		answer = []any{}
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		d.calls = append(d.calls, err.Error()) // which no test expects
	}
}

func (d *desk) wantCalls(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if diff := cmp.Diff(want, d.calls); diff != "" {
		t.Errorf("GitHub was sent (-want +got):\n%s", diff)
	}
	d.calls = nil
}

var (
	knownByID   = report.Repo{Name: "acme/old-name", ID: "42"}
	knownByName = report.Repo{Name: "acme/web"}
	status      = report.Status{
		Commit: strings.Repeat("a", 40), Context: "tagship: web@v1", State: report.Failure,
		Description: "build failed: exit status 2", Link: "https://logs.example.com/web/v1",
	}
	deployed = report.Deployment{Ref: "web/v1+2", Environment: "dev (web)", Description: "web v1+2", Marker: "dev-web-3"}
)

func TestStatus(t *testing.T) {
	t.Parallel()
	d, reporter := newDesk(t)
	if err := reporter.Status(t.Context(), knownByID, status); err != nil {
		t.Fatal(err)
	}
	plain := status
	plain.Link, plain.State, plain.Description = "", report.Pending, "building"
	if err := reporter.Status(t.Context(), knownByName, plain); err != nil {
		t.Fatal(err)
	}
	path := strings.Repeat("a", 40)
	d.wantCalls(t,
		"POST /repositories/42/statuses/"+path+"\n"+
			`{"state":"failure","target_url":"https://logs.example.com/web/v1","description":"build failed: exit status 2","context":"tagship: web@v1"}`,
		"POST /repos/acme/web/statuses/"+path+"\n"+
			`{"state":"pending","description":"building","context":"tagship: web@v1"}`)
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	d, reporter := newDesk(t)
	const list = "GET /repositories/42/deployments?environment=dev+%28web%29&per_page=100&ref=web%2Fv1%2B2"
	for range 2 { // the second time finds what the first has made
		id, err := reporter.Deploy(t.Context(), knownByID, deployed)
		if id != 7 || err != nil {
			t.Fatalf("got %d, %v; expected 7", id, err)
		}
	}
	d.wantCalls(t, list,
		"POST /repositories/42/deployments\n"+
			`{"ref":"web/v1+2","auto_merge":false,"required_contexts":[],"payload":{"tagship":"dev-web-3"},"environment":"dev (web)","description":"web v1+2"}`,
		list)
	for _, s := range []report.DeploymentStatus{
		{State: report.InProgress, Description: "releasing", Link: "https://logs.example.com/web/v1"},
		{State: report.Success, Description: "running and healthy"},
	} {
		if err := reporter.DeploymentStatus(t.Context(), knownByID, 7, s); err != nil {
			t.Fatal(err)
		}
	}
	d.wantCalls(t,
		"POST /repositories/42/deployments/7/statuses\n"+`{"state":"in_progress","log_url":"https://logs.example.com/web/v1","description":"releasing"}`,
		"POST /repositories/42/deployments/7/statuses\n"+`{"state":"success","description":"running and healthy"}`)
}

// TestDeploymentThatWasDeleted is no want of permission, which would switch off all others.
func TestDeploymentThatWasDeleted(t *testing.T) {
	t.Parallel()
	d, reporter := newDesk(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		says(http.StatusNotFound, `{"message":"Not Found"}`)(w)
		return true
	}
	err := reporter.DeploymentStatus(t.Context(), knownByID, 7, report.DeploymentStatus{State: report.Success})
	if got := kindOf(err); got != "unfit: somebody has deleted the deployment" {
		t.Errorf("got %s", got)
	}
}

func TestDeploymentsOfOthers(t *testing.T) {
	t.Parallel()
	d, reporter := newDesk(t)
	d.known = []map[string]any{
		{"id": 1}, {"id": 2, "payload": nil}, {"id": 3, "payload": ""}, {"id": 4, "payload": "dev-web-3"}, {"id": 5, "payload": []string{"dev-web-3"}},
		{"id": 6, "payload": map[string]any{"tagship": 3}}, {"id": 7, "payload": map[string]any{"tagship": "dev-web-4"}},
		{"id": 8, "payload": `{"tagship":"dev-web-3"}`}, // as an Enterprise server gives it
	}
	if id, err := reporter.Deploy(t.Context(), knownByName, deployed); id != 8 || err != nil {
		t.Errorf("got %d, %v; expected 8", id, err)
	}
}

// TestRenamed follows the redirect of a repository whose id is not known.
func TestRenamed(t *testing.T) {
	t.Parallel()
	d, reporter := newDesk(t)
	d.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/repos/") {
			return false
		}
		w.Header().Set("Location", "/repositories/42"+strings.TrimPrefix(r.URL.Path, "/repos/acme/web"))
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
	if err := reporter.Status(t.Context(), knownByName, status); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, sent, _ := strings.Cut(d.calls[0], "\n")
	if want := "POST /repositories/42/statuses/" + status.Commit + "\n" + sent; len(d.calls) != 2 || d.calls[1] != want {
		t.Errorf("got %q, expected the same again at the new place", d.calls)
	}
}

func TestReportErrors(t *testing.T) {
	t.Parallel()
	message := func(text string) string {
		return fmt.Sprintf(`{"message":%q,"documentation_url":"https://docs.github.com/rest"}`, text)
	}
	for name, test := range map[string]struct {
		code   int
		header string // one, as "Name: value"
		body   string
		want   string
	}{
		"no permission":   {403, "", message("Resource not accessible by integration"), "denied: github.com does not let the token do POST /repos/acme/web/deployments (Resource not accessible by integration): check that the token has Commit statuses: write and Deployments: write"},
		"not found":       {404, "", message("Not Found"), "denied: github.com shows no acme/web to the token, or does not let it report there: check that the token has Commit statuses: write and Deployments: write"},
		"archived":        {403, "", message("Repository was archived so is read-only."), "denied: github.com does not let the token do POST /repos/acme/web/deployments (Repository was archived so is read-only.): check that the token has Commit statuses: write and Deployments: write"},
		"no such ref":     {422, "", message("No ref found for: web/v1+2"), "unfit: No ref found for: web/v1+2"},
		"no such commit":  {422, "", `{"message":"Validation Failed","errors":[{"resource":"Status","code":"custom","message":"No commit found for SHA"}]}`, "unfit: Validation Failed: No commit found for SHA"},
		"merge conflict":  {409, "", message("Conflict merging main into web/v1+2"), "unfit: Conflict merging main into web/v1+2"},
		"merged":          {202, "", message("Auto-merged main into web/v1+2 on deployment."), "unfit: github.com merged branches rather than make a deployment"},
		"limit":           {403, "Retry-After: 60", message("You have exceeded a secondary rate limit"), "limit"},
		"no credentials":  {401, "", message("Bad credentials"), "error: github.com does not accept the token: it is wrong, has expired or was revoked; configure a new one"},
		"its own trouble": {502, "", message("Server Error"), "error: POST /repos/acme/web/deployments: github.com answered 502: Server Error"},
		"no id":           {201, "", "{}", "error: make the deployment: GitHub's answer has no id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, reporter := newDesk(t)
			d.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost {
					return false
				}
				if key, value, found := strings.Cut(test.header, ": "); found {
					w.Header().Set(key, value)
				}
				w.WriteHeader(test.code)
				_, _ = io.WriteString(w, test.body)
				return true
			}
			_, err := reporter.Deploy(t.Context(), knownByName, deployed)
			if got := kindOf(err); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// kindOf tells an error as reports see it.
func kindOf(err error) string {
	var (
		denied *report.DeniedError
		unfit  *report.UnfitError
		limit  *report.LimitError
	)
	switch {
	case errors.As(err, &denied):
		return "denied: " + denied.Reason
	case errors.As(err, &unfit):
		return "unfit: " + unfit.Reason
	case errors.As(err, &limit) && time.Until(limit.Until) > 50*time.Second && limit.Reason != "":
		return "limit"
	}
	return fmt.Sprintf("error: %v", err)
}

func FuzzMarker(f *testing.F) {
	f.Add([]byte(`{"tagship":"dev-web-3"}`))
	f.Add([]byte(`"{\"tagship\":\"dev-web-3\"}"`))
	f.Add([]byte(`[1]`))
	f.Add([]byte(`"\""`))
	f.Add([]byte(`{"tagship":"\ud800"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		found := marker(raw)
		again, err := json.Marshal(payload{found})
		if err != nil {
			t.Fatal(err)
		}
		if got := marker(again); got != found {
			t.Errorf("%q has the marker %q, which is read as %q", raw, found, got)
		}
	})
}
