// Package report shows people, where their repository is, what became of a
// version: a commit status, and a deployment per environment.
//
//	tag.refused       commit status failure   refused: ...
//	tag.seen          pending                 seen, waits to be built
//	build.started     pending                 building
//	build.done        success                 built
//	build.failed      failure                 build failed: ...
//	release.started   deployment in progress
//	release.done      deployment success, commit status success: released to dev, demo
//	release.failed    deployment failure, commit status failure: release to demo failed: ...
//
// Facts of several streams come in any order, late, and more than once. So a fact
// is only merged into what is known of its version, where a newer one of the same
// build or environment stands against it, and then what is known is shown, if it
// is not shown already. A report that GitHub missed is made good by the next one.
//
// What is shown is recorded after it was posted. Killed in between, the next
// attempt posts the same commit status once more, which shows nothing new, and
// finds the deployment that it made by the release's id in it.
//
// Nothing waits for a report, and a report that cannot be made in time is dropped.
package report

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// Repo names one repository of a forge.
type Repo struct {
	Name string // owner/name, as it was called when the tag was seen
	ID   string // what the forge knows it by; empty if that is not known
}

// State is how a version or a release fares.
type State string

// The states. Commit statuses are pending, success or failure; deployments
// anything but pending.
const (
	Pending    State = "pending"
	InProgress State = "in_progress"
	Success    State = "success"
	Failure    State = "failure"
	Inactive   State = "inactive" // it was released, and something newer runs now
)

// Status is what a commit shows of one version.
type Status struct {
	Commit      string `json:"commit"`
	Context     string `json:"context"` // whose status it is; a newer one of the same context replaces it
	State       State  `json:"state"`
	Description string `json:"description"`
	Link        string `json:"link,omitempty"`
}

// Deployment is a release to an environment.
type Deployment struct {
	Ref         string // the tag, or the commit where the tag does not name it any more
	Environment string
	Description string
	// Marker tells the release from any other; a forge finds a deployment by it.
	Marker string
}

// DeploymentStatus is what a deployment shows.
type DeploymentStatus struct {
	State       State
	Description string
	Link        string
}

// Forge is where repositories are and people look. Its methods may be called
// concurrently. Each returns a [*LimitError] rather than wait for long, a
// [*DeniedError] if it is not permitted, and an [*UnfitError] if it can never
// work; any other error may pass.
type Forge interface {
	// Status shows a status at a commit. It may be shown again.
	Status(ctx context.Context, repo Repo, s Status) error
	// Deploy makes a deployment unless there is one with its marker, and returns its id.
	Deploy(ctx context.Context, repo Repo, d Deployment) (id int64, err error)
	// DeploymentStatus shows a status at a deployment.
	DeploymentStatus(ctx context.Context, repo Repo, id int64, s DeploymentStatus) error
}

// LimitError says that the forge wants no reports until a time.
type LimitError struct {
	Until  time.Time
	Reason string
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s (until %s)", e.Reason, e.Until.UTC().Format(time.RFC3339))
}

// DeniedError says that the credential must not report to a repository.
type DeniedError struct{ Reason string }

func (e *DeniedError) Error() string { return e.Reason }

// UnfitError says that the forge can never show this.
type UnfitError struct{ Reason string }

func (e *UnfitError) Error() string { return e.Reason }

// Host is a forge, and what is reported to it.
type Host struct {
	Forge       Forge
	Statuses    bool
	Deployments bool
	// Link is the URL where people read more; empty for none. {app}, {version},
	// {env} and {step} are filled in. Step is tag, build or release, and env is
	// empty unless it is release.
	Link string
}

// Record is where facts are looked up.
type Record interface {
	Last(ctx context.Context, filter string) (events.Recorded, error)
}

// Leases keep replicas from reporting on one app at once. See bus.Hold.
type Leases interface {
	Hold(ctx context.Context, key string, work func(ctx context.Context) error) error
}

// Table holds what is known and shown of each version. See bus.Table for its errors.
type Table interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Put(ctx context.Context, key string, value []byte) error
}

// Options are what a [Reporter] needs; all of it is required.
type Options struct {
	Hosts  map[string]Host // by name, such as github.com; apps elsewhere are not reported on
	Record Record
	Leases Leases
	Table  Table
	Log    *zap.Logger
}

// Reporter reports. Its methods may be called concurrently.
type Reporter struct {
	Options
	mu     sync.Mutex
	denied map[duty]denial
}

// New returns a reporter.
func New(o Options) *Reporter { return &Reporter{Options: o, denied: map[duty]denial{}} }

const (
	// MaxAge is how old a fact may be to be reported: then it is no news any more.
	MaxAge = 24 * time.Hour
	// GiveUp is for the workers that call [Reporter.Fact]. It is longer than MaxAge,
	// so that no report ends as a dead letter for its age.
	GiveUp = 2 * MaxAge
	// heldDelay is when to look again whether the report under way has ended.
	heldDelay = 250 * time.Millisecond
)

// Kinds lists the facts that are reported.
func Kinds() []events.Kind {
	return []events.Kind{
		events.KindTagSeen, events.KindTagRefused,
		events.KindBuildStarted, events.KindBuildDone, events.KindBuildFailed,
		events.KindReleaseStarted, events.KindReleaseDone, events.KindReleaseFailed,
	}
}

// Fact reports a fact of one of [Kinds]. It states none itself.
func (r *Reporter) Fact(ctx context.Context, d events.Delivery[events.Event]) ([]events.Fact, error) {
	fact, ok := d.Message.(events.Fact)
	about, known := topicOf(fact)
	if !ok || !known {
		return nil, events.Permanent(fmt.Errorf("%s on %s is not for reports", d.Message.Kind(), d.Message.Subject()))
	}
	// When it happened, rather than when it was stored: a replay stores old facts anew.
	if age := time.Since(fact.Head().At); age > MaxAge {
		return nil, events.Skip("it happened %s ago, and is no news", age.Round(time.Minute))
	}
	err := r.Leases.Hold(ctx, "report."+events.Escape(about.app), func(ctx context.Context) error {
		v, err := r.version(ctx, about, fact)
		if err != nil {
			return err
		}
		return r.report(ctx, v, about.env, events.Recorded{Fact: fact, First: d.First})
	})
	var limit *LimitError
	switch {
	case errors.Is(err, events.ErrHeld):
		return nil, events.Snooze(heldDelay, "another report on "+about.app+" is under way")
	case errors.As(err, &limit):
		return nil, events.Snooze(max(0, time.Until(limit.Until))+spread(d.Attempt), limit.Reason)
	}
	return nil, err
}

// spread keeps what waits for the same time from coming back all at once, the
// more so the longer it waits.
func spread(attempt int) time.Duration {
	most := min(time.Duration(attempt)*5*time.Second, 5*time.Minute)
	return time.Second + rand.N(most+1)
}

// report merges a fact into what is known of its version, and shows what is not
// shown yet. The lease is on the app and not on the version, for a forge takes an
// environment's newest success for what runs there.
func (r *Reporter) report(ctx context.Context, v *version, env string, fact events.Recorded) error {
	known, err := r.read(ctx, v)
	if err != nil {
		return err
	}
	// The newest fact saves reporting those between, when there are many.
	newest, err := r.newest(ctx, v, env)
	if err != nil {
		return err
	}
	changed := known.merge(v, fact)
	if known.merge(v, newest) || changed {
		if err := r.write(ctx, v, known); err != nil {
			return err
		}
	}
	why := r.showStatus(ctx, v, known)
	if _, skipped := events.IsSkip(why); env == "" || why != nil && !skipped {
		return why
	}
	err = r.showDeployment(ctx, v, known, env)
	if reason, skipped := events.IsSkip(err); skipped {
		if why == nil {
			return nil
		}
		return events.Skip("%s; %s", why, reason)
	}
	return err
}

// newest looks up the newest fact of the same build, or of the same environment
// and app, which may be about another version. It is nothing if there is none.
func (r *Reporter) newest(ctx context.Context, v *version, env string) (events.Recorded, error) {
	filter := "build.*." + events.Escape(v.app) + "." + events.Escape(v.name)
	if env != "" {
		filter = "release.*." + events.Escape(env) + "." + events.Escape(v.app)
	}
	newest, err := r.Record.Last(ctx, filter)
	if errors.Is(err, events.ErrNotRecorded) {
		return events.Recorded{}, nil
	}
	return newest, err
}

// showStatus posts the commit status if another one is shown. It returns a Skip
// if it posted none.
func (r *Reporter) showStatus(ctx context.Context, v *version, known *record) error {
	want := v.status(known)
	switch {
	case !v.host.Statuses:
		return events.Skip("commit statuses are not reported to %s", v.hostName)
	case want == known.Status:
		return events.Skip("the commit status is up to date")
	}
	err := r.ask(v.duty(commitStatuses), func() error { return v.host.Forge.Status(ctx, v.repo, want) })
	var unfit *UnfitError
	if err != nil && !errors.As(err, &unfit) {
		return err
	}
	known.Status = want // also what can never be shown is not tried again
	if err := r.write(ctx, v, known); err != nil {
		return err
	}
	if unfit != nil {
		return events.Skip("%s: no commit status: %s", v.hostName, unfit.Reason)
	}
	return nil
}

// showDeployment posts how the newest release to an environment fares, if
// something else is shown. It returns a Skip if it posted nothing.
func (r *Reporter) showDeployment(ctx context.Context, v *version, known *record, env string) error {
	place := known.Places[env]
	switch {
	case !v.host.Deployments:
		return events.Skip("deployments are not reported to %s", v.hostName)
	case place == nil || place.Shown == place.State:
		return events.Skip("the deployment is up to date")
	}
	by, err := r.replacedBy(ctx, v, env, place)
	if err != nil {
		return err
	}
	if by != "" && place.Deployment == 0 {
		// Made now, the forge would take it for what was released last.
		return events.Skip("%s was released to %s since", by, env)
	}
	err = r.ask(v.duty(deployments), func() error { return r.deploy(ctx, v, known, env, by) })
	var unfit *UnfitError
	if err != nil && !errors.As(err, &unfit) {
		return err
	}
	place.Shown = place.State
	if err := r.write(ctx, v, known); err != nil {
		return err
	}
	if unfit != nil {
		return events.Skip("%s: no deployment: %s", v.hostName, unfit.Reason)
	}
	return nil
}

// deploy makes the deployment, unless it is made, and shows its status.
func (r *Reporter) deploy(ctx context.Context, v *version, known *record, env, replacedBy string) error {
	place := known.Places[env]
	if place.Deployment == 0 {
		ref, err := r.ref(ctx, v)
		if err != nil {
			return err
		}
		place.Deployment, err = v.host.Forge.Deploy(ctx, v.repo, Deployment{
			Ref:         ref,
			Environment: v.environment(env),
			Description: clip(v.app+" "+v.name, maxText),
			Marker:      place.Release,
		})
		if err != nil {
			return err
		}
		if err := r.write(ctx, v, known); err != nil {
			return err
		}
	}
	return v.host.Forge.DeploymentStatus(ctx, v.repo, place.Deployment, v.deploymentStatus(place, env, replacedBy))
}

// ref is what a forge finds the commit by: the tag, which people know, unless it
// has been moved or deleted since.
func (r *Reporter) ref(ctx context.Context, v *version) (string, error) {
	for _, kind := range []events.Kind{events.KindTagMoved, events.KindTagDeleted} {
		_, err := r.Record.Last(ctx, kind.Subject(v.app, v.name))
		if err == nil {
			return v.commit, nil
		}
		if !errors.Is(err, events.ErrNotRecorded) {
			return "", err
		}
	}
	return v.tag, nil
}

// replacedBy is the version whose release to the environment was done after the
// one that is known of; empty if there is none.
func (r *Reporter) replacedBy(ctx context.Context, v *version, env string, place *place) (string, error) {
	newest, err := r.Record.Last(ctx, events.KindReleaseDone.Subject(env, v.app))
	if errors.Is(err, events.ErrNotRecorded) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	done, ok := newest.Fact.(*events.ReleaseDone)
	if !ok || done.ReleaseID == place.Release || newest.First <= place.Seq {
		return "", nil
	}
	return done.Version, nil
}

// topic is what a fact is about.
type topic struct {
	app, version string
	env          string // empty unless it is about a release
}

// topicOf knows the facts of [Kinds].
func topicOf(fact events.Fact) (topic, bool) {
	switch f := fact.(type) {
	case *events.TagSeen:
		return topic{f.App, f.Version, ""}, true
	case *events.TagRefused:
		return topic{f.App, f.Version, ""}, true
	case *events.BuildStarted:
		return topic{f.App, f.Version, ""}, true
	case *events.BuildDone:
		return topic{f.App, f.Version, ""}, true
	case *events.BuildFailed:
		return topic{f.App, f.Version, ""}, true
	case *events.ReleaseStarted:
		return topic{f.App, f.Version, f.Env}, true
	case *events.ReleaseDone:
		return topic{f.App, f.Version, f.Env}, true
	case *events.ReleaseFailed:
		return topic{f.App, f.Version, f.Env}, true
	}
	return topic{}, false
}

// version is what is reported on, and where.
type version struct {
	app, name   string
	tag, commit string
	refused     string // why the tag is no version; empty if it is one
	hostName    string
	host        Host
	repo        Repo
}

// version finds the repository of a version, or of a tag that was refused to be
// one. It returns a Skip if nothing is reported there.
func (r *Reporter) version(ctx context.Context, t topic, fact events.Fact) (*version, error) {
	seen, err := r.seen(ctx, t)
	if err != nil {
		return nil, err
	}
	refused, isRefusal := fact.(*events.TagRefused)
	switch {
	case seen == nil && !isRefusal:
		return nil, events.Skip("no tag of %s %s is on record", t.app, t.version)
	case seen == nil && (refused.Tag == "" || refused.Commit == "" || refused.Repo == ""):
		return nil, events.Skip("there is no commit to show it at")
	case seen == nil:
		v := &version{app: t.app, name: t.version, tag: refused.Tag, commit: refused.Commit, refused: refused.Reason}
		return v, r.find(v, refused.Repo, refused.RepoID)
	case isRefusal:
		return nil, events.Skip("%s %s is a version, whatever was refused about it", t.app, t.version)
	}
	v := &version{app: t.app, name: t.version, tag: seen.Tag, commit: seen.Commit}
	return v, r.find(v, seen.Repo, seen.RepoID)
}

// seen looks up a version; nil if there is none.
func (r *Reporter) seen(ctx context.Context, t topic) (*events.TagSeen, error) {
	last, err := r.Record.Last(ctx, events.KindTagSeen.Subject(t.app, t.version))
	if errors.Is(err, events.ErrNotRecorded) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	seen, ok := last.Fact.(*events.TagSeen)
	if !ok {
		return nil, events.Permanent(fmt.Errorf("%s is a %T", last.Fact.Subject(), last.Fact))
	}
	return seen, nil
}

// find fills in where a version's repository is. It returns a Skip if nothing
// is reported there.
func (r *Reporter) find(v *version, address, id string) error {
	hostName, name := locate(address)
	host, known := r.Hosts[hostName]
	if !known {
		return events.Skip("nothing is reported to where %s is", address)
	}
	if strings.Count(name, "/") != 1 {
		return events.Skip("%s is not the address of a repository", address)
	}
	v.hostName, v.host, v.repo = hostName, host, Repo{Name: name, ID: id}
	return nil
}

// environment is what an environment is called at the forge. Where a tag names
// its app, as web/v1.2.3 does, the repository has several, and each needs
// environments of its own: a forge takes an environment's newest success for all
// that runs there.
func (v *version) environment(env string) string {
	switch strings.TrimSuffix(v.tag, v.name) {
	case "", "v":
		return env
	}
	return env + " (" + v.app + ")"
}
