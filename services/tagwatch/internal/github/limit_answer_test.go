package github

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noon is when the answers of these tests were received.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// in30 is half an hour after noon, as a reset is told.
var in30 = fmt.Sprint(noon.Add(30 * time.Minute).Unix())

// answered reads an answer as it goes over the wire.
func answered(t testing.TB, lines ...string) (int, http.Header) {
	t.Helper()
	raw := "HTTP/1.1 " + strings.Join(lines, "\r\n") + "\r\n\r\n"
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return resp.StatusCode, resp.Header
}

func TestClassify(t *testing.T) {
	const (
		permission    = `{"message":"Resource not accessible by integration","documentation_url":"https://docs.github.com/rest/repos"}`
		primaryBody   = `{"message":"API rate limit exceeded for user ID 1.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"}`
		secondaryBody = `{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}`
		secondaryDocs = `{"message":"Slow down","documentation_url":"https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`
		abuse         = `{"message":"You have triggered an abuse detection mechanism","documentation_url":"https://developer.github.com/v3/#abuse-rate-limits"}`
	)
	primary := func(wait time.Duration) *refusal { return &refusal{wait: wait, reason: reasonCore} }
	points := func(wait time.Duration) *refusal { return &refusal{wait: wait, reason: reasonGraphQL} }
	secondary := func(wait time.Duration) *refusal {
		return &refusal{whole: true, wait: wait, reason: reasonSecondary}
	}
	for name, test := range map[string]struct {
		kind resource
		head []string
		body string
		want *refusal
	}{
		"403, nothing left": {
			head: []string{"403 Forbidden", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: " + in30}, body: primaryBody, want: primary(30 * time.Minute)},
		"403, nothing left, headers in lower case": {
			head: []string{"403 Forbidden", "x-ratelimit-remaining: 0", "x-ratelimit-reset: " + in30}, body: primaryBody, want: primary(30 * time.Minute)},
		"429, nothing left": {
			head: []string{"429 Too Many Requests", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: " + in30}, body: primaryBody, want: primary(30 * time.Minute)},
		"403, nothing left, and a shorter time to wait": {
			head: []string{"403 Forbidden", "Retry-After: 60", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: " + in30}, body: primaryBody, want: primary(30 * time.Minute)},
		"403, nothing left, by a clock two hours behind": {
			head: []string{"403 Forbidden", "Date: Mon, 02 Mar 2026 10:00:00 GMT", "X-RateLimit-Remaining: 0", fmt.Sprintf("X-RateLimit-Reset: %d", noon.Add(-90*time.Minute).Unix())}, body: primaryBody, want: primary(30 * time.Minute)},
		"403, nothing left, no reset": {
			head: []string{"403 Forbidden", "X-RateLimit-Remaining: 0"}, body: `{"message":"API Rate Limit Exceeded for 192.0.2.1"}`, want: primary(0)},
		"403, nothing left, a reset that has been": {
			head: []string{"403 Forbidden", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 17"}, body: primaryBody, want: primary(0)},
		"403, nothing left, a reset in a year": {
			head: []string{"403 Forbidden", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 1900000000"}, body: primaryBody, want: primary(time.Hour)},
		"403, primary by its words only": {
			head: []string{"403 Forbidden"}, body: primaryBody, want: primary(0)},
		"200, nothing left": {
			head: []string{"200 OK", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: " + in30}, body: `[]`},

		"429 with Retry-After": {
			head: []string{"429 Too Many Requests", "Retry-After: 17"}, body: `{}`, want: secondary(17 * time.Second)},
		"403 with Retry-After": {
			head: []string{"403 Forbidden", "Retry-After: 17"}, body: `{}`, want: secondary(17 * time.Second)},
		"403, a date in Retry-After": {
			head: []string{"403 Forbidden", "Retry-After: Mon, 02 Mar 2026 12:02:00 GMT"}, body: secondaryBody, want: secondary(2 * time.Minute)},
		"403, a date in Retry-After, by a clock that is ahead": {
			head: []string{"403 Forbidden", "Date: Mon, 02 Mar 2026 18:00:00 GMT", "Retry-After: Mon, 02 Mar 2026 18:02:00 GMT"}, body: secondaryBody, want: secondary(2 * time.Minute)},
		"403, the documentation's address, with Retry-After": {
			head: []string{"403 Forbidden", "Retry-After: 60", "X-RateLimit-Remaining: 4000", "X-RateLimit-Reset: " + in30}, body: secondaryDocs, want: secondary(time.Minute)},
		"403, the documentation's address, and a reset that means nothing": {
			head: []string{"403 Forbidden", "X-RateLimit-Remaining: 4000", "X-RateLimit-Reset: " + in30}, body: secondaryDocs, want: secondary(0)},
		"403, secondary by its words only": {
			head: []string{"403 Forbidden"}, body: secondaryBody, want: secondary(0)},
		"403, secondary as it was called before": {
			head: []string{"403 Forbidden", "X-RateLimit-Remaining: 4000"}, body: abuse, want: secondary(0)},
		"403, secondary, and nothing left": {
			head: []string{"403 Forbidden", "Retry-After: 60", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: " + in30}, body: secondaryBody, want: secondary(time.Minute)},
		"403, limited by": {
			head: []string{"403 Forbidden", "gh-limited-by: search-elapsed-time-shared-grouped"}, body: `{}`, want: secondary(0)},
		"429 and nothing else": {
			head: []string{"429 Too Many Requests"}, body: `<html>`, want: secondary(0)},
		"429, a day to wait": {
			head: []string{"429 Too Many Requests", "Retry-After: 86400"}, want: secondary(time.Hour)},
		"429, a nonsense to wait": {
			head: []string{"429 Too Many Requests", "Retry-After: -5"}, want: secondary(0)},

		"GraphQL, points used up": {kind: resourceGraphQL,
			head: []string{"200 OK", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: " + in30}, body: `{"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded for user ID 1."}]}`, want: points(30 * time.Minute)},
		"GraphQL, points used up, as it says it lately": {kind: resourceGraphQL,
			head: []string{"200 OK"}, body: `{"errors":[{"type":"RATE_LIMIT","code":"graphql_rate_limit","message":"API rate limit already exceeded for user ID 1."}]}`, want: points(0)},
		"GraphQL, secondary": {kind: resourceGraphQL,
			head: []string{"200 OK", "Retry-After: 30"}, body: `{"errors":[{"message":"You have exceeded a secondary rate limit."}]}`, want: secondary(30 * time.Second)},
		"GraphQL, 403": {kind: resourceGraphQL,
			head: []string{"403 Forbidden", "Retry-After: 30"}, body: secondaryBody, want: secondary(30 * time.Second)},
		"GraphQL, tags that are called so": {kind: resourceGraphQL,
			head: []string{"200 OK"}, body: `{"data":{"r0":{"refs":{"nodes":[{"name":"RATE_LIMITED"},{"name":"secondary-rate"}]}}},"errors":[{"type":"NOT_FOUND","path":["r1"],"message":"Could not resolve"}]}`},
		"GraphQL, an answer cut off": {kind: resourceGraphQL,
			head: []string{"200 OK"}, body: `{"errors":[{"type":"RATE_LIM`},

		"403, no permission": {
			head: []string{"403 Forbidden", "X-RateLimit-Remaining: 4000", "X-RateLimit-Reset: " + in30}, body: permission},
		"403, single sign-on": {
			head: []string{"403 Forbidden", "X-GitHub-SSO: required; url=https://github.com/orgs/acme/sso"}, body: `{"message":"Resource protected by organization SAML enforcement."}`},
		"404": {head: []string{"404 Not Found"}, body: `{"message":"Not Found"}`},
		"304": {head: []string{"304 Not Modified", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: " + in30}},
		"202": {head: []string{"202 Accepted"}, body: `{}`},
		"409": {head: []string{"409 Conflict"}, body: `{"message":"Git Repository is empty."}`},
		"500": {head: []string{"500 Internal Server Error"}, body: `<html>secondary rate`},
		"503": {head: []string{"503 Service Unavailable", "Retry-After: 60"}},
		"200 of REST that has such words": {
			head: []string{"200 OK", "Content-Type: text/html"}, body: `{"errors":[{"type":"RATE_LIMITED"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			status, header := answered(t, test.head...)
			got, refused := classify(test.kind, status, header, []byte(test.body), noon)
			var want refusal
			if test.want != nil {
				want = *test.want
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(refusal{})); diff != "" || refused != (test.want != nil) {
				t.Errorf("refused: %v; (-want +got)\n%s", refused, diff)
			}
		})
	}
}

// TestClassifyRecorded goes over recordings of GitHub where there are some.
func TestClassifyRecorded(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root(t), "..", "shared", "fixtures", "github", "rest", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var recorded struct {
			Response struct {
				Status  int
				Headers map[string]any
				Body    json.RawMessage
			}
		}
		if json.Unmarshal(text, &recorded) != nil || recorded.Response.Status == 0 {
			continue // an example without its answer
		}
		cases++
		header := http.Header{}
		for name, value := range recorded.Response.Headers {
			if text, ok := value.(string); ok {
				header.Set(name, text)
			}
		}
		status := recorded.Response.Status
		_, refused := classify(resourceCore, status, header, recorded.Response.Body, noon)
		if want := status == http.StatusForbidden || status == http.StatusTooManyRequests; refused != want {
			t.Errorf("%s: refused is %v, want %v", filepath.Base(file), refused, want)
		}
	}
	t.Logf("%d recordings", cases)
}

// root is the repository's root.
func root(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.work")); err == nil {
			return folder
		}
	}
	t.Fatal("no go.work above this folder")
	return ""
}

func FuzzClassify(f *testing.F) {
	f.Add(false, 403, "60", "0", "5000", in30, "Mon, 02 Mar 2026 12:00:00 GMT", `{"message":"API rate limit exceeded"}`)
	f.Add(false, 429, "Mon, 02 Mar 2026 12:02:00 GMT", "", "", "", "", "<html>")
	f.Add(false, 200, "", "0", "5000", fmt.Sprint(noon.Add(90*time.Minute).Unix()), "", `[]`)
	f.Add(true, 200, "-1", "9223372036854775807", "-1", "9223372036854775807", "", `{"errors":[{"type":"RATE_LIMITED"}]}`)
	f.Fuzz(func(t *testing.T, graphql bool, status int, retry, remaining, limit, reset, date, body string) {
		header := http.Header{}
		for name, value := range map[string]string{"Retry-After": retry, "X-RateLimit-Remaining": remaining, "X-RateLimit-Limit": limit, "X-RateLimit-Reset": reset, "Date": date} {
			header.Set(name, value)
		}
		kind := resourceCore
		if graphql {
			kind = resourceGraphQL
		}
		no, refused := classify(kind, status, header, []byte(body), noon)
		if no.wait < 0 || no.wait > longestBlock || refused != (no.reason != "") {
			t.Errorf("refused: %v, %+v", refused, no)
		}
		if refused && status != 403 && status != 429 && (status != 200 || !graphql) {
			t.Errorf("status %d is taken for a refusal", status)
		}
		l := &limiter{}
		l.accounts[kind].update(kind, header, noon)
		b := l.budget(kind, noon)
		if b.Limit < 0 || b.Remaining < 0 || b.Blocked.Sub(noon) > longestBlock || b.Reset.Sub(noon) > window {
			t.Errorf("budget %+v", b)
		}
		if p := pause(time.Minute, 200, b, noon); p < time.Minute || p > window {
			t.Errorf("a pause of %s by %+v", p, b)
		}
	})
}
