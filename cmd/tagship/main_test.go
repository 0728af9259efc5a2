package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{nil, 0, []string{"Start:\n  demo ", "  up ", "  release "}},
		{[]string{"up", "--help"}, 0, []string{"--config", "--listen"}},
		{[]string{"upp"}, 2, []string{`tagship: unknown command "upp", did you mean up?; see 'tagship --help'`}},
	} {
		var out bytes.Buffer
		code := run(t.Context(), c.args, &out, &out)
		if code != c.code {
			t.Errorf("%q ends with %d, expected %d", c.args, code, c.code)
		}
		for _, part := range c.says {
			if !strings.Contains(out.String(), part) {
				t.Errorf("%q prints %s\nexpected %q in it", c.args, &out, part)
			}
		}
	}
}
