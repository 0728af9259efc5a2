package cli

import (
	"fmt"
	"time"

	"github.com/tagship/tagship/services/tagwatch"
)

// hosts prints where repositories are: a row for the last sweep, one for each
// budget that the host has told of, and one for each group.
func (w statusWriter) hosts(s *Status) {
	if len(s.Hosts) == 0 {
		return
	}
	var t table
	for _, h := range s.Hosts {
		painted := plain
		if h.Failing > 0 {
			painted = red
		}
		t.row(cell{h.Host, bold}, cell{w.swept(h), painted}, cell{w.until("next", h.Next), faint})
		if h.Error != "" {
			t.row(cell{}, cell{clip(h.Error, 200), red})
		}
		for _, b := range h.Budgets {
			switch {
			case w.now.Before(b.Blocked):
				t.row(cell{}, cell{b.Credential + ", " + b.Resource + ": " + clip(b.Reason, 200), red}, cell{w.until("asked again", b.Blocked), plain})
			case b.Limit > 0:
				t.row(cell{}, cell{fmt.Sprintf("%s, %s: %d of %d points left", b.Credential, b.Resource, b.Remaining, b.Limit), plain}, cell{w.until("full again", b.Reset), faint})
			}
		}
	}
	for _, g := range s.Groups {
		t.row(cell{g.Group, bold}, cell{repositories(g.Repositories) + " of " + g.Repo, plain})
	}
	w.section("Repositories at", t)
}

func (w statusWriter) swept(h tagwatch.HostStatus) string {
	s := h.Sweep
	if s.At.IsZero() {
		return "not swept yet"
	}
	text := fmt.Sprintf("%s swept %s in %s", repositories(s.Repositories), ago(w.now, s.At), lasted(time.Duration(s.Took)))
	if s.Points > 0 {
		text += fmt.Sprintf(" for %s", count(s.Points, "point"))
	}
	if h.Failing > 0 {
		text += fmt.Sprintf(", %d not readable", h.Failing)
	}
	return text
}

func repositories(n int) string {
	if n == 1 {
		return "1 repository"
	}
	return fmt.Sprintf("%d repositories", n)
}

// until says in how long something happens; nothing if it should have by now.
func (w statusWriter) until(what string, at time.Time) string {
	left := at.Sub(w.now)
	if left <= 0 {
		return ""
	}
	return what + " in " + lasted(left.Truncate(time.Second))
}
