package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// maxComplaint is how much of what git writes to standard error is kept, from its end.
const maxComplaint = 16 << 10

// patience is how long a git that was told to end may take to clean up.
const patience = 5 * time.Second

// inherited are the variables that git is given from this process: where to find
// programs, how to reach the network, and the keys of ssh.
func inherited() []string {
	return []string{
		"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK",
		"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "CURL_CA_BUNDLE",
	}
}

// environment is what every git of the repository runs with.
func (r *repository) environment() []string {
	env := []string{
		"GIT_CONFIG_NOSYSTEM=1",
		// git passes this on to the programs it starts, which -c is not.
		"GIT_CONFIG_GLOBAL=" + r.configFile(),
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ALLOW_PROTOCOL=file:http:https:ssh:git",
		"GIT_PROTOCOL_FROM_USER=0",
		"GIT_OPTIONAL_LOCKS=0",
		"LC_ALL=C",
		variableUser + "=" + r.address.user,
		variablePassword + "=" + r.address.password,
	}
	for _, name := range inherited() {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// run runs git and hands its output to sink as it comes. It returns when both
// have ended. An error says in git's own words what went wrong.
func (r *repository) run(ctx context.Context, limit time.Duration, sink func(io.Reader) error, args ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("git %s took longer than %s", verb(args), limit))
	defer cancel()
	reader, writer := io.Pipe()
	cmd := exec.CommandContext(ctx, r.settings.Program, args...)
	cmd.Dir = r.folder
	cmd.Env = r.environment()
	cmd.Stdout = writer
	complaint := &tail{most: maxComplaint}
	cmd.Stderr = complaint
	// Asked to end, git ends its transports and removes its temporary files.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = patience

	sunk := make(chan error, 1)
	go func() {
		err := sink(reader)
		_ = reader.Close() // never fails; a sink that gave up must not keep git waiting
		sunk <- err
	}()
	err := cmd.Run()
	writer.CloseWithError(err) // so that the sink never takes a failure for the end
	sinkErr := <-sunk
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case sinkErr != nil && !errors.Is(sinkErr, err):
		return sinkErr
	case err != nil:
		return r.explain(err, complaint.String())
	}
	return nil
}

// verb is the command of git among its arguments.
func verb(args []string) string {
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			return arg
		}
	}
	return ""
}

// quiet runs git for its effect alone.
func (r *repository) quiet(ctx context.Context, limit time.Duration, args ...string) error {
	return r.run(ctx, limit, func(output io.Reader) error {
		_, err := io.Copy(io.Discard, output)
		return err
	}, args...)
}

// Error is a failure of git, in its own words.
type Error struct {
	Complaint string // the last line that git wrote, without credentials
	Advice    string // what to do; empty where the complaint says it all
	Err       error
}

func (e *Error) Error() string {
	text := "git: " + e.Complaint
	if e.Complaint == "" {
		text = "git: " + e.Err.Error()
	}
	if e.Advice != "" {
		text += " (" + e.Advice + ")"
	}
	return text
}

// Unwrap returns how git ended.
func (e *Error) Unwrap() error { return e.Err }

func (r *repository) explain(err error, complaint string) error {
	line := lastLine(complaint)
	return &Error{Complaint: r.address.redact(line), Advice: advise(complaint), Err: err}
}

// lastLine picks what git says last, and rather what it calls fatal than the
// general remarks that some servers' refusals end in.
func lastLine(complaint string) string {
	last := ""
	for line := range strings.Lines(complaint) {
		line = strings.TrimSpace(line)
		if last != "" && line == "fatal: Could not read from remote repository." {
			break // what it said before is why
		}
		if strings.HasPrefix(line, "fatal: ") || strings.HasPrefix(line, "error: ") || line != "" && !strings.HasPrefix(last, "fatal: ") && !strings.HasPrefix(last, "error: ") {
			last = line
		}
	}
	const most = 500
	if len(last) > most {
		last = strings.ToValidUTF8(last[:most], "") + "…"
	}
	return strings.ToValidUTF8(last, "\uFFFD")
}

// advise turns git's complaint into what a person can do. It is only ever shown,
// nothing is decided on it.
func advise(complaint string) string {
	for _, known := range []struct{ sign, advice string }{
		{"could not read Username", "the server wants credentials: set git_user and git_password of the app"},
		{"could not read Password", "the server wants credentials: set git_user and git_password of the app"},
		{"Authentication failed", "check git_user and git_password of the app"},
		{"The requested URL returned error: 403", "the credentials do not allow reading the repository"},
		{"Permission denied (publickey", "give the key of git.ssh_key read access to the repository"},
		{"Host key verification failed", "add the host's key to the file of git.known_hosts"},
		{"Could not resolve host", "check the host in repo and this machine's name service"},
		{"SSL certificate problem", "add the server's authority to this machine's certificates"},
		{"does not appear to be a git repository", "check repo, and that this user may read it"},
		{"not found", "check repo, and that the credentials may read it"},
		{"No space left on device", "make room in the data folder"},
	} {
		if strings.Contains(complaint, known.sign) {
			return known.advice
		}
	}
	return ""
}

// tail keeps the end of what is written to it.
type tail struct {
	most int
	kept bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept.Write(p)
	if over := t.kept.Len() - t.most; over > 0 {
		t.kept.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.kept.String() }
