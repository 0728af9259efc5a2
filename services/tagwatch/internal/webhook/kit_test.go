package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

const secret = "correct horse battery staple"

// desk is what a handler is given: a queue in memory, and the counts.
type desk struct {
	mu     sync.Mutex
	hooks  []events.Hook
	counts []string
	fails  error
	log    *zap.Logger
}

func (d *desk) options() Options {
	log := d.log
	if log == nil {
		log = zap.NewNop()
	}
	return Options{Store: d.store, Count: d.count, Log: log}
}

func (d *desk) store(_ context.Context, hook *events.Hook) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails == nil {
		d.hooks = append(d.hooks, *hook)
	}
	return d.fails
}

func (d *desk) count(event, outcome string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts = append(d.counts, event+" "+outcome)
}

func (d *desk) counted(what string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, c := range d.counts {
		if c == what {
			n++
		}
	}
	return n
}

// gitHub is a handler for github.com that watches everything but acme/nobody.
func (d *desk) gitHub() *GitHub {
	return NewGitHub([]Host{{Name: "github.com", Secrets: []string{secret}}}, everythingButNobody, d.options())
}

func everythingButNobody(_, _, name string) bool { return name != "acme/nobody" }

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// newDelivery is as GitHub sends it. A change is a header and its value; none removes it.
func newDelivery(t testing.TB, event, body string, change ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhooks/github", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", event)
	r.Header.Set("X-GitHub-Delivery", "0b7a1c0e-c6d6-11f0-8de9-0242ac120002")
	r.Header.Set("X-Hub-Signature-256", sign(secret, body))
	for pair := range slices.Chunk(change, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	return r
}

func answerOf(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer
}
