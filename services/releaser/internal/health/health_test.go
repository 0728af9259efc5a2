package health_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tagship/tagship/services/releaser/internal/health"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
		case "/moved":
			http.Redirect(w, r, "http://nowhere.invalid/", http.StatusFound)
		case "/sick":
			http.Error(w, "database is gone", http.StatusServiceUnavailable)
		case "/hang":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		}
	}))
	t.Cleanup(server.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	addr := strings.TrimPrefix(server.URL, "http://")
	for name, test := range map[string]struct{ addr, path, want string }{
		"answers":            {addr, "/ok", ""},
		"redirects":          {addr, "/moved", ""},
		"says it is sick":    {addr, "/sick", `GET /sick answered 503 "database is gone\n"`},
		"hangs up":           {addr, "/hang", "GET /hang: EOF"},
		"accepts":            {addr, "", ""},
		"refuses":            {closed.Addr().String(), "", "connection refused"},
		"refuses over http":  {closed.Addr().String(), "/ok", "GET /ok: connect: "},
		"is no address here": {"nonsense", "", "missing port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := health.NewProber().Probe(t.Context(), test.addr, test.path)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, expected health", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, expected %q", err, test.want)
			}
		})
	}
}
