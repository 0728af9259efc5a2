package report

import (
	"errors"
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

// denial is that a forge does not permit a duty.
type denial struct {
	reason string
	until  time.Time // when it is tried again
}

// ask calls the forge for one kind of report, unless it denied that lately. A
// denial is a Skip; it is logged when it is new.
func (r *Reporter) ask(d duty, call func() error) error {
	if no, lately := r.deniedLately(d); lately {
		return events.Skip("%s of %s are switched off until %s: %s", d.what, d.repo, no.until.UTC().Format(time.RFC3339), no.reason)
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

func (r *Reporter) deniedLately(d duty) (denial, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	no := r.denied[d]
	return no, time.Now().Before(no.until)
}

func (r *Reporter) switchOff(d duty, reason string) {
	r.mu.Lock()
	before := r.denied[d]
	r.denied[d] = denial{reason: reason, until: time.Now().Add(offFor)}
	r.mu.Unlock()
	if before.reason != reason {
		r.Log.Warn("not permitted to report: switched off, tried again after an hour", zap.String("host", d.host),
			zap.String("repo", d.repo), zap.String("what", d.what), zap.String("reason", reason))
	}
}

func (r *Reporter) switchOn(d duty) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.denied, d)
}
