package folder_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

// served is a folder with some content, over HTTP.
func served(t *testing.T) (url, dir string) {
	t.Helper()
	dir = t.TempDir()
	f := open(t, dir)
	s := f.Store("http://dl.example.org")
	create(t, s, "beta/agent/v1.0.0/agent_1.0.0_amd64.deb", "a debian package")
	create(t, s, "beta/agent/v1.0.0/agent+x ~%.tar.gz", "an archive")
	create(t, s, "beta/agent/v1.0.0/page.html", "<script>alert(1)</script>")
	create(t, s, "beta/agent/v1.0.0/latest.json", "{}")
	create(t, s, "beta/agent/v1.0.0/SHA256SUMS",
		strings.TrimPrefix(digestOf("a debian package"), "sha256:")+"  agent_1.0.0_amd64.deb\n")
	create(t, s, "beta/agent/latest", "v1.0.0\n")
	create(t, s, "beta/agent/latest.json", `{"version":"v1.0.0"}`)
	handler, err := f.Handler(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL, dir
}

type answer struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, method, url string, header ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	base, _ := served(t)
	const immutable, pointer = "public, max-age=31536000, immutable", "no-cache"
	for path, want := range map[string]struct{ kind, cache, body string }{
		"/beta/agent/v1.0.0/agent_1.0.0_amd64.deb": {"application/vnd.debian.binary-package", immutable, "a debian package"},
		"/beta/agent/v1.0.0/agent+x%20~%25.tar.gz": {"application/gzip", immutable, "an archive"},
		"/beta/agent/v1.0.0/page.html":             {"application/octet-stream", immutable, "<script>alert(1)</script>"},
		"/beta/agent/v1.0.0/latest.json":           {"application/json", immutable, "{}"},
		"/beta/agent/latest":                       {"text/plain; charset=utf-8", pointer, "v1.0.0\n"},
		"/beta/agent/latest.json":                  {"application/json", pointer, `{"version":"v1.0.0"}`},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			got := ask(t, method, base+path)
			wantBody := want.body
			if method == http.MethodHead {
				wantBody = ""
			}
			if diff := cmp.Diff(
				[]any{200, want.kind, want.cache, `"` + digestOf(want.body) + `"`, "nosniff", "", wantBody},
				[]any{got.status, got.header.Get("Content-Type"), got.header.Get("Cache-Control"), got.header.Get("ETag"), got.header.Get("X-Content-Type-Options"), got.header.Get("Content-Encoding"), got.body},
			); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", method, path, diff)
			}
		}
	}
}

func TestRangesAndConditions(t *testing.T) {
	t.Parallel()
	base, _ := served(t)
	deb := base + "/beta/agent/v1.0.0/agent_1.0.0_amd64.deb"
	etag := `"` + digestOf("a debian package") + `"`
	for name, c := range map[string]struct {
		header []string
		status int
		body   string
	}{
		"range":            {[]string{"Range", "bytes=2-7"}, 206, "debian"},
		"from":             {[]string{"Range", "bytes=9-"}, 206, "package"},
		"suffix":           {[]string{"Range", "bytes=-3"}, 206, "age"},
		"beyond":           {[]string{"Range", "bytes=100-"}, 416, "invalid range: failed to overlap\n"},
		"resumed, same":    {[]string{"Range", "bytes=9-", "If-Range", etag}, 206, "package"},
		"resumed, changed": {[]string{"Range", "bytes=9-", "If-Range", `"other"`}, 200, "a debian package"},
		"known":            {[]string{"If-None-Match", etag}, 304, ""},
		"not known":        {[]string{"If-None-Match", `"other"`}, 200, "a debian package"},
	} {
		if got := ask(t, http.MethodGet, deb, c.header...); got.status != c.status || got.body != c.body {
			t.Errorf("%s: %d %q, want %d %q", name, got.status, got.body, c.status, c.body)
		}
	}
}

func TestWhatIsNotServed(t *testing.T) {
	t.Parallel()
	base, dir := served(t)
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".tagship", "TEMPORARY"), []byte("half a file"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/.tagship/", "/.tagship/lock", "/.tagship/TEMPORARY", "/beta/../.tagship/lock", "/%2e%2e/secret", "/..%2fsecret", "/link",
		"/beta/agent/v9", "/beta/agent/latest/", "/beta//agent/", "/beta/agent/%00", "/" + strings.Repeat("a", 5000),
	} {
		got := ask(t, http.MethodGet, base+path)
		if got.status != http.StatusNotFound || strings.Contains(got.body, "secret") || got.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%.60s: %d %q %s", path, got.status, got.body, got.header.Get("Cache-Control"))
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions} {
		if got := ask(t, method, base+"/beta/agent/latest"); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, Allow %q", method, got.status, got.header.Get("Allow"))
		}
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	base, _ := served(t)
	if got := ask(t, http.MethodGet, base+"/beta/agent"); got.status != http.StatusMovedPermanently || got.header.Get("Location") != "/beta/agent/" {
		t.Errorf("folder without slash: %d %s", got.status, got.header.Get("Location"))
	}
	root := ask(t, http.MethodGet, base+"/")
	if root.status != 200 || !strings.Contains(root.body, `<a href="./beta/">beta/</a>`) || strings.Contains(root.body, ".tagship") || strings.Contains(root.body, "Up") {
		t.Errorf("root: %d\n%s", root.status, root.body)
	}
	version := ask(t, http.MethodGet, base+"/beta/agent/v1.0.0/")
	for _, want := range []string{`<a href="../">`, `<a href="./agent&#43;x%20~%25.tar.gz">agent&#43;x ~%.tar.gz</a>`, "16 B", "<title>/beta/agent/v1.0.0/</title>"} {
		if !strings.Contains(version.body, want) {
			t.Errorf("%s is not in\n%s", want, version.body)
		}
	}
	if kind := version.header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
		t.Errorf("type is %s", kind)
	}
	if csp := version.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("policy is %q", csp)
	}
	if head := ask(t, http.MethodHead, base+"/beta/"); head.status != 200 || head.body != "" {
		t.Errorf("HEAD: %d %q", head.status, head.body)
	}
}

func TestReplacedPointerIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	base, dir := served(t)
	before := ask(t, http.MethodGet, base+"/beta/agent/latest")
	s := store(t, dir) // another process
	_, revision, err := s.Read(t.Context(), "beta/agent/latest")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(t.Context(), "beta/agent/latest", []byte("v2.0.0\n"), revision); err != nil {
		t.Fatal(err)
	}
	after := ask(t, http.MethodGet, base+"/beta/agent/latest", "If-None-Match", before.header.Get("ETag"))
	if after.status != 200 || after.body != "v2.0.0\n" || after.header.Get("ETag") != `"`+digestOf("v2.0.0\n")+`"` {
		t.Errorf("after: %d %q %s", after.status, after.body, after.header.Get("ETag"))
	}
}

// The list of digests is what the tool of that name reads.
func TestSumsAreReadByTheTool(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("sha256sum")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("CI must have sha256sum: %v", err)
	}
	if err != nil {
		t.Skipf("there is no sha256sum on this machine; the service's own test checks the sums too: %v", err)
	}
	_, dir := served(t)
	command := exec.CommandContext(t.Context(), tool, "-c", "--strict", "SHA256SUMS")
	command.Dir = filepath.Join(dir, "beta/agent/v1.0.0")
	if output, err := command.CombinedOutput(); err != nil || !strings.Contains(string(output), "agent_1.0.0_amd64.deb: OK") {
		t.Errorf("%v\n%s", err, output)
	}
}
