// Package tagwatch is the service that watches git repositories and says that a
// new version exists.
//
//	consumes  tag.<app>                    look now
//	          hook.<subject>               look at what a webhook hints at
//	          facts about versions         what to report back to the repository's GitHub
//	states    tag.seen.<app>.<version>     once per version; its source is staged
//	          tag.moved.<app>.<version>    the tag names another commit; never built
//	          tag.deleted.<app>.<version>  the tag is gone; the version stays
//	          tag.refused.<app>.<version>  the tag, or the request, cannot become a version
//	          tag.looked.<app>             the answer to a request
//	serves    POST /webhooks/github        for GitHub's webhooks
//	          POST /webhooks/look/<app>    for any git server's hook
//
// Beside that it sweeps over every repository at an interval, which one of all
// replicas does. What it knows of tags is in the table "watch"; its data folder
// holds caches only. Any number of replicas may run.
package tagwatch

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/services/tagwatch/internal/github"
	"github.com/tagship/tagship/services/tagwatch/internal/recipe"
	"github.com/tagship/tagship/services/tagwatch/internal/report"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"golang.org/x/sync/errgroup"
)

// Name is the name of the service, and of its section in tagship.yaml.
const Name = "tagwatch"

const (
	// giveUp is how old a request or a hook may become while its repository does not answer.
	giveUp = 15 * time.Minute
	// hookSlots is how many hooks this process follows at once. Most of that is waiting for answers.
	hookSlots = 16
	// reportSlots is how many facts of a stream this process reports on at once.
	reportSlots = 4
)

// Status is what people want to know of a watched app; see [StatusKey].
type Status = watch.Status

// HostStatus is what people want to know of a host; see [HostKey].
type HostStatus = watch.HostStatus

// Sweep is what came of asking for the tags of every repository of a host.
type Sweep = watch.Sweep

// StatusPrefix is the first token of the keys in the table [bus.TableWatch] that
// hold a [Status] in JSON, and HostPrefix of those that hold a [HostStatus].
const (
	StatusPrefix = watch.StatusPrefix
	HostPrefix   = watch.HostPrefix
)

// StatusKey is the key of an app's [Status] in the table [bus.TableWatch].
func StatusKey(app string) string { return watch.StatusKey(app) }

// HostKey is the key of a [HostStatus] in the table [bus.TableWatch].
func HostKey(host string) string { return watch.HostKey(host) }

// Consumers are the durable consumers that the service works on.
func Consumers(cfg Config) []bus.Consumer {
	consumers := []bus.Consumer{requests(), hooks()}
	if cfg.reports() {
		consumers = append(consumers, reports()...)
	}
	return consumers
}

func requests() bus.Consumer {
	return bus.Consumer{Name: Name, Stream: events.StreamTags, Filters: []string{events.TagRequested.All()}}
}

func hooks() bus.Consumer {
	return bus.Consumer{Name: Name, Stream: events.StreamHooks, Filters: []string{events.HookReceived.All()}}
}

// reports has one consumer for each stream. They begin with what happens after
// they were created: nobody wants to hear of the past.
func reports() []bus.Consumer {
	var consumers []bus.Consumer
	at := map[string]int{}
	for _, kind := range report.Kinds() {
		i, there := at[kind.Stream()]
		if !there {
			i = len(consumers)
			at[kind.Stream()] = i
			consumers = append(consumers, bus.Consumer{Name: Name + "-report", Stream: kind.Stream(), New: true})
		}
		consumers[i].Filters = append(consumers[i].Filters, kind.All())
	}
	return consumers
}

// Run watches until ctx ends.
func Run(ctx context.Context, cfg Config, rt daemon.Runtime) error {
	hosts, err := openHosts(cfg, rt)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	watcher, err := newWatcher(cfg, hosts, rt)
	if err != nil {
		return err
	}
	workers := append(watchWorkers(watcher, cfg.Parallel), reportWorkers(cfg, hosts, rt)...)
	// The first look needs the table, which a first start has yet to make; and
	// reports begin with what happens once their consumers are there.
	if err := rt.Bus.Ensure(ctx, Consumers(cfg)...); err != nil {
		return err
	}
	if err := registerMetrics(rt.Metrics, watcher); err != nil {
		return err
	}
	if err := serveWebhooks(cfg, watcher, rt); err != nil {
		return err
	}
	rt.Ready()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return rt.Bus.Run(ctx, workers...) })
	group.Go(func() error { return watcher.Run(ctx) })
	return group.Wait()
}

// watchWorkers follow requests and hooks.
func watchWorkers(w *watch.Watcher, slots int) []bus.Worker {
	return []bus.Worker{
		{
			Consumer:  requests(),
			Slots:     slots,
			GiveUp:    giveUp,
			Handle:    bus.Handle(w.Requested),
			Malformed: watch.Malformed,
			GaveUp:    watch.GaveUp,
		},
		{
			Consumer: hooks(),
			Slots:    hookSlots,
			GiveUp:   giveUp,
			Handle:   bus.Handle(w.Heard),
		},
	}
}

// reportWorkers tell the GitHubs what became of versions.
func reportWorkers(cfg Config, hosts *hosts, rt daemon.Runtime) []bus.Worker {
	if !cfg.reports() {
		return nil
	}
	options := report.Options{
		Hosts: map[string]report.Host{}, Record: rt.Bus, Leases: rt.Bus, Table: rt.Bus.Table(bus.TableReports), Log: rt.Log,
	}
	for name, hub := range cfg.hubs() {
		if hub.reports() {
			options.Hosts[name] = report.Host{
				Forge: github.NewReporter(hosts.hubs[name]), Statuses: hub.Report.Statuses, Deployments: hub.Report.Deployments, Link: hub.Report.Link,
			}
		}
	}
	reporter := report.New(options)
	var workers []bus.Worker
	for _, consumer := range reports() {
		workers = append(workers, bus.Worker{Consumer: consumer, Slots: reportSlots, GiveUp: report.GiveUp, Handle: reporter.Fact})
	}
	return workers
}

func newWatcher(cfg Config, hosts *hosts, rt daemon.Runtime) (*watch.Watcher, error) {
	options := watch.Options{
		Interval: time.Duration(cfg.Interval),
		Parallel: cfg.Parallel,
		Replica:  replica(),
		Record:   rt.Bus,
		Table:    rt.Bus.Table(bus.TableWatch),
		Sources:  rt.Bus,
		Leases:   rt.Bus,
		Recipes:  recipe.Read,
		Log:      rt.Log,
	}
	for name, app := range cfg.Apps {
		if err := hosts.watched(cfg, name, app, &options); err != nil {
			return nil, fmt.Errorf("app %s: %w", name, err)
		}
	}
	return watch.New(options), nil
}

// replica is what this process is called where a status says who leads.
func replica() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s (process %d)", host, os.Getpid())
}
