package cli_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tagship/tagship/events/eventstest"
)

// bare runs a command without a NATS of its own.
func bare(t *testing.T, args ...string) result {
	t.Helper()
	w := &world{t: t, env: map[string]string{"USER": "ann"}}
	return w.exec(t.Context(), args...)
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"unknown command", []string{"relase"}, `tagship: unknown command "relase", did you mean release?; see 'tagship --help'`},
		{"unknown subcommand", []string{"dead", "shwo"}, `unknown command "shwo", did you mean show?; see 'tagship dead --help'`},
		{"unknown flag", []string{"status", "--jsn"}, "unknown flag: --jsn; see 'tagship status --help'"},
		{"too few arguments", []string{"release", "prod"}, "accepts 2 arg(s), received 1; see 'tagship release --help'"},
		{"bad duration", []string{"build", "web@v1", "--timeout", "soon"}, `invalid argument "soon" for "--timeout"`},
		{"no version", []string{"release", "prod", "web"}, `"web" names no version, expected APP@VERSION such as web@v1.2.3`},
		{"empty version", []string{"logs", "web@"}, "expected a version such as v1.2.3"},
		{"bad app", []string{"build", "Web@v1"}, `the app "Web" is not an app's name`},
		{"bad environment", []string{"release", "pro d", "web@v1"}, `the environment "pro d" is not a name`},
		{"bad channel", []string{"publish", "", "web@v1"}, "the channel is empty"},
		{"bad app in tag", []string{"tag", "Web"}, `the app "Web" is not an app's name`},
		{"negative timeout", []string{"build", "web@v1", "--timeout", "-1s"}, "--timeout is -1s, expected a positive duration"},
		{"bad by", []string{"build", "web@v1", "--by", "a\x07b"}, "contains a control character"},
		{"no number", []string{"dead", "replay", "one"}, `"one" is no number of a dead letter`},
		{"number zero", []string{"dead", "show", "0"}, `"0" is no number of a dead letter`},
		{"too many", []string{"history", "dev", "web", "x"}, "accepts between 1 and 2 arg(s), received 3"},
		{"bad count", []string{"history", "dev", "-n", "0"}, "-n is 0, expected at least 1"},
		{"missing configuration", []string{"status", "-f", "/nonexistent/tagship.yaml"}, "/nonexistent/tagship.yaml: no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := bare(t, c.args...)
			r.expect(t, 2, c.says)
			if lines := strings.Count(r.err, "\n"); lines != 1 {
				t.Errorf("%d lines of errors, expected one: %q", lines, r.err)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	r := bare(t)
	r.expect(t, 0, "Push a tag; it ships.", "Ask for something:", "release ", "Set up and operate:", "tagship exit-codes")
	bare(t, "help", "exit-codes").expect(t, 0, "  4    refused, or there is no such thing; nothing was touched\n")
	bare(t, "version").expect(t, 0, "tagship ")
	bare(t, "completion", "bash").expect(t, 0, "__start_tagship")
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it accepts, and never says a word
	for name, address := range map[string]string{"refused": "127.0.0.1:1", "silent": l.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r := bare(t, "status", "--nats", "nats://ann:secret@"+address)
			r.expect(t, 3, "tagship: NATS does not answer at nats://"+address+" (from --nats): start everything with 'tagship up'")
			if strings.Contains(r.err, "secret") {
				t.Errorf("the password is shown: %s", r.err)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("took %s, expected an answer within 3 s", took)
			}
		})
	}
}

func TestNoStreams(t *testing.T) {
	t.Parallel()
	server := eventstest.NewServer(t)
	bare(t, "release", "prod", "web@v1", "--nats", server.URL()).expect(t, 3, "has no streams of Tagship yet: start the services, or run 'tagship setup'")
}

// TestWhereNATSIs changes the working folder, so it does not run in parallel.
func TestWhereNATSIs(t *testing.T) {
	server := eventstest.NewServer(t)
	server.Bus("test")
	t.Chdir(t.TempDir())
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	run := func(pid int, url string) string { return fmt.Sprintf(`{"pid": %d, "nats": %q, "apps": {}}`, pid, url) }

	// The configuration in the working folder, whose other sections do not matter.
	write(t, "tagship.yaml", "nats: {url: "+server.URL()+"}\ntagwatch: {wrong: true}\n")
	bare(t, "status").expect(t, 0, "nothing has been seen yet")
	// A run file of a process that is gone does not count; that of one that runs does.
	write(t, ".tagship/run.json", run(gone.Process.Pid, "nats://127.0.0.1:1"))
	bare(t, "status").expect(t, 0)
	write(t, ".tagship/run.json", run(os.Getpid(), "nats://127.0.0.1:1"))
	bare(t, "status").expect(t, 3, fmt.Sprintf("nats://127.0.0.1:1 (of 'tagship up', process %d)", os.Getpid()))
	write(t, "other/run.json", run(os.Getpid(), server.URL()))
	bare(t, "status", "--data", "other").expect(t, 0)
	// The flag comes before everything.
	bare(t, "status", "--nats", server.URL()).expect(t, 0)
	write(t, ".tagship/run.json", "{")
	bare(t, "status").expect(t, 2, "run.json is not what 'tagship up' writes", "remove it, or name NATS with --nats")
	if err := os.Remove(".tagship/run.json"); err != nil {
		t.Fatal(err)
	}
	write(t, "tagship.yaml", "nats: {url: nats://127.0.0.1:1}\n")
	bare(t, "status").expect(t, 3, "(from tagship.yaml)")
	write(t, "tagship.yaml", "nats: {ulr: nats://127.0.0.1:1}\n")
	bare(t, "status").expect(t, 2, "tagship: tagship.yaml:1:8: nats.ulr: ", "url")
}
