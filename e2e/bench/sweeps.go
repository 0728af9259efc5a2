package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tagship/tagship/e2e/github"
)

const (
	fleetSize    = 10_000 // repositories
	fewer        = 1_000  // of them, for what takes long
	quietSweeps  = 3
	quietPause   = 10 * time.Second // between two sweeps; one takes less, the first about as long
	firstPause   = 10 * time.Minute // before the second sweep, so that it is none of the first
	answerTime   = 20 * time.Millisecond
	pointsGoal   = 1300 // an hour
	requestsGoal = 100  // times fewer than by the plain loop
	watchingGoal = 150  // MiB
)

// measureSweeps takes what it costs tagwatch to know the tags of many
// repositories, beside a plain loop over the same simulated GitHub: the first
// sweep, those in which nothing is new, which is nearly all of them, and those
// after a restart; by GraphQL, by REST, and by git.
func measureSweeps(ctx context.Context, b *bench) (err error) {
	bin, err := b.folder("bin")
	if err != nil {
		return err
	}
	fmt.Fprintln(b.log, "  building tagwatch, and making a GitHub")
	if err := buildPrograms(ctx, bin, "services/tagwatch/cmd/tagwatch"); err != nil {
		return err
	}
	f, err := newFleet(fleetSize, github.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.sim.Close()) }()
	loops, err := measurePlain(ctx, b, f)
	if err != nil {
		return err
	}
	if err := sweepGraphQL(ctx, b, bin, f, loops); err != nil {
		return err
	}
	if err := sweepREST(ctx, b, bin, f, loops); err != nil {
		return err
	}
	if err := sweepGit(ctx, b, bin, f, loops); err != nil {
		return err
	}
	b.report.note("Repositories: 1 to 30 tags, one in %d has 200 to 600, every second tag is annotated. The GitHub is simulated by the process that measures, on the same cores; where answers take %s, that is beside what they take to make.",
		largeEvery, answerTime)
	b.report.note("The plain loop is Repositories.ListTags of go-github with 100 tags a page, one request after another. It has no notion of what GitHub allows in a minute.")
	return nil
}

// plainCosts is what the plain loop costs.
type plainCosts struct {
	all         cost // every repository
	few, slowly cost // fewer repositories; slowly is with answers that take their time
}

func measurePlain(ctx context.Context, b *bench, f *fleet) (costs plainCosts, err error) {
	fmt.Fprintln(b.log, "  the plain loop")
	if costs.all, err = plainLoop(ctx, f, f.names); err != nil {
		return costs, err
	}
	if costs.few, err = plainLoop(ctx, f, f.names[:fewer]); err != nil {
		return costs, err
	}
	f.sim.Latency(answerTime)
	defer f.sim.Latency(0)
	costs.slowly, err = plainLoop(ctx, f, f.names[:fewer])
	b.report.add(
		row{what: fmt.Sprintf("plain loop over %d repositories", fleetSize), measured: costs.all.String()},
		row{what: fmt.Sprintf("plain loop over %d repositories, answers take %s", fewer, answerTime), measured: costs.slowly.String()},
	)
	return costs, err
}

// sweepGraphQL sweeps by GraphQL, and takes the memory and the start besides.
func sweepGraphQL(ctx context.Context, b *bench, bin string, f *fleet, loops plainCosts) (err error) {
	fmt.Fprintln(b.log, "  sweeps by GraphQL")
	w, err := newWatching(ctx, b, bin, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := w.configure(fleetSize, quietPause, w.byToken("graphql")); err != nil {
		return err
	}
	first, asking, err := w.first(ctx)
	if err != nil {
		return err
	}
	b.report.add(beside(row{
		what:     fmt.Sprintf("first sweep over %d repositories, GraphQL", fleetSize),
		measured: first.String(), beside: seconds(asking) + " of it asking",
	}, first, loops.all))
	quiet, err := w.quiet(ctx, quietSweeps)
	if err != nil {
		return err
	}
	r := beside(row{what: fmt.Sprintf("sweep over %d, nothing new, GraphQL", fleetSize), measured: quiet.String()}, quiet, loops.all)
	r.goal, r.met = fmt.Sprintf("%d times fewer requests", requestsGoal), loops.all.requests >= requestsGoal*quiet.requests
	b.report.add(r, hourlyRow(first, quiet, loops.all))
	memory, err := memoryOf(w.p)
	if err != nil {
		return err
	}
	b.report.add(row{
		what:     fmt.Sprintf("tagwatch after %d sweeps over %d, resident memory", 1+quietSweeps, fleetSize),
		measured: fmt.Sprintf("%.1f MiB", memory["VmRSS"]), beside: memoryText(memory),
		goal: fmt.Sprintf("< %d MiB", watchingGoal), met: memory["VmHWM"] < watchingGoal,
	})
	if err := w.reportStored(ctx, b); err != nil {
		return err
	}
	f.sim.Latency(answerTime)
	slowly, err := w.quiet(ctx, 1)
	f.sim.Latency(0)
	if err != nil {
		return err
	}
	b.report.add(row{
		what:     fmt.Sprintf("sweep over %d, nothing new, GraphQL, answers take %s", fleetSize, answerTime),
		measured: slowly.String(), beside: "plain loop " + seconds(loops.slowly.took*fleetSize/fewer) + ", by a tenth of it",
		ratio: fmt.Sprintf("1/%.0f", float64(loops.slowly.took*fleetSize/fewer)/float64(slowly.took)),
	})
	return w.reportRestart(ctx, b)
}

// first starts tagwatch, and takes what it costs until every repository is on
// record; asking is the part of the time until the host has told of all.
func (w *watching) first(ctx context.Context) (whole cost, asking time.Duration, err error) {
	before, began := w.fleet.spent(), time.Now()
	if err := w.start(ctx); err != nil {
		return cost{}, 0, err
	}
	listed, err := w.swept(ctx, time.Time{})
	if err != nil {
		return cost{}, 0, err
	}
	if err := w.settled(ctx); err != nil {
		return cost{}, 0, err
	}
	return w.fleet.since(before, time.Since(began)), time.Duration(listed.Took), nil
}

// quiet takes what the next sweeps cost, of which the one in the middle counts by its time.
func (w *watching) quiet(ctx context.Context, n int) (cost, error) {
	last, err := w.swept(ctx, time.Now())
	if err != nil {
		return cost{}, err
	}
	before := w.fleet.spent()
	var took []time.Duration
	for range n {
		if last, err = w.swept(ctx, last.At); err != nil {
			return cost{}, err
		}
		if last.Changed > 0 {
			return cost{}, fmt.Errorf("%d repositories had other tags, and nobody touched them", last.Changed)
		}
		took = append(took, time.Duration(last.Took))
	}
	all := w.fleet.since(before, median(took))
	all.requests, all.points = all.requests/n, all.points/n
	return all, nil
}

// beside compares requests with those of the plain loop.
func beside(r row, c, plain cost) row {
	if r.beside == "" {
		r.beside = "plain loop " + plain.String()
	}
	r.ratio = fmt.Sprintf("1/%.0f", float64(plain.requests)/float64(max(c.requests, 1)))
	return r
}

// hourlyRow is what an hour costs in which nothing happens. What the first sweep
// cost beyond a quiet one was for repositories of several pages, all of which are
// read twice an hour at most.
func hourlyRow(first, quiet, plain cost) row {
	hour := 6*quiet.points + 2*max(0, first.points-quiet.points)
	return row{
		what: "points of an hour, a sweep every 10 minutes, GraphQL", measured: fmt.Sprint(hour),
		beside: fmt.Sprintf("plain loop %d", 6*plain.points), ratio: fmt.Sprintf("1/%.0f", float64(6*plain.points)/float64(max(1, hour))),
		goal: fmt.Sprintf("< %d", pointsGoal), met: hour < pointsGoal,
	}
}

// reportStored says what NATS keeps of the repositories.
func (w *watching) reportStored(ctx context.Context, b *bench) error {
	account, err := w.js.AccountInfo(ctx)
	if err != nil {
		return fmt.Errorf("look at the account: %w", err)
	}
	b.report.add(row{
		what:     fmt.Sprintf("what NATS keeps of %d repositories", w.count),
		measured: fmt.Sprintf("%.1f MiB", float64(account.Store)/mebi), beside: fmt.Sprintf("%d bytes each", account.Store/uint64(w.count)),
	})
	return nil
}

// reportRestart takes the time from the start of another process to the end of its first sweep.
func (w *watching) reportRestart(ctx context.Context, b *bench) error {
	before, began := w.fleet.spent(), time.Now()
	if err := w.restart(ctx, firstPause, w.byToken("graphql")); err != nil {
		return err
	}
	ready := time.Since(w.p.began)
	if _, err := w.swept(ctx, began); err != nil {
		return err
	}
	b.report.add(row{
		what:     fmt.Sprintf("start with %d repositories on record, until its first sweep is over", w.count),
		measured: w.fleet.since(before, time.Since(w.p.began)).String(), beside: "ready after " + seconds(ready),
	})
	return nil
}

// sweepREST sweeps by conditional requests: fewer, for github.com allows 900 in a
// minute by one credential, and tagwatch keeps to it. Here each owner's is another.
func sweepREST(ctx context.Context, b *bench, bin string, f *fleet, loops plainCosts) error {
	return sweepBy(ctx, b, bin, f, func(w *watching) settings {
		hub := w.byApp()
		hub["list"] = "rest"
		return hub
	}, "REST", loops.few)
}

// sweepGit sweeps by git, as repositories are that are at no GitHub: fewer, for each takes two processes.
func sweepGit(ctx context.Context, b *bench, bin string, f *fleet, loops plainCosts) error {
	return sweepBy(ctx, b, bin, f, func(*watching) settings { return nil }, "git ls-remote", loops.few)
}

// sweepBy sweeps over fewer repositories.
func sweepBy(ctx context.Context, b *bench, bin string, f *fleet, hub func(*watching) settings, way string, plain cost) (err error) {
	fmt.Fprintln(b.log, "  sweeps by", way)
	w, err := newWatching(ctx, b, bin, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := w.configure(fewer, quietPause, hub(w)); err != nil {
		return err
	}
	first, asking, err := w.first(ctx)
	if err != nil {
		return err
	}
	quiet, err := w.quiet(ctx, 1)
	if err != nil {
		return err
	}
	b.report.add(
		beside(row{
			what: fmt.Sprintf("first sweep over %d repositories, %s", fewer, way), measured: first.String(), beside: seconds(asking) + " of it asking",
		}, first, plain),
		beside(row{what: fmt.Sprintf("sweep over %d, nothing new, %s", fewer, way), measured: quiet.String()}, quiet, plain),
	)
	return nil
}
