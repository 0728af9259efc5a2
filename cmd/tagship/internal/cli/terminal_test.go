package cli

import (
	"bytes"
	"math"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	t.Parallel()
	var table table
	table.head("app", "wide column", "last")
	table.row(cell{"größer", bold}, cell{}, cell{"x", red})
	table.row(cell{"a", plain}, cell{"→", plain})
	for _, c := range []struct {
		colour painter
		want   string
	}{
		{false, "  app     wide column  last\n  größer               x\n  a       →\n"},
		{true, "  \x1b[2mapp\x1b[0m     \x1b[2mwide column\x1b[0m  \x1b[2mlast\x1b[0m\n  \x1b[1mgrößer\x1b[0m               \x1b[31mx\x1b[0m\n  a       →\n"},
	} {
		var b bytes.Buffer
		table.write(&b, c.colour, "  ")
		if b.String() != c.want {
			t.Errorf("colour %t: got %q, expected %q", c.colour, b.String(), c.want)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		before      time.Duration
		ago, lasted string
	}{
		{-time.Hour, "just now", "0s"}, // the clocks of two machines differ
		{400 * time.Millisecond, "just now", "0.4s"},
		{59 * time.Second, "59s ago", "59s"},
		{61 * time.Second, "1m ago", "1m01s"},
		{25 * time.Hour, "25h ago", "25h00m"},
		{49 * time.Hour, "2d ago", "2d"},
		{100 * 24 * time.Hour, "on 2025-12-04", "100d"},
	} {
		if got := ago(now, now.Add(-c.before)); got != c.ago {
			t.Errorf("ago(%s) is %q, expected %q", c.before, got, c.ago)
		}
		if got := lasted(c.before); got != c.lasted {
			t.Errorf("lasted(%s) is %q, expected %q", c.before, got, c.lasted)
		}
	}
	if got := ago(now, time.Time{}); got != "" {
		t.Errorf("ago of no time is %q, expected nothing", got)
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"short":                 "short",
		"two\n  lines":          "two lines",
		"ein längerer Text":     "ein länge…",
		"exactly 10":            "exactly 10",
		"\x1b[31m\x00":          "�[31m�",
		"one two three four fi": "one two t…",
	} {
		if got := clip(given, 10); got != want {
			t.Errorf("clip(%q) is %q, expected %q", given, got, want)
		}
	}
}

func TestWithoutUser(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"nats://127.0.0.1:4222":         "nats://127.0.0.1:4222",
		"nats://ann:secret@a,tls://t@b": "nats://a,tls://b",
		"ann:s%zz@a:4222":               "a:4222",
	} {
		if got := withoutUser(given); got != want {
			t.Errorf("withoutUser(%q) is %q, expected %q", given, got, want)
		}
	}
}

func TestPromotionOrder(t *testing.T) {
	t.Parallel()
	from := map[string]string{"dev": "build", "demo": "dev", "prod": "", "left": "right", "right": "left"}
	for env, want := range map[string]int{"dev": 0, "demo": 1, "prod": math.MaxInt, "left": math.MaxInt, "unknown": math.MaxInt} {
		if got := promotionOrder(from, env); got != want {
			t.Errorf("%s is %d, expected %d", env, got, want)
		}
	}
}

func TestLiveLine(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	line := liveLine{console: Console{Out: &b}, on: true}
	line.clear()
	line.show("1s")
	line.show("2s")
	line.clear()
	line.clear()
	if want := "\r\x1b[K  … 1s\r\x1b[K  … 2s\r\x1b[K"; b.String() != want {
		t.Errorf("wrote %q, expected %q", b.String(), want)
	}
}
