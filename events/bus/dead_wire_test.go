package bus

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/tagship/tagship/events"
)

var update = flag.Bool("update", false, "write golden files")

// TestDeadLetterWire pins what a dead letter looks like, and reads it back.
func TestDeadLetterWire(t *testing.T) {
	t.Parallel()
	letter := DeadLetter{
		Service: "builder", Consumer: "builder", App: "team/web", Subject: "tag.seen.team=2Fweb.v1=2E2=2E3",
		Origin: events.Cause{Stream: events.StreamTags, Seq: 7}, Stored: time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC),
		Attempts: 12, Reason: "push image: no space left on device",
		Header: nats.Header{
			HeaderID:      {"tag.seen.team=2Fweb.v1=2E2=2E3"},
			"traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
			"Ticket":      {"42", "43"},
		},
		Payload: []byte("{\"id\": \"tag.seen\"\n}"),
	}
	sent := letter
	sent.Header = maps.Clone(letter.Header)
	// What concerned the message's own place is left behind.
	sent.Header["Nats-Msg-Id"] = []string{"x"}
	sent.Header["Nats-Expected-Last-Subject-Sequence"] = []string{"0"}
	sent.Header[HeaderOnly] = []string{"builder"}
	sent.Header[HeaderReplay] = []string{"1"}
	sent.Header[headerDeadReason] = []string{"an earlier one"}
	msg := sent.message()

	golden := filepath.Join("testdata", "dead.golden")
	wire := printMessage(msg)
	if *update {
		if err := os.WriteFile(golden, wire, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(wire)); diff != "" {
		t.Errorf("dead letter on the wire (-want +got); -update writes it anew:\n%s", diff)
	}

	letter.Seq, letter.At = 3, letter.Stored.Add(time.Hour)
	got, err := parseDead(&rawMessage{Subject: msg.Subject, Seq: 3, Time: letter.At, Header: msg.Header, Data: msg.Data})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(letter, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func printMessage(msg *nats.Msg) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", msg.Subject)
	for _, name := range slices.Sorted(maps.Keys(msg.Header)) {
		for _, value := range msg.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", msg.Data)
	return b.Bytes()
}

// FuzzParseDead wants whatever stands in DEAD to be refused or read as what can
// be written and read again.
func FuzzParseDead(f *testing.F) {
	f.Add("dead.builder.web", "tag.seen.web.v1", "builder", "TAGS", "7", "2026-03-14T15:09:26.535897932Z", "12", "no space", "id", []byte("{}"))
	f.Add("dead.builder", "", "", "", "-1", "yesterday", "many", "", "", []byte(nil))
	f.Add("dead.=2.=", "x", "y", "", "1", "2026-03-14T15:09:26+25:00", "1", "\n", "", []byte("\x00"))
	f.Fuzz(func(t *testing.T, subject, from, consumer, stream, seq, stored, attempts, reason, id string, data []byte) {
		raw := &rawMessage{Subject: subject, Seq: 1, Data: data, Header: nats.Header{
			headerDeadSubject: {from}, headerDeadConsumer: {consumer}, headerDeadStream: {stream}, headerDeadSeq: {seq},
			headerDeadStored: {stored}, headerDeadAttempts: {attempts}, headerDeadReason: {reason}, headerDeadPrefix + "Id": {id},
		}}
		letter, err := parseDead(raw)
		if err != nil {
			return
		}
		msg := letter.message()
		again, err := parseDead(&rawMessage{Subject: msg.Subject, Seq: 1, Data: msg.Data, Header: msg.Header})
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if !again.Stored.Equal(letter.Stored) {
			t.Errorf("stored at %s, then at %s", letter.Stored, again.Stored)
		}
		again.Stored = letter.Stored
		if diff := cmp.Diff(letter, again); diff != "" {
			t.Errorf("what was read differs when read again:\n%s", diff)
		}
	})
}
