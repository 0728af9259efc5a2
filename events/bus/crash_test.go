package bus

import "testing"

func TestCrashPoints(t *testing.T) {
	t.Parallel()
	for point, valid := range map[string]bool{
		"":                              true,
		"publish.before:tag.seen":       true,
		"publish.after:build.done:2":    true,
		"ack.before:releaser-dev":       true,
		"ack.after:builder:1":           true,
		"publish.before":                false,
		"publish.before:":               false,
		"publish.during:build.done":     false,
		"publish.after:build.done:zero": false,
		"publish.after:build.done:0":    false,
	} {
		c, err := newCrash(point)
		if (err == nil) != valid {
			t.Errorf("newCrash(%q): %v, expected valid: %t", point, err, valid)
		}
		if (c != nil) != (valid && point != "") {
			t.Errorf("newCrash(%q) is %v", point, c)
		}
	}
}

func TestCrashElsewhere(t *testing.T) {
	t.Parallel()
	c, err := newCrash("publish.after:build.done:2")
	if err != nil {
		t.Fatal(err)
	}
	c.at("publish.before", "build.done")
	c.at("publish.after", "build.started")
	c.at("publish.after", "build.done") // the first of two
	if left := c.left.Load(); left != 1 {
		t.Errorf("the point was passed once, but %d times are left of 2", left)
	}
}

func TestNoCrashCostsNothing(t *testing.T) {
	var c *crash
	if n := testing.AllocsPerRun(100, func() { c.at("publish.before", "build.done") }); n != 0 {
		t.Errorf("passing a point allocates %v times where no crash is asked for, expected none", n)
	}
}

func BenchmarkNoCrash(b *testing.B) {
	var c *crash
	for b.Loop() {
		c.at("publish.before", "build.done")
	}
}
