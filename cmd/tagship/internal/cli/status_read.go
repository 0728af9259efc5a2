package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tagship/tagship/cmd/tagship/internal/tell"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/services/tagwatch"
	"golang.org/x/sync/errgroup"
)

// How long is shown what nothing newer can mend.
const (
	refusedFor = 24 * time.Hour
	movedFor   = 7 * 24 * time.Hour
)

// sources is what a status is made of: the newest fact of each subject, in the
// order they were stored, and what is no fact.
type sources struct {
	tags, builds, releases, cdn []events.Recorded
	repositories, hosts         map[string][]byte
	retrying                    []bus.Attempt
	dead                        []bus.DeadLetter
	malformed                   []bus.Malformed
	services                    []bus.Service
}

func readSources(ctx context.Context, b *bus.Bus, app string) (*sources, error) {
	var s sources
	group, ctx := errgroup.WithContext(ctx)
	newest := func(into *[]events.Recorded, filter string) {
		group.Go(func() (err error) {
			*into, err = b.Newest(ctx, filter)
			return err
		})
	}
	newest(&s.tags, "tag.*."+token(app)+".*")
	newest(&s.builds, "build.*."+token(app)+".*")
	newest(&s.releases, "release.*.*."+token(app))
	newest(&s.cdn, "cdn.*.*."+token(app))
	group.Go(func() (err error) {
		s.repositories, err = b.Table(bus.TableWatch).All(ctx, tagwatch.StatusPrefix)
		return err
	})
	group.Go(func() (err error) {
		s.hosts, err = b.Table(bus.TableWatch).All(ctx, tagwatch.HostPrefix)
		return err
	})
	group.Go(func() (err error) {
		s.retrying, err = b.Retrying(ctx)
		return err
	})
	group.Go(func() (err error) {
		s.dead, err = b.DeadLetters(ctx)
		return err
	})
	group.Go(func() (err error) {
		s.malformed, err = b.Malformed(ctx)
		return err
	})
	group.Go(func() (err error) {
		s.services, err = b.Services(ctx)
		return err
	})
	return &s, group.Wait()
}

// readStatus puts together the status of one app, or of all of them for "".
func readStatus(ctx context.Context, b *bus.Bus, app string, now time.Time) (*Status, error) {
	s, err := readSources(ctx, b, app)
	if err != nil {
		return nil, err
	}
	r := &reading{app: app, now: now, apps: map[string]*AppStatus{}}
	if err := r.readRepositories(s.repositories); err != nil {
		return nil, err
	}
	hosts, err := r.readHosts(s.hosts)
	if err != nil {
		return nil, err
	}
	seen := r.readTags(s.tags)
	r.readBuilds(s.builds, seen)
	if err := r.readReleases(ctx, b, s.releases); err != nil {
		return nil, err
	}
	r.readCDN(s.cdn)
	status := r.status(s)
	if app == "" { // they are about all of them
		status.Hosts = hosts
	}
	return status, nil
}

// readHosts puts the hosts in the order of their names. What troubles one is a
// problem of each app on it, told once.
func (r *reading) readHosts(values map[string][]byte) ([]tagwatch.HostStatus, error) {
	var hosts []tagwatch.HostStatus
	for _, key := range slices.Sorted(maps.Keys(values)) {
		var host tagwatch.HostStatus
		if err := json.Unmarshal(values[key], &host); err != nil {
			return nil, fmt.Errorf("decode what is known of a host of repositories: %w", err)
		}
		hosts = append(hosts, host)
		if host.Error != "" && (r.app == "" || r.isOn(host.Host)) {
			r.problems = append(r.problems, Problem{Kind: "repository", Place: host.Host, Reason: host.Error, At: host.ErrorSince})
		}
	}
	return hosts, nil
}

// isOn tells whether a repository that was read is at a host.
func (r *reading) isOn(host string) bool {
	at := "https://" + host + "/"
	for _, a := range r.apps {
		if a.Repository != nil && strings.HasPrefix(a.Repository.Repo, at) {
			return true
		}
	}
	return slices.ContainsFunc(r.groups, func(g GroupStatus) bool { return strings.HasPrefix(g.Repo, at) })
}

// reading is a status in the making.
type reading struct {
	app      string // empty for all
	now      time.Time
	apps     map[string]*AppStatus
	groups   []GroupStatus
	inFlight []Step
	problems []Problem
}

func (r *reading) of(app string) *AppStatus {
	if r.apps[app] == nil {
		r.apps[app] = &AppStatus{App: app, Environments: []Place{}, Channels: []Place{}}
	}
	return r.apps[app]
}

func (r *reading) problem(f events.Fact, p Problem) {
	p.Kind, p.At, p.By = string(f.Kind()), f.Head().At, f.Head().By
	r.problems = append(r.problems, p)
}

// recent reports whether a fact is younger than what is shown of its kind.
func (r *reading) recent(f events.Fact, limit time.Duration) bool {
	return r.now.Sub(f.Head().At) < limit
}

func (r *reading) readRepositories(values map[string][]byte) error {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		app, err := events.Unescape(strings.TrimPrefix(key, "app."))
		if err != nil || r.app != "" && r.app != app {
			continue
		}
		var repository struct {
			Repository
			Group        bool `json:"group"`
			Repositories int  `json:"repositories"`
		}
		if err := json.Unmarshal(values[key], &repository); err != nil {
			return fmt.Errorf("decode what is known of the repository of %s: %w", app, err)
		}
		if repository.Group { // its apps have their own
			r.groups = append(r.groups, GroupStatus{app, repository.Repositories, repository.Repository})
		} else {
			r.of(app).Repository = &repository.Repository
		}
		if repository.Error != "" {
			r.problems = append(r.problems, Problem{Kind: "repository", App: app, Reason: repository.Error, At: repository.ErrorSince})
		}
	}
	return nil
}

// readTags returns every version that was seen.
func (r *reading) readTags(tags []events.Recorded) []*events.TagSeen {
	var seen []*events.TagSeen
	newest := map[string]uint64{}
	for _, t := range tags {
		if f, ok := t.Fact.(*events.TagSeen); ok {
			seen = append(seen, f)
			newest[f.App] = t.Seq
			r.of(f.App).Seen = &Version{f.Version, f.At}
		}
	}
	for _, t := range tags {
		switch f := t.Fact.(type) {
		case *events.TagMoved:
			if r.recent(f, movedFor) {
				r.problem(f, Problem{App: f.App, Version: f.Version, Reason: tell.Moved(f)})
			}
		case *events.TagDeleted:
			if r.recent(f, movedFor) {
				r.problem(f, Problem{App: f.App, Version: f.Version, Reason: tell.Deleted(f)})
			}
		case *events.TagRefused:
			// A tag that was refused is mended by a newer one; a request is not.
			if t.Seq > newest[f.App] && (f.Tag != "" || r.recent(f, refusedFor)) {
				r.problem(f, Problem{App: f.App, Version: f.Version, Reason: f.Reason})
			}
		}
	}
	return seen
}

// built is what is known of the build of one version.
type built struct {
	started, done, failed, refused *events.Recorded
}

func (r *reading) readBuilds(facts []events.Recorded, seen []*events.TagSeen) {
	builds := map[[2]string]*built{}
	newest, newestTag := map[string]uint64{}, map[string]uint64{}
	for _, fact := range facts {
		_, _, app, version := concerns(fact.Fact.Subject())
		key := [2]string{app, version}
		if builds[key] == nil {
			builds[key] = &built{}
		}
		switch f := fact.Fact.(type) {
		case *events.BuildStarted:
			builds[key].started = &fact
		case *events.BuildFailed:
			builds[key].failed = &fact
		case *events.BuildRefused:
			builds[key].refused = &fact
		case *events.BuildDone:
			builds[key].done = &fact
			newest[app] = fact.Seq
			if f.TagSeq > newestTag[app] {
				newestTag[app] = f.TagSeq
				r.of(app).Built = &Version{f.Version, f.At}
			}
		}
	}
	for _, fact := range facts {
		_, _, app, version := concerns(fact.Fact.Subject())
		r.readBuild(fact, builds[[2]string{app, version}], newest[app])
	}
	for _, f := range seen {
		if b := builds[[2]string{f.App, f.Version}]; b == nil || *b == (built{}) {
			r.inFlight = append(r.inFlight, Step{Step: "build", App: f.App, Version: f.Version, State: "waiting", Since: f.At})
		}
	}
}

// readBuild tells what one fact means, given all of the same version.
func (r *reading) readBuild(fact events.Recorded, b *built, newestDone uint64) {
	switch f := fact.Fact.(type) {
	case *events.BuildStarted:
		if b.done == nil && (b.failed == nil || b.failed.Seq < fact.Seq) {
			r.inFlight = append(r.inFlight, Step{Step: "build", App: f.App, Version: f.Version, State: "started", Since: f.At, By: f.By})
		}
	case *events.BuildFailed:
		if b.done == nil && fact.Seq > newestDone && (b.started == nil || b.started.Seq < fact.Seq) {
			r.problem(f, Problem{App: f.App, Version: f.Version, Reason: f.Reason})
		}
	case *events.BuildRefused:
		if r.recent(f, refusedFor) && (b.done == nil || b.done.Seq < fact.Seq) {
			r.problem(f, Problem{App: f.App, Version: f.Version, Reason: f.Reason})
		}
	}
}

// status orders what was read.
func (r *reading) status(s *sources) *Status {
	out := &Status{At: r.now.UTC(), Apps: []AppStatus{}, Groups: r.groups, InFlight: r.inFlight, Problems: r.problems, Retrying: []Retry{}, DeadLetters: []deadLetter{}, Services: []Answering{}}
	for _, app := range slices.Sorted(maps.Keys(r.apps)) {
		a := r.apps[app]
		for _, places := range [][]Place{a.Environments, a.Channels} {
			slices.SortFunc(places, func(a, b Place) int {
				return cmp.Or(cmp.Compare(a.order, b.order), strings.Compare(a.Name, b.Name))
			})
		}
		out.Apps = append(out.Apps, *a)
	}
	if out.InFlight == nil {
		out.InFlight = []Step{}
	}
	if out.Problems == nil {
		out.Problems = []Problem{}
	}
	slices.SortStableFunc(out.InFlight, func(a, b Step) int { return a.Since.Compare(b.Since) })
	slices.SortStableFunc(out.Problems, func(a, b Problem) int { return b.At.Compare(a.At) })
	for _, a := range s.retrying {
		if _, _, app, _ := concerns(a.Subject); r.app == "" || r.app == app {
			out.Retrying = append(out.Retrying, Retry{a.Consumer, a.Subject, a.Failures, a.Error, a.Next})
		}
	}
	slices.SortFunc(out.Retrying, func(a, b Retry) int {
		return cmp.Or(strings.Compare(a.Subject, b.Subject), strings.Compare(a.Consumer, b.Consumer))
	})
	for _, l := range s.dead {
		if l.Settled == nil && (r.app == "" || r.app == l.App) {
			out.DeadLetters = append(out.DeadLetters, newDeadLetter(l))
		}
	}
	for _, m := range s.malformed {
		if r.app == "" { // whom it concerns cannot be told
			out.Malformed = append(out.Malformed, NotUnderstood{Message: m.Origin.String(), Subject: m.Subject, At: m.Time, Error: m.Error})
		}
	}
	processes := map[string]int{}
	for _, service := range s.services {
		processes[service.Name]++
	}
	for _, name := range slices.Sorted(maps.Keys(processes)) {
		out.Services = append(out.Services, Answering{name, processes[name]})
	}
	return out
}
