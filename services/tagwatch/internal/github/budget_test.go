package github

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

func TestPause(t *testing.T) {
	budget := func(limit, remaining int, reset time.Duration) watch.Budget {
		return watch.Budget{Limit: limit, Remaining: remaining, Reset: noon.Add(reset)}
	}
	for name, test := range map[string]struct {
		interval time.Duration
		points   int
		budget   watch.Budget
		want     time.Duration
	}{
		"small, so the interval":             {30 * time.Second, 1, budget(5000, 4999, time.Hour), 30 * time.Second},
		"1,000 repositories":                 {30 * time.Second, 20, budget(5000, 4999, time.Hour), 57600 * time.Millisecond},
		"10,000 repositories":                {30 * time.Second, 200, budget(5000, 4999, time.Hour), 576 * time.Second},
		"10,000 repositories of a large App": {30 * time.Second, 200, budget(12500, 12000, time.Hour), 230400 * time.Millisecond},
		"an interval that is long enough":    {20 * time.Minute, 200, budget(5000, 4999, time.Hour), 20 * time.Minute},
		"others use the budget too":          {30 * time.Second, 200, budget(5000, 900, 30*time.Minute), 15 * time.Minute},
		"the reserve is left alone":          {30 * time.Second, 200, budget(5000, 650, 40*time.Minute), 40 * time.Minute},
		"nothing is left":                    {30 * time.Second, 200, budget(5000, 0, 12*time.Minute), 12 * time.Minute},
		"little is left, but not for long":   {30 * time.Second, 200, budget(5000, 0, time.Minute), 576 * time.Second},
		"the window has ended":               {30 * time.Second, 20, budget(5000, 0, -time.Minute), 57600 * time.Millisecond},
		"more than there is":                 {30 * time.Second, 1 << 50, budget(60, 60, time.Hour), time.Hour},
		"free":                               {30 * time.Second, 0, budget(5000, 0, time.Hour), 30 * time.Second},
		"no limits":                          {30 * time.Second, 200, watch.Budget{}, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if got := pause(test.interval, test.points, test.budget, noon); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestListsOfOwnersAreASharePerSweep has two owners of 10,000 repositories, beside
// sweeps over them.
func TestListsOfOwnersAreASharePerSweep(t *testing.T) {
	t.Parallel()
	var s sweeps
	token := purse{limiter: &limiter{}, kind: resourceGraphQL}
	s.add(map[purse]int{token: 200})
	s.add(map[purse]int{token: 1}) // a listing that somebody asked for
	s.addOwner("acme", map[purse]int{token: 500})
	s.addOwner("acme", map[purse]int{token: 199})
	s.addOwner("umbrella", map[purse]int{token: 1})
	if got := s.take()[token]; got != 200+34+1 {
		t.Errorf("a sweep and its share cost %d, want 235", got)
	}
	if got := s.take()[token]; got != 35 {
		t.Errorf("without a sweep it is %d, want 35", got)
	}
}

func TestAccountTakesAnswersInAnyOrder(t *testing.T) {
	at := func(remaining int, reset time.Duration) []string {
		return []string{"200 OK", "X-RateLimit-Limit: 5000", fmt.Sprintf("X-RateLimit-Remaining: %d", remaining), fmt.Sprintf("X-RateLimit-Reset: %d", noon.Add(reset).Unix())}
	}
	for name, test := range map[string]struct {
		answers       [][]string
		wantRemaining int
		wantReset     time.Duration
	}{
		"as they were made":            {[][]string{at(4999, time.Hour), at(4998, time.Hour)}, 4998, time.Hour},
		"an older one last":            {[][]string{at(4998, time.Hour), at(4999, time.Hour)}, 4998, time.Hour},
		"the next window":              {[][]string{at(12, time.Minute), at(4999, 59*time.Minute)}, 4999, 59 * time.Minute},
		"one of the window before":     {[][]string{at(4999, 59*time.Minute), at(12, time.Minute)}, 4999, 59 * time.Minute},
		"a window told a second apart": {[][]string{at(4990, time.Hour), at(4995, time.Hour+time.Second)}, 4990, time.Hour},
		"a window far ahead":           {[][]string{at(4990, time.Hour), at(1, 48*time.Hour)}, 4990, time.Hour},
		"of another resource":          {[][]string{at(4990, time.Hour), append(at(1, time.Hour), "X-RateLimit-Resource: search")}, 4990, time.Hour},
		"without any":                  {[][]string{at(4990, time.Hour), {"200 OK"}}, 4990, time.Hour},
		"with nonsense":                {[][]string{at(4990, time.Hour), {"200 OK", "X-RateLimit-Limit: x", "X-RateLimit-Remaining: 1", "X-RateLimit-Reset: " + in30}}, 4990, time.Hour},
		"by a clock an hour behind": {
			[][]string{append(at(4990, 0), "Date: "+noon.Add(-time.Hour).Format(http.TimeFormat))}, 4990, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			l := &limiter{credential: "token"}
			for _, lines := range test.answers {
				_, header := answered(t, lines...)
				l.accounts[resourceCore].update(resourceCore, header, noon)
			}
			want := watch.Budget{Credential: "token", Resource: "core", Limit: 5000, Remaining: test.wantRemaining, Reset: noon.Add(test.wantReset)}
			if got := l.budget(resourceCore, noon); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			full := watch.Budget{Credential: "token", Resource: "core", Limit: 5000, Remaining: 5000}
			if got := l.budget(resourceCore, noon.Add(2*time.Hour)); got != full {
				t.Errorf("after the reset: got %+v, want %+v", got, full)
			}
		})
	}
}
