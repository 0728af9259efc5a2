package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
)

const (
	hookRate    = 200 // deliveries a second
	hooksOf     = 2   // deliveries about one tag: create and push
	hookSeconds = 10
	hookTags    = hookRate / hooksOf * hookSeconds
	hookWarmUp  = 100 // tags before the clock starts

	factGoal     = 20 * time.Millisecond  // the one in the middle
	factGoalMost = 200 * time.Millisecond // 99 of 100
)

// measureWebhooks pushes many tags a second at a simulated GitHub, which tells of
// each by two webhooks, and takes the time from sending the first of them until
// tag.seen is stored, with the source staged.
//
// The tags are of many repositories of 25 owners, where a GitHub App is
// installed: github.com's limits of a minute hold for each installation, and the
// simulator keeps to them.
func measureWebhooks(ctx context.Context, b *bench) (err error) {
	bin, err := b.folder("bin")
	if err != nil {
		return err
	}
	fmt.Fprintln(b.log, "  building tagwatch, and making a GitHub")
	if err := buildPrograms(ctx, bin, "services/tagwatch/cmd/tagwatch"); err != nil {
		return err
	}
	f, err := newFleet(hookTags+hookWarmUp, github.Options{Secondary: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.sim.Close()) }()
	for _, resource := range []string{"core", "graphql"} {
		f.sim.Budget(resource, 5000, time.Hour)
	}
	w, err := newWatching(ctx, b, bin, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := w.configure(len(f.repos), firstPause, w.byApp()); err != nil {
		return err
	}
	if _, _, err := w.first(ctx); err != nil {
		return err
	}
	pushes := newPushes(f)
	hook := f.sim.Hook(github.HookConfig{URL: "http://" + w.listen + "/webhooks/github", Secret: hookSecret, App: f.app})
	fmt.Fprintln(b.log, "  webhooks")
	if err := pushes.push(ctx, 0, hookWarmUp); err != nil {
		return err
	}
	if err := w.seen(ctx, hookWarmUp); err != nil {
		return err
	}
	if err := wait(ctx, suspicion); err != nil {
		return err
	}
	before, machine, used, nats := f.spent(), readConditions(), cpuOf(w.p.cmd.Process.Pid), cpuOf(w.server.cmd.Process.Pid)
	began := time.Now()
	if err := pushes.push(ctx, hookWarmUp, len(f.repos)); err != nil {
		return err
	}
	sending := time.Since(began)
	if err := w.seen(ctx, len(f.repos)); err != nil {
		return err
	}
	share := flow{
		workers: cpuOf(w.p.cmd.Process.Pid) - used, nats: cpuOf(w.server.cmd.Process.Pid) - nats, machine: machine, machineAfter: readConditions(),
	}
	spent := f.since(before, sending)
	if err := w.settledHooks(ctx); err != nil {
		return err
	}
	return reportHooks(ctx, b, w, hook, share, spent)
}

// pushes are tags to push, one in each repository.
type pushes struct {
	repos   []*github.Repo
	objects []*github.Object
}

const pushedTag = "v100.0.0"

// newPushes makes the commits of the tags. Every second tag is annotated.
func newPushes(f *fleet) pushes {
	random := rand.New(rand.NewPCG(3, 4))
	p := pushes{repos: f.repos}
	for i, repo := range f.repos {
		object := repo.Commit(sources(random))
		if i%2 == 1 {
			object = repo.Annotate(pushedTag, object)
		}
		p.objects = append(p.objects, object)
	}
	return p
}

// push pushes tags, as many a second as there are hooks wanted.
func (p pushes) push(ctx context.Context, from, to int) error {
	const pause = time.Second * hooksOf / hookRate
	began := time.Now()
	for i := from; i < to; i++ {
		if err := wait(ctx, time.Until(began.Add(time.Duration(i-from)*pause))); err != nil {
			return err
		}
		p.repos[i].Tag(pushedTag, p.objects[i])
	}
	return nil
}

// seen waits until so many tags are seen.
func (w *watching) seen(ctx context.Context, n int) error {
	return w.until(ctx, func() error {
		stream, err := w.js.Stream(ctx, events.StreamTags)
		if err != nil {
			return fmt.Errorf("look at the stream of tags: %w", err)
		}
		if stated := stream.CachedInfo().State.Msgs; stated < uint64(n) {
			return fmt.Errorf("%d tags are seen, expected %d", stated, n)
		}
		return nil
	})
}

// settledHooks waits until every hint is followed.
func (w *watching) settledHooks(ctx context.Context) error {
	return w.until(ctx, func() error { return checkSettled(ctx, w.bus) })
}

// reportHooks compares when hooks were sent with when tags were seen.
func reportHooks(ctx context.Context, b *bench, w *watching, hook *github.Hook, share flow, spent cost) error {
	sent := map[string]time.Time{} // the first delivery about a repository's tag
	var answered []time.Duration
	measured := map[string]bool{}
	for _, repo := range w.fleet.repos[hookWarmUp:] {
		measured[strconv.FormatInt(repo.ID(), 10)] = true
	}
	for _, d := range hook.Deliveries() {
		repo := strconv.FormatInt(d.Repo, 10)
		if !measured[repo] {
			continue
		}
		if d.Status != "OK" {
			return fmt.Errorf("a webhook was answered with %d: %s %s", d.Code, d.Status, d.Response)
		}
		at := d.At.Add(-d.Took)
		if first, there := sent[repo]; !there || at.Before(first) {
			sent[repo] = at
		}
		answered = append(answered, d.Took)
	}
	var took []time.Duration
	for recorded, err := range w.bus.Facts(ctx, "tag.>", false) {
		if err != nil {
			return err
		}
		fact, is := recorded.Fact.(*events.TagSeen)
		if !is {
			return fmt.Errorf("%s was stated, expected tag.seen only", recorded.Fact.Subject())
		}
		if at, there := sent[fact.RepoID]; there {
			took = append(took, recorded.Time.Sub(at))
			delete(sent, fact.RepoID)
		}
	}
	middle, most := median(took), percentile(took, 99)
	what := fmt.Sprintf("%d webhooks a second for %d s, ", hookRate, hookSeconds)
	b.report.add(
		row{
			what: what + "sent to answered", measured: "p50 " + milliseconds(median(answered)),
			beside: fmt.Sprintf("p99 %s, at most %s", milliseconds(percentile(answered, 99)), milliseconds(percentile(answered, 100))),
		},
		row{
			what: what + "sent to tag.seen stored", measured: "p50 " + milliseconds(middle), beside: share.share(),
			goal: "p50 < " + milliseconds(factGoal), met: middle < factGoal,
		},
		row{
			what: what + "the slowest", measured: "p99 " + milliseconds(most), beside: "at most " + milliseconds(percentile(took, 100)),
			goal: "p99 < " + milliseconds(factGoalMost), met: most < factGoalMost,
		},
		row{
			what: what + "lost", measured: fmt.Sprintf("%d of %d tags", hookTags-len(took), hookTags),
			beside: fmt.Sprintf("%d deliveries in %s", len(answered), seconds(spent.took)), goal: "0", met: len(took) == hookTags,
		},
		row{
			what: "one of these tags, all of it", measured: fmt.Sprintf("%.1f ms of tagwatch's processor time", float64(share.workers.Microseconds())/1000/hookTags),
			beside: fmt.Sprintf("%.1f requests of GitHub", float64(spent.requests)/hookTags),
		},
	)
	b.report.note("In the line of tag.seen, workers are tagwatch, and others the simulated GitHub and whatever else ran. A source is %d KiB compressed, and another for each tag. An answer says that the hint is stored.", sourceSize>>10)
	return nil
}
