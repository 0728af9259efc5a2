package build

import (
	"errors"
	"strings"
	"testing"
)

// sink keeps what is written to it, or fails.
type sink struct {
	strings.Builder
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	return s.Builder.Write(p)
}

func (s *sink) Close() error { return nil }

func TestOutputStrikesSecretsOut(t *testing.T) {
	t.Parallel()
	secret, key := "s3cret-value", "-----BEGIN KEY-----\nMIIBVgIBADANBg\n-----END KEY-----\n"
	text := "a s3cret-value, short one\nMIIBVgIBADANBg\n" + strings.Repeat("x", 3*maxLine) + secret + strings.Repeat("y", 3*maxLine) + secret
	for _, step := range []int{1, 7, 4096, len(text)} {
		var s sink
		o := newOutput(&s, []string{secret, key, "short"})
		for rest := text; rest != ""; {
			n := min(step, len(rest))
			if _, err := o.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if strings.Contains(o.Tail(), secret) || !strings.HasSuffix(o.Tail(), "***") {
			t.Errorf("in steps of %d the tail ends in %q", step, o.Tail()[len(o.Tail())-20:])
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		want := strings.NewReplacer(secret, "***", "MIIBVgIBADANBg", "***").Replace(text)
		if s.String() != want {
			t.Errorf("in steps of %d the output has %d bytes, expected %d without secrets", step, s.Len(), len(want))
		}
	}
}

func TestOutputIsLive(t *testing.T) {
	t.Parallel()
	var s sink
	o := newOutput(&s, nil)
	if _, err := o.Write([]byte("one\ntw")); err != nil || s.String() != "one\n" {
		t.Errorf("after a line and a half the sink has %q, error %v", s.String(), err)
	}
}

func TestOutputTail(t *testing.T) {
	t.Parallel()
	o := newOutput(&sink{}, nil)
	if o.Tail() != "" {
		t.Errorf("no output has the tail %q", o.Tail())
	}
	for range 100 {
		if _, err := o.Write([]byte("line\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(o.Tail(), "\n"); len(lines) != tailLines+1 || lines[tailLines] != "last" {
		t.Errorf("the tail has %d lines: %q", len(lines), lines)
	}
}

func TestOutputSurvivesItsSink(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	o := newOutput(&sink{err: broken}, nil)
	if n, err := o.Write([]byte("line\n")); n != 5 || err != nil {
		t.Errorf("write returned %d, %v", n, err)
	}
	if err := o.Close(); !errors.Is(err, broken) {
		t.Errorf("close returned %v, expected the sink's error", err)
	}
}
