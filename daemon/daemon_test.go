package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tagship/tagship/daemon/config"
	"go.uber.org/zap"
)

func TestNATSCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, section, want string }{
		{"defaults", "nats: {}", ""},
		{"a user", "nats: {user: ann, password: x}", ""},
		{"two ways to log in", "nats: {user: ann, nkey: SUA}", "nats.creds: only one of creds, nkey and user may be given"},
		{"even replicas", "nats: {replicas: 2}", "nats.replicas: is 2, expected 1, 3 or 5"},
		{"no time to acknowledge", "nats: {ack_wait: 10ms}", "nats.ack_wait: is 10ms, expected at least 1s"},
		{"sources that are gone before they are built", "nats: {sources_age: 59m}", "nats.sources_age: is 59m0s, expected at least 1h"},
		{"sources for an hour", "nats: {sources_age: 1h}", ""},
		{"half a certificate", "nats: {cert: client.pem}", "nats.cert: cert and key go together"},
		{"unknown key", "nats: {ulr: x}", `nats.ulr: unknown key; did you mean "url"?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file, err := config.Parse("tagship.yaml", []byte(c.section), nil)
			if err != nil {
				t.Fatal(err)
			}
			var section NATS
			err = file.Section("nats", &section)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, expected %q", err, c.want)
			}
		})
	}
}

func TestNATSOptionsRefuseWhatIsNoSecret(t *testing.T) {
	t.Parallel()
	section := NATS{NKey: "not a seed"}
	_, err := section.Options("builder", zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "nats.nkey") || strings.Contains(err.Error(), "not a seed") {
		t.Errorf("got %v, expected an error that names nats.nkey and not its value", err)
	}
}

func TestListener(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "tagship_test"}))
	l, err := Listen("127.0.0.1:0", registry, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	expect := func(path string, status int, words string) {
		t.Helper()
		response, err := http.Get(l.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != status || !strings.Contains(string(body), words) {
			t.Errorf("%s answers %d %q (%v), expected %d %q", path, response.StatusCode, body, err, status, words)
		}
	}
	expect("/healthz", http.StatusOK, "ok")
	expect("/metrics", http.StatusOK, "tagship_test")
	expect("/readyz", http.StatusServiceUnavailable, "starting")
	l.Ready()
	expect("/readyz", http.StatusOK, "ok")
	l.Watch(func() bool { return false })
	expect("/readyz", http.StatusServiceUnavailable, "NATS does not answer")

	_, err = Listen(strings.TrimPrefix(l.URL(), "http://"), registry, zap.NewNop())
	if ExitCode(err) != ExitUsage || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("a taken port gives %v, expected a usage error that names --listen", err)
	}
}

// What a service's program says and returns before it does anything.
func TestRunService(t *testing.T) {
	t.Parallel()
	type section struct {
		Slots int `yaml:"slots" default:"1"`
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	nobody := write("nobody.yaml", "nats: {url: \"nats://127.0.0.1:1\", wait: 0s}\nbuilder: {slots: 2}\n")
	wrong := write("wrong.yaml", "nats: {replicas: 2}\nbuilder: {slot: 2}\n")
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"help", []string{"--help"}, ExitOK, []string{"--config", "--data", "--listen"}},
		{"version", []string{"--version"}, ExitOK, []string{"builder " + Version()}},
		{"unknown flag", []string{"--colour"}, ExitUsage, []string{"unknown flag: --colour"}},
		{"argument", []string{"now"}, ExitUsage, []string{`unexpected argument "now"`}},
		{"no file", []string{"--config", filepath.Join(dir, "none.yaml")}, ExitUsage, []string{"none.yaml"}},
		{"every problem at once", []string{"--config", wrong}, ExitUsage, []string{"wrong.yaml:1", "nats.replicas", "wrong.yaml:2", `did you mean "slots"?`}},
		{"log level", []string{"--config", nobody, "--log-level", "loud"}, ExitUsage, []string{`--log-level "loud"`}},
		{"no NATS", []string{"--config", nobody, "--data", dir}, ExitUnavailable, []string{"nats://127.0.0.1:1", "is it running?"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			run := func(context.Context, section, Runtime) error { return errors.New("ran") }
			code := runService(t.Context(), "builder", run, c.args, &out, &out)
			if code != c.code {
				t.Errorf("exit code %d, expected %d", code, c.code)
			}
			for _, words := range c.says {
				if !strings.Contains(out.String(), words) {
					t.Errorf("it says %q, expected %q in it", out.String(), words)
				}
			}
		})
	}
}

func TestStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancelCause(t.Context())
	failure := errors.New("no such stream")
	if err := unlessStopped(ctx, failure); !errors.Is(err, failure) {
		t.Errorf("got %v, expected the failure", err)
	}
	stop(errors.New("terminated signal received"))
	for _, err := range []error{ctx.Err(), fmt.Errorf("make streams: %w", context.Cause(ctx)), nil} {
		if got := unlessStopped(ctx, err); got != nil {
			t.Errorf("got %v, expected that stopping is no failure", got)
		}
	}
	if err := unlessStopped(ctx, failure); !errors.Is(err, failure) {
		t.Errorf("got %v, expected the failure", err)
	}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	plain := errors.New("plain")
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, ExitOK}, {plain, ExitFailure}, {WithExit(4, plain), 4},
		{fmt.Errorf("around: %w", WithExit(ExitUnavailable, plain)), ExitUnavailable}, {WithExit(4, nil), ExitOK},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("%v means exit code %d, expected %d", c.err, got, c.want)
		}
	}
}
