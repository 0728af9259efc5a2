package webhook

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tagship/tagship/events"
)

// TestRecorded runs over payloads and deliveries of real GitHubs, where a
// collection of them lies beside the repository.
func TestRecorded(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(root(t), "..", "shared", "fixtures", "github")
	index, err := os.ReadFile(filepath.Join(folder, "index.json"))
	if err != nil {
		t.Skipf("no recorded deliveries: %v", err)
	}
	var collection struct {
		Entries []recorded `json:"entries"`
	}
	if err := json.Unmarshal(index, &collection); err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, entry := range collection.Entries {
		if entry.Kind == "webhook" || entry.Kind == "delivery" {
			cases++
			t.Run(entry.File, func(t *testing.T) { entry.run(t, folder) })
		}
	}
	t.Logf("%d recorded cases", cases)
	if cases == 0 {
		t.Error("the collection has no payloads")
	}
}

// recorded is one payload or delivery, and what is to become of it.
type recorded struct {
	File   string `json:"file"`
	Kind   string `json:"kind"`
	Event  string `json:"event"`
	Expect struct {
		HTTP   string `json:"http"`
		Repo   string `json:"repo"`
		RepoID int64  `json:"repo_id"`
		Tag    string `json:"tag"`
		NewTag any    `json:"new_tag"` // true, false, or "hint"
		Action string `json:"action"`
	} `json:"expect"`
}

func (e *recorded) run(t *testing.T, folder string) {
	content, err := os.ReadFile(filepath.Join(folder, e.File))
	if err != nil {
		t.Fatal(err)
	}
	secret, r := secret, newDelivery(t, e.Event, string(content))
	if e.Kind == "delivery" {
		secret, r = e.delivered(t, content)
	}
	d := &desk{}
	g := NewGitHub([]Host{{Name: "github.com", Secrets: []string{secret}}}, everythingButNobody, d.options())
	answer := answerOf(g, r)

	if want := strings.HasPrefix(e.Expect.HTTP, "4"); want != (answer.Code >= 400) {
		t.Errorf("answered %d: %s, expected %s", answer.Code, answer.Body, e.Expect.HTTP)
	}
	if strings.HasPrefix(e.Expect.HTTP, "401") && answer.Code != http.StatusUnauthorized {
		t.Errorf("answered %d: %s, expected 401", answer.Code, answer.Body)
	}
	if want := e.hints(); len(d.hooks) != want {
		t.Fatalf("stored %+v, expected %d hints", d.hooks, want)
	}
	if len(d.hooks) == 1 {
		e.compare(t, d.hooks[0])
	}
}

// hints is how many hints there are in it. Of a delivery that comes twice each is one; whether it is new, others know.
func (e *recorded) hints() int {
	switch {
	case e.Expect.NewTag == true, e.Expect.NewTag == "hint", e.Expect.Action == "mark_deleted", e.Expect.Action == "report_moved",
		e.Event == "repository" && strings.Contains(e.File, "renamed"),
		e.Kind == "delivery" && strings.Contains(e.File, "same_guid"):
		return 1
	}
	return 0
}

func (e *recorded) compare(t *testing.T, got events.Hook) {
	t.Helper()
	if e.Expect.Tag != "" && got.Tag != e.Expect.Tag || e.Expect.Repo != "" && got.Repo != e.Expect.Repo {
		t.Errorf("stored %+v, expected %s of %s", got, e.Expect.Tag, e.Expect.Repo)
	}
	if e.Expect.RepoID != 0 && got.RepoID != strconv.FormatInt(e.Expect.RepoID, 10) {
		t.Errorf("stored %+v, expected id %d", got, e.Expect.RepoID)
	}
	if want := e.Expect.Action == "mark_deleted"; got.Deleted != want {
		t.Errorf("stored %+v, expected deleted: %t", got, want)
	}
	if _, err := events.EncodeHook(&got); err != nil {
		t.Error(err)
	}
}

// delivered is the request of a complete delivery, and its secret.
func (e *recorded) delivered(t *testing.T, content []byte) (string, *http.Request) {
	t.Helper()
	var delivery struct {
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body_base64"`
		Secret  string            `json:"secret"`
	}
	if err := json.Unmarshal(content, &delivery); err != nil {
		t.Fatal(err)
	}
	body, err := base64.StdEncoding.DecodeString(delivery.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := newDelivery(t, "", string(body))
	r.Header = http.Header{}
	for name, value := range delivery.Headers {
		r.Header.Set(name, value)
	}
	return delivery.Secret, r
}

// root is the folder of the repository.
func root(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for folder != filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.work")); err == nil {
			return folder
		}
		folder = filepath.Dir(folder)
	}
	t.Fatal("no go.work above this folder")
	return ""
}
