package e2e_test

import (
	"strings"

	"github.com/tagship/tagship/events"
)

// deliveredBurst waits until everything is settled, and checks what must be true
// once these versions of an app were tagged, some before others were delivered:
// all are built and published, the newest runs, and each release that was wanted
// has one end, older ones perhaps as overtaken.
func (p *pipeline) deliveredBurst(app string, tagged ...string) {
	p.t.Helper()
	newest := tagged[len(tagged)-1]
	for _, version := range tagged {
		p.built(app, version)
		p.published("beta", app, version)
	}
	p.released("dev", app, newest)
	p.settled()
	for _, version := range tagged {
		p.record.Once(events.KindTagSeen.Subject(app, version))
		p.record.Once(events.KindBuildDone.Subject(app, version))
		p.once(events.KindCDNStarted.Subject("beta", app), version)
		p.once(events.KindCDNDone.Subject("beta", app), version)
	}
	p.once(events.KindReleaseDone.Subject("dev", app), newest)
	p.endedOnce("dev", app)
	p.runs("dev", app, newest)
	p.downloads("beta", app, tagged...)
}

// endedOnce checks that every release that was wanted has one end, and that none
// failed for its own fault.
func (p *pipeline) endedOnce(env, app string) {
	p.t.Helper()
	token := events.Escape(env) + "." + events.Escape(app)
	ends := map[events.Cause]int{}
	for _, kind := range []events.Kind{events.KindReleaseDone, events.KindReleaseFailed, events.KindReleaseRefused} {
		for _, end := range p.record.Facts(string(kind) + "." + token) {
			ends[*end.Fact.Head().Cause]++
			reason := ""
			switch f := end.Fact.(type) {
			case *events.ReleaseFailed:
				reason = f.Reason
			case *events.ReleaseRefused:
				reason = f.Reason
			}
			if reason != "" && !strings.HasPrefix(reason, "overtaken by") && !strings.HasPrefix(reason, "superseded by") {
				p.t.Errorf("%s of %s: %s", end.Fact.Kind(), versionOf(end.Fact), reason)
			}
		}
	}
	wanted := p.record.Facts(string(events.KindReleaseWanted) + "." + token)
	for _, w := range wanted {
		if n := ends[events.Cause{Stream: events.StreamReleases, Seq: w.Seq}]; n != 1 {
			p.t.Errorf("the release of %s %s to %s has %d ends, expected one", app, versionOf(w.Fact), env, n)
		}
	}
	if len(wanted) != len(ends) {
		p.t.Errorf("%d releases were wanted, but %d have ended", len(wanted), len(ends))
	}
}
