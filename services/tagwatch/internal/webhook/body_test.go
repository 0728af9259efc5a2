package webhook

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tagship/tagship/events/eventstest"
)

// TestLargestBody is a delivery as large as GitHub sends them, in a form.
func TestLargestBody(t *testing.T) {
	t.Parallel()
	d := &desk{}
	g := d.gitHub()
	body := "padding=" + strings.Repeat("x", 25<<20) + "&payload=" + url.QueryEscape(pushOf("refs/tags/v1", `"created":true`))
	r := newDelivery(t, "push", body, "Content-Type", "application/x-www-form-urlencoded")
	r.ContentLength = -1
	if answer := answerOf(g, r); answer.Code != http.StatusAccepted || len(d.hooks) != 1 {
		t.Errorf("answered %d: %s, stored %v", answer.Code, answer.Body, d.hooks)
	}
	if small, large := g.rooms.small.taken.Load(), g.rooms.large.taken.Load(); small != 0 || large != 0 {
		t.Errorf("%d and %d bytes are not given back", small, large)
	}
}

// TestManyLargeBodies has 100 callers that each announce 25 MiB, send 2, and
// hang. They must not take the memory, nor keep an honest delivery out.
func TestManyLargeBodies(t *testing.T) { // not parallel: it measures the memory of the process
	const callers, each = 100, 2 << 20
	d := &desk{}
	g := d.gitHub()
	g.patience = eventstest.Patience
	server := httptest.NewServer(g)
	defer server.Close()
	before := heap()

	part := bytes.Repeat([]byte{' '}, each)
	var connections []net.Conn
	var sending sync.WaitGroup
	for range callers {
		conn := call(t, server, 25<<20)
		connections = append(connections, conn)
		sending.Go(func() { _, _ = conn.Write(part) }) // it fails for those that are refused
	}
	sending.Wait()
	eventstest.Eventually(t, func() error {
		if d.counted("push "+Busy) < callers/2 {
			return fmt.Errorf("%d of %d callers are told to come later", d.counted("push "+Busy), callers)
		}
		return nil
	})
	if taken := g.rooms.large.taken.Load(); taken == 0 || taken > largeRoom {
		t.Errorf("%d bytes are taken, expected some and at most %d", taken, largeRoom)
	}
	if grown, most := heap()-before, int64(largeRoom+smallRoom+32<<20); grown > most {
		t.Errorf("the process grew by %d MiB, expected at most %d", grown>>20, most>>20)
	}
	if answer := answerOf(g, newDelivery(t, "push", pushOf("refs/tags/v1", `"created":true`))); answer.Code != http.StatusAccepted {
		t.Errorf("answered %d: %s, expected room for a small one", answer.Code, answer.Body)
	}
	for _, conn := range connections {
		_ = conn.Close()
	}
	eventstest.Eventually(t, func() error {
		if small, large := g.rooms.small.taken.Load(), g.rooms.large.taken.Load(); small != 0 || large != 0 {
			return fmt.Errorf("%d and %d bytes are not given back", small, large)
		}
		return nil
	})
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// TestSlowBody shows that who is slow is told so after a while, by both handlers.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	d := &desk{}
	g, l := d.gitHub(), d.look(nil)
	g.patience, l.patience = 50*time.Millisecond, 50*time.Millisecond
	for _, handler := range []http.Handler{g, l} {
		server := httptest.NewServer(handler)
		defer server.Close()
		conn := call(t, server, 100)
		if _, err := io.WriteString(conn, `{"ref":`); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%T answered %d, expected 408", handler, answer.StatusCode)
		}
	}
	if d.counted("push "+Incomplete) != 1 || d.counted("look "+Incomplete) != 1 {
		t.Errorf("counted %q", d.counts)
	}
}

// call begins a delivery that announces a body of some length.
func call(t *testing.T, server *httptest.Server, length int) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"X-GitHub-Event: push\r\nX-Hub-Signature-256: %s\r\n\r\n", length, sign("guess", ""))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
