package events_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/tagship/tagship/events"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                "",
		"web":             "web",
		"_":               "_",
		"v1.2.3":          "v1=2E2=2E3",
		"team/web":        "team=2Fweb",
		"a=b":             "a=3Db",
		"*":               "=2A",
		">":               "=3E",
		"x y\n":           "x=20y=0A",
		"é":               "=C3=A9",
		"\xff":            "=FF",
		"A-Z_a-z_0-9":     "A-Z_a-z_0-9",
		"v1.0.0+build.-1": "v1=2E0=2E0=2Bbuild=2E-1",
	} {
		if got := events.Escape(text); got != want {
			t.Errorf("Escape(%q) = %q, want %q", text, got, want)
		}
		if got, err := events.Unescape(want); err != nil || got != text {
			t.Errorf("Unescape(%q) = %q, %v, want %q", want, got, err, text)
		}
	}
}

func TestUnescapeRefuses(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]string{
		"a.b":  `token "a.b": byte 1 is '.', expected a letter, digit, '_', '-' or =XX`,
		"a b":  `token "a b": byte 1 is ' ', expected a letter, digit, '_', '-' or =XX`,
		"=":    `token "=": byte 0 is '=', expected a letter, digit, '_', '-' or =XX`,
		"v=2":  `token "v=2": byte 1 is '=', expected a letter, digit, '_', '-' or =XX`,
		"=2e":  `token "=2e": "=2e" at byte 0 is not an escaped byte`,
		"a=GG": `token "a=GG": "=GG" at byte 1 is not an escaped byte`,
		"=41":  `token "=41": "=41" at byte 0 is not an escaped byte`, // A stands for itself
	} {
		got, err := events.Unescape(token)
		if err == nil || err.Error() != want {
			t.Errorf("Unescape(%q) = %q, error %v, want %s", token, got, err, want)
		}
	}
}

// Every byte, alone and in pairs, comes back.
func TestEscapeEveryByte(t *testing.T) {
	t.Parallel()
	token := regexp.MustCompile(`^[A-Za-z0-9_=-]+$`)
	seen := map[string]string{}
	for i := range 1 << 16 {
		text := strings.TrimPrefix(string([]byte{byte(i >> 8), byte(i)}), "\x00")
		escaped := events.Escape(text)
		if !token.MatchString(escaped) {
			t.Fatalf("Escape(%q) = %q is not one token", text, escaped)
		}
		if other, taken := seen[escaped]; taken {
			t.Fatalf("%q and %q are both escaped as %q", other, text, escaped)
		}
		seen[escaped] = text
		if back, err := events.Unescape(escaped); err != nil || back != text {
			t.Fatalf("Unescape(%q) = %q, %v, want %q", escaped, back, err, text)
		}
	}
}

// Of all short tokens over an alphabet that holds every interesting case,
// exactly those that Escape produces are accepted.
func TestUnescapeAcceptsExactlyWhatEscapeProduces(t *testing.T) {
	t.Parallel()
	const alphabet = "=02EFefz-_. "
	var try func(token string, left int)
	try = func(token string, left int) {
		text, err := events.Unescape(token)
		if err == nil && events.Escape(text) != token {
			t.Errorf("Unescape accepts %q, but Escape(%q) = %q", token, text, events.Escape(text))
		}
		if left == 0 {
			return
		}
		for _, c := range alphabet {
			try(token+string(c), left-1)
		}
	}
	try("", 4)
}
