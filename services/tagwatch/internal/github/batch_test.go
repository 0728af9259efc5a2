package github

import (
	"slices"
	"testing"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

func someLookups(n, failing int) (lookups []*lookup) {
	for i := range n {
		lookups = append(lookups, &lookup{i: i, ask: watch.Ask{Failing: i >= n-failing}})
	}
	return lookups
}

func TestBatchesDoNotMixThoseThatFailedWithOthers(t *testing.T) {
	t.Parallel()
	q := newQueue(&pace{}, someLookups(200, 15))
	var sizes []int
	for batch := q.take(); batch != nil; batch = q.take() {
		sizes = append(sizes, len(batch))
		q.answered(batch, nil, quick)
	}
	if want := []int{50, 50, 50, 35, 15}; !slices.Equal(sizes, want) {
		t.Errorf("batches of %v, want %v", sizes, want)
	}
}

// One repository that GitHub does not manage is found by halving: the others are answered.
func TestOneThatIsTooMuchIsFoundByHalving(t *testing.T) {
	t.Parallel()
	var p pace
	q := newQueue(&p, someLookups(200, 0))
	var answered, queries int
	var givenUp []*lookup
	for batch := q.take(); batch != nil; batch = q.take() {
		queries++
		if slices.ContainsFunc(batch, func(l *lookup) bool { return l.i == 57 }) {
			givenUp = append(givenUp, q.failed(batch)...)
			continue
		}
		answered += len(batch)
		q.answered(batch, nil, quick)
	}
	if answered != 199 || len(givenUp) != 1 || givenUp[0].i != 57 {
		t.Errorf("%d are answered and %d given up, want 199 and 1", answered, len(givenUp))
	}
	if queries > 30 || p.size() < batchUsual/2 {
		t.Errorf("it took %d queries, and %d are asked for at once from now on", queries, p.size())
	}
}

// The one that failed in the last sweep does so in this one, and the others are not slower for it.
func TestThoseThatFailAgainDoNotSlowDownOthers(t *testing.T) {
	t.Parallel()
	var p pace
	q := newQueue(&p, someLookups(10, 3))
	for batch := q.take(); batch != nil; batch = q.take() {
		if batch[0].ask.Failing {
			q.failed(batch)
		} else {
			q.answered(batch, nil, quick)
		}
	}
	if p.size() != batchUsual {
		t.Errorf("%d are asked for at once from now on", p.size())
	}
}

// Whatever GitHub manages is found out, and everything is answered in the end.
func TestBatchesAreWhatGitHubManages(t *testing.T) {
	t.Parallel()
	for manages := 1; manages <= batchUsual; manages++ {
		var p pace
		var answered, failed int
		q := newQueue(&p, someLookups(1000, 0))
		for batch := q.take(); batch != nil; batch = q.take() {
			if len(batch) > manages {
				failed++
				if up := q.failed(batch); up != nil {
					t.Fatalf("%d are given up where GitHub manages %d", len(up), manages)
				}
				continue
			}
			answered += len(batch)
			q.answered(batch, nil, quick)
		}
		if answered != 1000 || failed > 1000/manages/2+10 {
			t.Errorf("where GitHub manages %d, %d are answered, and %d queries fail", manages, answered, failed)
		}
	}
}

func TestNothingIsAskedEndlesslyOfAGitHubThatIsDown(t *testing.T) {
	t.Parallel()
	q := newQueue(&pace{}, someLookups(10_000, 0))
	var queries int
	seen := map[*lookup]bool{}
	for batch := q.take(); batch != nil; batch = q.take() {
		queries++
		for _, l := range q.failed(batch) {
			if seen[l] {
				t.Fatalf("%d is given up twice", l.i)
			}
			seen[l] = true
		}
	}
	if len(seen) != 10_000 || queries > failuresMost {
		t.Errorf("%d are given up after %d queries, want all after %d", len(seen), queries, failuresMost)
	}
}

func TestPaceShrinksAtOnceAndGrowsSlowly(t *testing.T) {
	t.Parallel()
	var p pace
	p.answered(batchUsual, quick)
	if p.size() != batchUsual {
		t.Fatalf("begins with %d", p.size())
	}
	for _, want := range []int{25, 12, 6, 3, 1, 1} {
		if p.failed(p.size()); p.size() != want {
			t.Fatalf("%d after a failure, want %d", p.size(), want)
		}
	}
	p.failed(batchUsual) // one that was under way all the time
	if p.size() != 1 {
		t.Errorf("an older failure made it %d", p.size())
	}
	grown := 0
	for p.size() < batchUsual {
		p.answered(p.size(), quick)
		grown++
	}
	if grown < 100 {
		t.Errorf("it is back after %d queries", grown)
	}
	p.failed(batchUsual)
	p.answered(3, 0) // a rest says nothing about large ones
	if p.size() != batchUsual/2 {
		t.Errorf("a small query made it %d", p.size())
	}
}

// Where answers are quick, more are asked for in one query; not where they are
// slow, and no more once one failed.
func TestPaceGoesByHowQuickAnswersAre(t *testing.T) {
	t.Parallel()
	var p pace
	for range 100 {
		p.answered(p.size(), quick)
	}
	if p.size() != batchUsual {
		t.Errorf("%d are asked for where answers are slow", p.size())
	}
	queries := 0
	for p.size() < batchMost && queries < 1000 {
		p.answered(p.size(), quick-1)
		queries++
	}
	if queries > 100 {
		t.Errorf("it took %d queries to ask for %d", queries, p.size())
	}
	p.answered(p.size(), 0)
	if p.size() != batchMost {
		t.Errorf("%d are asked for, which costs more than a point", p.size())
	}
	if p.failed(p.size()); p.size() != batchUsual {
		t.Errorf("%d are asked for after a failure", p.size())
	}
}
