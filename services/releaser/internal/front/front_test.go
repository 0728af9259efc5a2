package front_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/tagship/tagship/services/releaser/internal/front"
)

func newFronts(t *testing.T, opts front.Options) *front.Fronts {
	t.Helper()
	opts.Env, opts.Listen, opts.Setting, opts.Log = "dev", "127.0.0.1", "ports", zaptest.NewLogger(t)
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	fronts, err := front.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fronts.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return fronts
}

func open(t *testing.T, fronts *front.Fronts, app string) *front.Front {
	t.Helper()
	f, err := fronts.Open(app)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// instance answers its name, and refuses connections once stopped.
func instance(name string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s%s", name, body)
	}))
}

func addr(server *httptest.Server) string { return strings.TrimPrefix(server.URL, "http://") }

// TestNoRequestFailsDuringSwitches puts load on a front whose instances are
// replaced, and stopped as soon as they are drained, twenty times.
func TestNoRequestFailsDuringSwitches(t *testing.T) {
	t.Parallel()
	fronts := newFronts(t, front.Options{})
	f := open(t, fronts, "web")
	serve := func(n int) (front.Backends, func()) {
		a, b := instance(fmt.Sprintf("v%d", n)), instance(fmt.Sprintf("v%d", n))
		return front.Backends{Addrs: []string{addr(a), addr(b)}, HTTP: true, Grace: time.Minute}, func() { a.Close(); b.Close() }
	}
	backends, stop := serve(0)
	if err := f.Switch(backends)(t.Context()); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var (
		load     sync.WaitGroup
		answered atomic.Int64
	)
	url := fronts.Address("web", true)
	for n := range 8 {
		load.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: n%2 == 1}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				method, body := http.MethodGet, ""
				if n%4 >= 2 {
					method, body = http.MethodPost, "!"
				}
				if err := ask(client, method, url, body); err != nil {
					t.Errorf("%s: %v", method, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for n := range 20 {
		before := answered.Load()
		waitUntil(t, func() (string, bool) {
			now := answered.Load()
			return fmt.Sprintf("%d requests answered since the last switch", now-before), now-before > 20
		})
		next, stopNext := serve(n + 1)
		if err := f.Switch(next)(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		stop = stopNext
	}
	cancel()
	load.Wait()
	stop()
	t.Logf("%d requests, none failed", answered.Load())
}

func ask(client *http.Client, method, url, body string) error {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !strings.HasSuffix(string(answer), body) {
		return fmt.Errorf("answered %d %q", resp.StatusCode, answer)
	}
	return nil
}

func waitUntil(t *testing.T, look func() (string, bool)) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		seen, ok := look()
		if ok {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited 30s; last seen: %s", seen)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestInFlightFinishesBeforeDrained(t *testing.T) {
	t.Parallel()
	fronts := newFronts(t, front.Options{})
	f := open(t, fronts, "web")
	entered, release := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		fmt.Fprint(w, "done")
	}))
	defer slow.Close()
	next := instance("next")
	defer next.Close()
	f.Switch(front.Backends{Addrs: []string{addr(slow)}, HTTP: true, Grace: time.Minute})
	answer := make(chan error, 1)
	go func() { answer <- ask(http.DefaultClient, http.MethodGet, fronts.Address("web", true), "") }()
	<-entered
	wait := f.Switch(front.Backends{Addrs: []string{addr(next)}, HTTP: true, Grace: time.Minute})
	drained := make(chan error, 1)
	go func() { drained <- wait(t.Context()) }()
	if err := ask(http.DefaultClient, http.MethodGet, fronts.Address("web", true), ""); err != nil {
		t.Errorf("a request after the switch: %v", err)
	}
	select {
	case err := <-drained:
		t.Errorf("drained while a request was in flight: %v", err)
	default:
	}
	close(release)
	if err := errors.Join(<-answer, <-drained); err != nil {
		t.Error(err)
	}
}

func TestGraceCutsOff(t *testing.T) {
	t.Parallel()
	for name, isHTTP := range map[string]bool{"request": true, "connection": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fronts := newFronts(t, front.Options{})
			f := open(t, fronts, "web")
			hung := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(hung)
				<-r.Context().Done()
			}))
			defer server.Close()
			f.Switch(front.Backends{Addrs: []string{addr(server)}, HTTP: isHTTP, Grace: 20 * time.Millisecond})
			answer := make(chan error, 1)
			go func() { answer <- ask(http.DefaultClient, http.MethodGet, fronts.Address("web", true), "") }()
			<-hung
			if err := f.Switch(front.Backends{HTTP: isHTTP})(t.Context()); err != nil {
				t.Error(err)
			}
			if err := <-answer; err == nil {
				t.Error("the request was answered, expected it to be cut off")
			}
		})
	}
}

func TestRefusingInstanceIsPassedOver(t *testing.T) {
	t.Parallel()
	fronts := newFronts(t, front.Options{})
	f := open(t, fronts, "web")
	gone, there := instance("gone"), instance("there")
	defer there.Close()
	addrs := []string{addr(gone), addr(there)}
	gone.Close()
	f.Switch(front.Backends{Addrs: addrs, HTTP: true, Grace: time.Second})
	for n := range 10 {
		if err := ask(http.DefaultClient, http.MethodPost, fronts.Address("web", true), "body"); err != nil {
			t.Errorf("request %d: %v", n, err)
		}
	}
	f.Switch(front.Backends{HTTP: true})
	if err := ask(http.DefaultClient, http.MethodGet, fronts.Address("web", true), ""); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("without instances: %v, expected 502", err)
	}
}

func TestPlainConnections(t *testing.T) {
	t.Parallel()
	fronts := newFronts(t, front.Options{})
	f := open(t, fronts, "db")
	echo := func(name string) net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					scanner := bufio.NewScanner(conn)
					for scanner.Scan() {
						fmt.Fprintf(conn, "%s %s\n", name, scanner.Text())
					}
					fmt.Fprintf(conn, "%s bye\n", name)
				}()
			}
		}()
		return listener
	}
	first, second := echo("first"), echo("second")
	f.Switch(front.Backends{Addrs: []string{first.Addr().String()}, Grace: time.Minute})
	dial := func() (*net.TCPConn, *bufio.Reader) {
		conn, err := net.Dial("tcp", fronts.Address("db", false))
		if err != nil {
			t.Fatal(err)
		}
		return conn.(*net.TCPConn), bufio.NewReader(conn)
	}
	say := func(conn net.Conn, lines *bufio.Reader, text, want string) {
		t.Helper()
		fmt.Fprintln(conn, text)
		if got, err := lines.ReadString('\n'); err != nil || got != want+"\n" {
			t.Errorf("answered %q, %v, expected %q", got, err, want)
		}
	}
	old, oldLines := dial()
	say(old, oldLines, "hello", "first hello")
	wait := f.Switch(front.Backends{Addrs: []string{second.Addr().String()}, Grace: time.Minute})
	say(old, oldLines, "still", "first still")
	fresh, freshLines := dial()
	say(fresh, freshLines, "hello", "second hello")
	fresh.Close()
	if err := old.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := oldLines.ReadString('\n'); err != nil || got != "first bye\n" {
		t.Errorf("after the client's end: %q, %v", got, err)
	}
	if err := wait(t.Context()); err != nil {
		t.Error(err)
	}
	old.Close()
}

func TestUpgradedConnection(t *testing.T) {
	t.Parallel()
	fronts := newFronts(t, front.Options{})
	f := open(t, fronts, "chat")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, rw) // until the client is gone
	}))
	defer server.Close()
	f.Switch(front.Backends{Addrs: []string{addr(server)}, HTTP: true, Grace: time.Second})
	conn, err := net.Dial("tcp", fronts.Address("chat", false))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	lines := bufio.NewReader(conn)
	resp, err := http.ReadResponse(lines, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v, expected 101", resp, err)
	}
	fmt.Fprintln(conn, "hello")
	if got, err := lines.ReadString('\n'); err != nil || got != "hello\n" {
		t.Errorf("echoed %q, %v", got, err)
	}
}

func TestPortIsTheSameAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := newFronts(t, front.Options{Dir: dir})
	port, other := open(t, first, "web").Port(), open(t, first, "team/web").Port()
	if port == other {
		t.Errorf("both apps got port %d", port)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if again := open(t, newFronts(t, front.Options{Dir: dir}), "web").Port(); again != port {
		t.Errorf("port %d after a restart, expected %d again", again, port)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	_, err = newFronts(t, front.Options{Ports: map[string]int{"web": port}}).Open("web")
	var problem *front.TakenError
	if !errors.As(err, &problem) {
		t.Fatalf("got %v, expected a TakenError", err)
	}
	want := fmt.Sprintf("web in dev cannot answer on 127.0.0.1:%d: address already in use; stop what uses the port, or set another at ports.web", port)
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestBrokenPortsFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ports.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := front.New(front.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "delete the file") {
		t.Errorf("got %v, expected what to do", err)
	}
}
