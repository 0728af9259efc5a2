package report

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

// offFor is how long nothing is tried after it was denied.
const offFor = time.Hour

// What there is to report.
const (
	commitStatuses = "commit statuses"
	deployments    = "deployments"
)

// duty is one kind of report to a repository.
type duty struct{ host, repo, what string }

// Off is a kind of report that a forge does not permit.
type Off struct {
	Host   string    `json:"host"`
	Repo   string    `json:"repo"` // owner/name
	What   string    `json:"what"` // commit statuses or deployments
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"` // when it is tried again
}

// Off lists what this process does not report now for want of permission.
func (r *Reporter) Off() []Off {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Off
	for _, off := range r.off {
		if time.Now().Before(off.Until) {
			list = append(list, off)
		}
	}
	slices.SortFunc(list, func(a, b Off) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Repo, b.Repo), cmp.Compare(a.What, b.What))
	})
	return list
}

// ask calls the forge for one kind of report, unless it denied that lately. A
// denial is a Skip; it is logged when it is new.
func (r *Reporter) ask(d duty, call func() error) error {
	if off, denied := r.deniedLately(d); denied {
		return events.Skip("%s of %s are switched off until %s: %s", d.what, d.repo, off.Until.UTC().Format(time.RFC3339), off.Reason)
	}
	err := call()
	var denied *DeniedError
	switch {
	case errors.As(err, &denied):
		r.switchOff(d, denied.Reason)
		return events.Skip("%s of %s are not permitted: %s", d.what, d.repo, denied.Reason)
	case err == nil:
		r.switchOn(d)
	}
	return err
}

func (v *version) duty(what string) duty { return duty{v.hostName, v.repo.Name, what} }

func (r *Reporter) deniedLately(d duty) (Off, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	off, found := r.off[d]
	return off, found && time.Now().Before(off.Until)
}

func (r *Reporter) switchOff(d duty, reason string) {
	r.mu.Lock()
	before, known := r.off[d]
	r.off[d] = Off{Host: d.host, Repo: d.repo, What: d.what, Reason: reason, Until: time.Now().Add(offFor)}
	r.mu.Unlock()
	if !known || before.Reason != reason {
		r.Log.Warn("not permitted to report: switched off, tried again after an hour", zap.String("host", d.host),
			zap.String("repo", d.repo), zap.String("what", d.what), zap.String("reason", reason))
	}
}

func (r *Reporter) switchOn(d duty) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.off, d)
}
