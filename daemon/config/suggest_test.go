package config

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"interval", "webhook_secret", "url", "apps", "toolchain"}
	for word, want := range map[string]string{
		"intervall": "interval", "inteval": "interval", "itnerval": "interval", "INTERVAL": "interval",
		"webhookSecret": "webhook_secret", "webhook-secret": "webhook_secret", "ulr": "url", "app": "apps",
		"tool": "", "x": "", "": "", "completely": "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
}

func TestScrub(t *testing.T) {
	t.Parallel()
	x := &expander{}
	x.hide("p@ss word", "${PASSWORD}")
	x.hide("p@ss word and more", "${LONG}")
	x.hide("8", "${PORT}")
	x.hide("", "${EMPTY}")
	x.hide(`a"quote`, "${QUOTE}")
	for message, want := range map[string]string{
		"p@ss word is bad":          "${PASSWORD} is bad",
		"p@ss word and more is bad": "${LONG} is bad",
		"p%40ss+word p@ss%20word":   "${PASSWORD} ${PASSWORD}",
		"port 8 of 8080 is 8":       "port ${PORT} of 8080 is ${PORT}",
		`got "a\"quote"`:            `got "${QUOTE}"`,
	} {
		if got := x.scrub(message); got != want {
			t.Errorf("scrub(%q) = %q, want %q", message, got, want)
		}
	}
}
