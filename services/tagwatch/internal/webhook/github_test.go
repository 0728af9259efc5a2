package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const (
	zeros = "0000000000000000000000000000000000000000"
	ones  = "1111111111111111111111111111111111111111"
	// who is what every payload has, with times as push has them.
	who = `"repository":{"id":4711,"full_name":"acme/web","html_url":"https://github.com/acme/web","created_at":1700000000,"pushed_at":"2026-11-21T10:00:00Z"},"sender":{"login":"ann","id":7}`
)

func pushOf(ref, more string) string { return fmt.Sprintf(`{"ref":%q,%s,%s}`, ref, more, who) }

func TestHints(t *testing.T) {
	t.Parallel()
	newTag := `"before":"` + zeros + `","after":"` + ones + `","created":true,"deleted":false,"forced":false,"commits":[],"head_commit":null`
	hook := func(change ...func(*events.Hook)) events.Hook {
		h := events.Hook{Host: "github.com", RepoID: "4711", Repo: "acme/web", Tag: "v1.2.3", By: "ann", Delivery: "0b7a1c0e-c6d6-11f0-8de9-0242ac120002"}
		for _, c := range change {
			c(&h)
		}
		return h
	}
	tag := func(name string) func(*events.Hook) { return func(h *events.Hook) { h.Tag = name } }
	gone := func(h *events.Hook) { h.Deleted = true }
	by := func(name string) func(*events.Hook) { return func(h *events.Hook) { h.By = name } }
	for name, test := range map[string]struct {
		event, body string
		want        events.Hook
	}{
		"push of a new tag":       {"push", pushOf("refs/tags/v1.2.3", newTag), hook()},
		"push that moves a tag":   {"push", pushOf("refs/tags/v1.2.3", `"before":"`+ones+`","after":"2222222222222222222222222222222222222222","created":false`), hook()},
		"push that deletes a tag": {"push", pushOf("refs/tags/v1.2.3", `"before":"`+ones+`","after":"`+zeros+`","deleted":true`), hook(gone)},
		"push to zeros":           {"push", pushOf("refs/tags/v1.2.3", `"after":"`+zeros+`"`), hook(gone)},
		"create":                  {"create", `{"ref":"v1.2.3","ref_type":"tag","description":null,` + who + `}`, hook()},
		"delete":                  {"delete", `{"ref":"v1.2.3","ref_type":"tag",` + who + `}`, hook(gone)},
		"release published":       {"release", `{"action":"published","release":{"tag_name":"v1.2.3","draft":false,"target_commitish":"main"},` + who + `}`, hook()},
		"repository renamed":      {"repository", `{"action":"renamed","changes":{"repository":{"name":{"from":"www"}}},` + who + `}`, hook(tag(""))},
		"repository transferred":  {"repository", `{"action":"transferred",` + who + `}`, hook(tag(""))},

		"a tag in folders":           {"push", pushOf("refs/tags/web/v1", newTag), hook(tag("web/v1"))},
		"a tag named like a ref":     {"push", pushOf("refs/tags/refs/tags/v9", newTag), hook(tag("refs/tags/v9"))},
		"the same in short":          {"create", `{"ref":"refs/tags/v9","ref_type":"tag",` + who + `}`, hook(tag("refs/tags/v9"))},
		"a tag for a shell":          {"push", pushOf("refs/tags/$(id);'`v1`>*", newTag), hook(tag("$(id);'`v1`>*"))},
		"a tag in other letters":     {"push", pushOf("refs/tags/релиз-1", newTag), hook(tag("релиз-1"))},
		"a tag that is no UTF-8":     {"push", "{\"ref\":\"refs/tags/v\xff1\",\"deleted\":true," + who + "}", hook(tag(""))},
		"a tag of half a character":  {"push", `{"ref":"refs/tags/v\ud800",` + who + `}`, hook(tag(""))},
		"a tag with a line break":    {"push", `{"ref":"refs/tags/v\n1",` + who + `}`, hook(tag(""))},
		"a tag that is too long":     {"push", pushOf("refs/tags/"+strings.Repeat("v", maxTag+1), newTag), hook(tag(""))},
		"a field twice":              {"push", `{"ref":"refs/heads/main","ref":"refs/tags/v1.2.3",` + who + `}`, hook()},
		"other types elsewhere":      {"push", pushOf("refs/tags/v1.2.3", `"action":[1],"release":"x","commits":{"a":1},"pusher":7,"installation":null`), hook()},
		"a sender that is none":      {"push", strings.ReplaceAll(pushOf("refs/tags/v1.2.3", newTag), `{"login":"ann","id":7}`, `"ann"`), hook(by(""))},
		"a sender with line breaks":  {"push", strings.ReplaceAll(pushOf("refs/tags/v1.2.3", newTag), `"ann"`, `"a\nn"`), hook(by(""))},
		"a bot":                      {"push", strings.ReplaceAll(pushOf("refs/tags/v1.2.3", newTag), `"ann"`, `"release-bot[bot]"`), hook(by("release-bot[bot]"))},
		"an id that is none":         {"push", strings.ReplaceAll(pushOf("refs/tags/v1.2.3", newTag), "4711", `"x"`), hook(func(h *events.Hook) { h.RepoID = "" })},
		"an id beyond 53 bits":       {"push", strings.ReplaceAll(pushOf("refs/tags/v1.2.3", newTag), "4711", "9007199254740993"), hook(func(h *events.Hook) { h.RepoID = "9007199254740993" })},
		"a repository of other case": {"push", strings.ReplaceAll(pushOf("refs/tags/v1.2.3", newTag), `"acme/web"`, `"Acme/web_1.go"`), hook(func(h *events.Hook) { h.Repo = "Acme/web_1.go" })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form := url.Values{"payload": {test.body}, "other": {"1"}}.Encode()
			for _, r := range []*http.Request{
				newDelivery(t, test.event, test.body),
				newDelivery(t, test.event, test.body, "Content-Type", "application/json; charset=utf-8"),
				newDelivery(t, test.event, form, "Content-Type", "application/x-www-form-urlencoded"),
			} {
				d := &desk{}
				g := d.gitHub()
				if answer := answerOf(g, r); answer.Code != http.StatusAccepted {
					t.Errorf("answered %d: %s", answer.Code, answer.Body)
				}
				if diff := cmp.Diff([]events.Hook{test.want}, d.hooks); diff != "" {
					t.Errorf("stored (-expected +got):\n%s", diff)
				}
				for _, h := range d.hooks {
					if _, err := events.EncodeHook(&h); err != nil {
						t.Error(err)
					}
				}
				if d.counted(test.event+" "+Stored) != 1 {
					t.Errorf("counted %q", d.counts)
				}
				if n := g.rooms.small.taken.Load(); n != 0 {
					t.Errorf("%d bytes are not given back", n)
				}
			}
		})
	}
}

func TestNoHint(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		event, body, outcome string
		want                 int
	}{
		"ping":                     {"ping", `{"zen":"Design for failure.","hook_id":1,` + who + `}`, "ping " + Ping, http.StatusOK},
		"ping of an organization":  {"ping", `{"zen":"Design for failure.","organization":{"login":"acme"}}`, "ping " + Ping, http.StatusOK},
		"push of a branch":         {"push", pushOf("refs/heads/main", `"created":true`), "push " + Ignored, http.StatusAccepted},
		"a branch called tags":     {"push", pushOf("refs/heads/tags/v1", `"created":true`), "push " + Ignored, http.StatusAccepted},
		"notes":                    {"push", pushOf("refs/notes/commits", `"created":true`), "push " + Ignored, http.StatusAccepted},
		"create of a branch":       {"create", `{"ref":"v1","ref_type":"branch",` + who + `}`, "create " + Ignored, http.StatusAccepted},
		"delete of a branch":       {"delete", `{"ref":"v1","ref_type":"branch",` + who + `}`, "delete " + Ignored, http.StatusAccepted},
		"release created":          {"release", `{"action":"created","release":{"tag_name":"v1","draft":false},` + who + `}`, "release " + Ignored, http.StatusAccepted},
		"release deleted":          {"release", `{"action":"deleted","release":{"tag_name":"v1","draft":false},` + who + `}`, "release " + Ignored, http.StatusAccepted},
		"a draft":                  {"release", `{"action":"published","release":{"tag_name":"v1","draft":true},` + who + `}`, "release " + Ignored, http.StatusAccepted},
		"a release without a tag":  {"release", `{"action":"published","release":{"tag_name":"untagged-4f2d8a","draft":false},` + who + `}`, "release " + Ignored, http.StatusAccepted},
		"repository archived":      {"repository", `{"action":"archived",` + who + `}`, "repository " + Ignored, http.StatusAccepted},
		"an event of another kind": {"sub_issues", `[]`, "other " + Ignored, http.StatusAccepted},
		"an unknown repository":    {"push", strings.ReplaceAll(pushOf("refs/tags/v1", `"created":true`), "acme/web", "acme/nobody"), "push " + Unwatched, http.StatusAccepted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &desk{}
			answer := answerOf(d.gitHub(), newDelivery(t, test.event, test.body))
			if answer.Code != test.want || !slices.Equal(d.counts, []string{test.outcome}) || len(d.hooks) != 0 {
				t.Errorf("answered %d: %s, counted %q, stored %v; expected %d and %s", answer.Code, answer.Body, d.counts, d.hooks, test.want, test.outcome)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := pushOf("refs/tags/v1", `"created":true`)
	type request = *http.Request
	header := func(name, value string) func(request) { return func(r request) { r.Header.Set(name, value) } }
	for name, test := range map[string]struct {
		event, body string
		change      func(request)
		want        int
		outcome     string
	}{
		"plain text":                 {"push", good, header("Content-Type", "text/plain"), http.StatusUnsupportedMediaType, Unsupported},
		"no content type":            {"push", good, header("Content-Type", ""), http.StatusUnsupportedMediaType, Unsupported},
		"no signature":               {"push", good, header("X-Hub-Signature-256", ""), http.StatusUnauthorized, Unsigned},
		"SHA-1 only":                 {"push", good, func(r request) { r.Header.Del("X-Hub-Signature-256"); r.Header.Set("X-Hub-Signature", "sha1="+ones) }, http.StatusUnauthorized, Unsigned},
		"SHA-1 in the other header":  {"push", good, header("X-Hub-Signature-256", "sha1="+ones), http.StatusUnauthorized, Unsigned},
		"a signature without prefix": {"push", good, header("X-Hub-Signature-256", sign(secret, good)[7:]), http.StatusUnauthorized, Unsigned},
		"a signature cut off":        {"push", good, header("X-Hub-Signature-256", sign(secret, good)[:70]), http.StatusUnauthorized, Unsigned},
		"a signature with garbage":   {"push", good, header("X-Hub-Signature-256", sign(secret, good)[:70]+"!"), http.StatusUnauthorized, Unsigned},
		"another secret":             {"push", good, header("X-Hub-Signature-256", sign("another", good)), http.StatusUnauthorized, Unsigned},
		"an empty secret":            {"push", good, header("X-Hub-Signature-256", sign("", good)), http.StatusUnauthorized, Unsigned},
		"another body":               {"push", good, header("X-Hub-Signature-256", sign(secret, good+" ")), http.StatusUnauthorized, Unsigned},
		"ping that is not signed":    {"ping", good, header("X-Hub-Signature-256", ""), http.StatusUnauthorized, Unsigned},
		"no event":                   {"", good, nil, http.StatusBadRequest, Malformed},
		"announced as too large":     {"push", good, func(r request) { r.ContentLength = maxBody + 1 }, http.StatusRequestEntityTooLarge, TooLarge},
		"too large": {"push", good, func(r request) {
			r.Body, r.ContentLength = io.NopCloser(io.LimitReader(spaces{}, maxBody+1)), -1
		}, http.StatusRequestEntityTooLarge, TooLarge},
		"a connection that breaks": {"push", good, func(r request) {
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(good[:9]), broken{}))
		}, http.StatusBadRequest, Incomplete},

		"empty":                       {"push", ``, nil, http.StatusBadRequest, Malformed},
		"JSON cut off":                {"push", good[:50], nil, http.StatusBadRequest, Malformed},
		"JSON that goes on":           {"push", good + good, nil, http.StatusBadRequest, Malformed},
		"an array":                    {"push", `[]`, nil, http.StatusBadRequest, Malformed},
		"null":                        {"push", `null`, nil, http.StatusBadRequest, Malformed},
		"a ref that is a number":      {"push", `{"ref":1,` + who + `}`, nil, http.StatusBadRequest, Malformed},
		"no ref":                      {"push", `{` + who + `}`, nil, http.StatusBadRequest, Malformed},
		"a ref without a tag":         {"push", pushOf("refs/tags/", `"created":true`), nil, http.StatusBadRequest, Malformed},
		"no repository":               {"push", `{"ref":"refs/tags/v1"}`, nil, http.StatusBadRequest, Malformed},
		"a repository of one":         {"push", strings.ReplaceAll(good, `"acme/web"`, `"web"`), nil, http.StatusBadRequest, Malformed},
		"a repository with tricks":    {"push", strings.ReplaceAll(good, `"acme/web"`, `"acme/we\nb"`), nil, http.StatusBadRequest, Malformed},
		"no ref_type":                 {"create", `{"ref":"v1",` + who + `}`, nil, http.StatusBadRequest, Malformed},
		"no name of a tag":            {"delete", `{"ref_type":"tag",` + who + `}`, nil, http.StatusBadRequest, Malformed},
		"a release of no action":      {"release", `{` + who + `}`, nil, http.StatusBadRequest, Malformed},
		"no release":                  {"release", `{"action":"published",` + who + `}`, nil, http.StatusBadRequest, Malformed},
		"no action":                   {"repository", `{` + who + `}`, nil, http.StatusBadRequest, Malformed},
		"a form without payload":      {"push", `a=1&payloads=2`, header("Content-Type", "application/x-www-form-urlencoded"), http.StatusBadRequest, Malformed},
		"a form encoded wrongly":      {"push", `payload=%7`, header("Content-Type", "application/x-www-form-urlencoded"), http.StatusBadRequest, Malformed},
		"JSON that says it is a form": {"push", good, header("Content-Type", "application/x-www-form-urlencoded"), http.StatusBadRequest, Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &desk{}
			g := d.gitHub()
			r := newDelivery(t, test.event, test.body)
			if test.change != nil {
				test.change(r)
			}
			answer := answerOf(g, r)
			outcome := label(test.event) + " " + test.outcome
			if answer.Code != test.want || !slices.Equal(d.counts, []string{outcome}) || len(d.hooks) != 0 {
				t.Errorf("answered %d: %s, counted %q, stored %v; expected %d and %s", answer.Code, answer.Body, d.counts, d.hooks, test.want, outcome)
			}
			if small, large := g.rooms.small.taken.Load(), g.rooms.large.taken.Load(); small != 0 || large != 0 {
				t.Errorf("%d and %d bytes are not given back", small, large)
			}
		})
	}
}

// spaces never ends.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestDocumentedSignature is the example of GitHub's documentation, "Validating webhook deliveries".
func TestDocumentedSignature(t *testing.T) {
	t.Parallel()
	d := &desk{}
	g := NewGitHub([]Host{{Name: "github.com", Secrets: []string{"It's a Secret to Everybody"}}}, everythingButNobody, d.options())
	r := newDelivery(t, "ping", "Hello, World!", "X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
	if answer := answerOf(g, r); answer.Code != http.StatusOK {
		t.Errorf("answered %d: %s", answer.Code, answer.Body)
	}
}

func TestHostOfASecret(t *testing.T) {
	t.Parallel()
	hosts := []Host{
		{Name: "github.com", Secrets: []string{"old", "new", "shared"}},
		{Name: "ghe.example.org", Secrets: []string{"theirs", "shared", "shared", ""}},
		{Name: "ghe.example.org:8443", Secrets: []string{"shared"}},
	}
	at := func(field, address string) string {
		return fmt.Sprintf(`{"ref":"refs/tags/v1","repository":{"id":1,"full_name":"acme/web",%q:%q}}`, field, address)
	}
	for name, test := range map[string]struct{ secret, body, header, want string }{
		"the one before":            {"old", at("html_url", "https://github.com/acme/web"), "", "github.com"},
		"the one in use":            {"new", at("html_url", "https://github.com/acme/web"), "", "github.com"},
		"of the other host":         {"theirs", at("html_url", "https://ghe.example.org/acme/web"), "ghe.example.org", "ghe.example.org"},
		"it decides alone":          {"theirs", at("html_url", "https://github.com/acme/web"), "github.com", "ghe.example.org"},
		"shared, github.com":        {"shared", at("html_url", "https://github.com/acme/web"), "", "github.com"},
		"shared, enterprise":        {"shared", at("html_url", "https://GHE.example.org/acme/web"), "", "ghe.example.org"},
		"shared, at a port":         {"shared", at("html_url", "https://ghe.example.org:8443/acme/web"), "", "ghe.example.org:8443"},
		"shared, by clone_url":      {"shared", at("clone_url", "https://ghe.example.org/acme/web.git"), "", "ghe.example.org"},
		"shared, by header":         {"shared", at("url", ""), "ghe.example.org", "ghe.example.org"},
		"what is signed goes first": {"shared", at("html_url", "https://github.com/acme/web"), "ghe.example.org", "github.com"},
		"shared, of none of them":   {"shared", at("html_url", "https://git.example.org/acme/web"), "", ""},
		"shared, no address":        {"shared", at("html_url", "::"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &desk{}
			g := NewGitHub(hosts, everythingButNobody, d.options())
			answer := answerOf(g, newDelivery(t, "push", test.body, "X-Hub-Signature-256", sign(test.secret, test.body), "X-GitHub-Enterprise-Host", test.header))
			got := ""
			if len(d.hooks) == 1 {
				got = d.hooks[0].Host
			}
			if answer.Code != http.StatusAccepted || got != test.want {
				t.Errorf("answered %d: %s, a hint for host %q, expected %q", answer.Code, answer.Body, got, test.want)
			}
		})
	}
}

func TestWithoutSecrets(t *testing.T) {
	t.Parallel()
	for _, hosts := range [][]Host{nil, {{Name: "github.com"}}, {{Name: "github.com", Secrets: []string{""}}}} {
		d := &desk{}
		body := pushOf("refs/tags/v1", `"created":true`)
		answer := answerOf(NewGitHub(hosts, everythingButNobody, d.options()), newDelivery(t, "push", body, "X-Hub-Signature-256", sign("", body)))
		if answer.Code != http.StatusNotFound || !strings.Contains(answer.Body.String(), "webhook_secrets") || len(d.hooks) != 0 {
			t.Errorf("%v: answered %d: %s, stored %v", hosts, answer.Code, answer.Body, d.hooks)
		}
	}
}

// TestLogs shows that a refusal is found in the log, and nothing there that must not be.
func TestLogs(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	d := &desk{log: zap.New(core)}
	g := d.gitHub()
	body := `{"ref":7,"note":"between you and me",` + who + `}`
	forged := sign("guess", body)
	g.ServeHTTP(&stubbornWriter{}, newDelivery(t, "push", body))
	answerOf(g, newDelivery(t, "no\nsuch event", body, "X-Hub-Signature-256", forged, "X-GitHub-Delivery", "a\nb"))
	answerOf(g, newDelivery(t, "push", body, "X-Hub-Signature-256", forged, "X-GitHub-Delivery", strings.Repeat("a", maxDelivery+1)))
	answerOf(g, newDelivery(t, "push", pushOf("refs/tags/v1", `"created":true`)))
	entries := logs.All()
	if len(entries) != 3 {
		t.Fatalf("%d lines in the log, expected 3: one for each that is refused", len(entries))
	}
	want := []map[string]any{
		{"event": "push", "outcome": Malformed, "status": int64(http.StatusBadRequest), "delivery": "0b7a1c0e-c6d6-11f0-8de9-0242ac120002", "reason": "ref is not of the type that it should be"},
		{"event": "other", "outcome": Unsigned, "status": int64(http.StatusUnauthorized), "delivery": ""},
		{"event": "push", "outcome": Unsigned, "status": int64(http.StatusUnauthorized), "delivery": ""},
	}
	for i, entry := range entries {
		fields := entry.ContextMap()
		for name, value := range want[i] {
			if fields[name] != value {
				t.Errorf("line %d: %s is %v, expected %v", i, name, fields[name], value)
			}
		}
		if text := fmt.Sprint(entry.Message, fields); strings.Contains(text, "between you and me") || strings.Contains(text, secret) || strings.Contains(text, forged) || strings.ContainsAny(text, "\n") {
			t.Errorf("line %d: %s", i, text)
		}
	}
	if got, want := d.counts, []string{"push malformed", "other unsigned", "push unsigned", "push stored"}; !slices.Equal(got, want) {
		t.Errorf("counted %q, expected %q", got, want)
	}
}

// stubbornWriter is a connection that takes nothing.
type stubbornWriter struct{ header http.Header }

func (w *stubbornWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}
func (*stubbornWriter) WriteHeader(int)           {}
func (*stubbornWriter) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestQueueFails(t *testing.T) {
	t.Parallel()
	d := &desk{fails: errors.New("no servers available")}
	answer := answerOf(d.gitHub(), newDelivery(t, "push", pushOf("refs/tags/v1", `"created":true`)))
	if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") != "10" || d.counted("push "+QueueFailed) != 1 {
		t.Errorf("answered %d, %v, counted %q; expected 503 and when to try again", answer.Code, answer.Header(), d.counts)
	}
}

func TestAnswerWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		options := d.options()
		options.Store = func(ctx context.Context, _ *events.Hook) error { <-ctx.Done(); return ctx.Err() }
		body := pushOf("refs/tags/v1", `"created":true`)
		look := newDelivery(t, "", "")
		look.SetPathValue("app", "web")
		hungUp, hangUp := context.WithCancel(t.Context())
		hangUp() // which is no reason not to store the hint
		for _, test := range []struct {
			handler http.Handler
			request *http.Request
		}{
			{NewGitHub([]Host{{Name: "github.com", Secrets: []string{secret}}}, everythingButNobody, options), newDelivery(t, "push", body).WithContext(hungUp)},
			{NewLook(nil, func(string) bool { return true }, options), look},
		} {
			start := time.Now()
			answer := answerOf(test.handler, test.request)
			if took := time.Since(start); answer.Code != http.StatusServiceUnavailable || took != storeWithin {
				t.Errorf("answered %d after %s, expected 503 after %s", answer.Code, took, storeWithin)
			}
		}
	})
}

func BenchmarkGitHub(b *testing.B) {
	body := pushOf("refs/tags/v1", `"padding":"`+strings.Repeat("x", 8<<10)+`"`)
	g := NewGitHub([]Host{{Name: "github.com", Secrets: []string{secret, "next"}}}, everythingButNobody, Options{
		Store: func(context.Context, *events.Hook) error { return nil },
		Count: func(string, string) {},
		Log:   zap.NewNop(),
	})
	signature := sign(secret, body)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := newDelivery(b, "push", "", "X-Hub-Signature-256", signature)
		for pb.Next() {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			if answer := answerOf(g, r); answer.Code != http.StatusAccepted {
				b.Errorf("answered %d: %s", answer.Code, answer.Body)
				return
			}
		}
	})
}
