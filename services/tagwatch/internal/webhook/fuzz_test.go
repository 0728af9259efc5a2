package webhook

import (
	"crypto/hmac"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tagship/tagship/events"
)

// FuzzDeliveries sends anything at all. Whatever it is, it has an answer, and is
// stored only if it is signed and as a hint that can be read again.
func FuzzDeliveries(f *testing.F) {
	good := pushOf("refs/tags/v1", `"created":true`)
	add := func(event, body string, signed bool) {
		f.Add("application/json", event, "id", sign("guess", body), body, signed)
	}
	add("push", good, true)
	add("push", good, false)
	add("push", strings.ReplaceAll(good, "v1", `\ud800`), true)
	add("create", `{"ref":"v1","ref_type":"tag",`+who+`}`, true)
	add("delete", `{"ref":"v1","ref_type":"tag",`+who+`}`, true)
	add("release", `{"action":"published","release":{"tag_name":"v1"},`+who+`}`, true)
	add("repository", `{"action":"renamed",`+who+`}`, true)
	add("ping", `{}`, true)
	add("other", `[[[[`, true)
	f.Add("application/x-www-form-urlencoded", "push", "id", "", "payload="+good, true)
	f.Add("text/plain; charset=\"", "", "\x00", "sha1=00", "", false)
	statuses := []int{
		http.StatusOK, http.StatusAccepted, http.StatusBadRequest, http.StatusUnauthorized, http.StatusUnsupportedMediaType,
	}
	f.Fuzz(func(t *testing.T, contentType, event, id, signature, body string, signed bool) {
		d := &desk{}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		if signed {
			signature = sign(secret, body)
		}
		for name, value := range map[string]string{"Content-Type": contentType, "X-GitHub-Event": event, "X-GitHub-Delivery": id, "X-Hub-Signature-256": signature} {
			r.Header.Set(name, value)
		}
		g := d.gitHub()
		answer := answerOf(g, r)
		if !slices.Contains(statuses, answer.Code) {
			t.Errorf("answered %d: %s", answer.Code, answer.Body)
		}
		verified := hmac.Equal([]byte(strings.ToLower(signature)), []byte(sign(secret, body)))
		if answer.Code < 300 && !verified {
			t.Errorf("answered %d to what nobody signed", answer.Code)
		}
		if len(d.hooks) > 0 && answer.Code != http.StatusAccepted {
			t.Errorf("answered %d, and stored %v", answer.Code, d.hooks)
		}
		for _, hook := range d.hooks {
			if _, err := events.EncodeHook(&hook); err != nil {
				t.Errorf("stored %+v: %v", hook, err)
			}
		}
		if n := g.rooms.small.taken.Load(); n != 0 {
			t.Errorf("%d bytes are not given back", n)
		}
	})
}
