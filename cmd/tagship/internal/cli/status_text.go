package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
)

// writeStatus prints a status for people. Of a single app it tells more.
func writeStatus(c Console, s *Status, single bool) {
	w := statusWriter{out: c.Out, p: painterFor(c.Out), now: c.Now()}
	switch {
	case single && len(s.Groups) > 0:
		w.group(s.Groups[0])
	case len(s.Apps) == 0:
		fmt.Fprintln(c.Out, "nothing has been seen yet: push a tag to a repository that tagwatch watches")
	case single:
		w.app(s, s.Apps[0])
	default:
		w.apps(s)
	}
	w.inFlight(s.InFlight)
	w.problems(s.Problems)
	w.retrying(s.Retrying)
	w.dead(s.DeadLetters)
	w.malformed(s.Malformed)
	w.hosts(s)
	w.services(s.Services)
}

type statusWriter struct {
	out io.Writer
	p   painter
	now time.Time
}

func (w statusWriter) section(title string, t table) {
	if len(t) == 0 {
		return
	}
	fmt.Fprintf(w.out, "\n%s\n", w.p.paint(bold, title))
	t.write(w.out, w.p, "  ")
}

// apps prints one row for each app, and one column for each place.
func (w statusWriter) apps(s *Status) {
	environments := columns(s.Apps, func(a AppStatus) []Place { return a.Environments })
	channels := columns(s.Apps, func(a AppStatus) []Place { return a.Channels })
	var t table
	titles := []string{"app", "seen", "built"}
	t.head(append(append(titles, environments...), channels...)...)
	for _, a := range s.Apps {
		row := []cell{{a.App, bold}, versionCell(a.Seen), versionCell(a.Built)}
		for _, name := range environments {
			row = append(row, w.placeCell(s, a.App, "release", name, a.Environments))
		}
		for _, name := range channels {
			row = append(row, w.placeCell(s, a.App, "cdn", name, a.Channels))
		}
		t.row(row...)
	}
	t.write(w.out, w.p, "")
}

// columns are the names of the places of all apps, in their order.
func columns(apps []AppStatus, places func(AppStatus) []Place) []string {
	order := map[string]int{}
	var names []string
	for _, a := range apps {
		for _, p := range places(a) {
			if before, ok := order[p.Name]; !ok {
				names = append(names, p.Name)
				order[p.Name] = p.order
			} else {
				order[p.Name] = min(before, p.order)
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(order[a], order[b]), strings.Compare(a, b))
	})
	return names
}

func versionCell(v *Version) cell {
	if v == nil {
		return cell{"-", faint}
	}
	return cell{v.Version, plain}
}

// placeCell shows the version of an app in a place, and the one that is under way.
func (w statusWriter) placeCell(s *Status, app, step, name string, places []Place) cell {
	i := slices.IndexFunc(places, func(p Place) bool { return p.Name == name })
	if i < 0 {
		return cell{"-", faint}
	}
	text, painted := places[i].Version, green
	if text == "" {
		text, painted = "-", faint
	}
	if slices.ContainsFunc(s.Problems, func(p Problem) bool {
		return p.App == app && p.Place == name && strings.HasSuffix(p.Kind, ".failed") && strings.HasPrefix(p.Kind, step)
	}) {
		text, painted = text+" !", red
	}
	for _, f := range s.InFlight {
		if f.Step == step && f.App == app && f.Place == name {
			return cell{text + " → " + f.Version, yellow}
		}
	}
	return cell{text, painted}
}

// app prints one app, a row for each place.
func (w statusWriter) app(s *Status, a AppStatus) {
	var t table
	t.row(cell{a.App, bold})
	if r := a.Repository; r != nil {
		t.row(cell{"  repository", faint}, cell{r.Repo, plain}, cell{"tags " + r.Tags, plain})
		if r.Configured != "" {
			t.row(cell{"  configured as", faint}, cell{r.Configured, plain})
		}
	}
	if r := a.Repository; r != nil && r.Note != "" {
		t.row(cell{"  note", faint}, cell{r.Note, yellow})
	}
	row := func(title string, v *Version) {
		if v != nil {
			t.row(cell{"  " + title, faint}, cell{v.Version, plain}, cell{ago(w.now, v.At), plain})
		}
	}
	row("seen", a.Seen)
	row("built", a.Built)
	for _, p := range a.Environments {
		instances := ""
		if p.Instances > 0 {
			instances = fmt.Sprintf("×%d", p.Instances)
		}
		t.row(cell{"  " + p.Name, faint}, w.placeCell(s, a.App, "release", p.Name, a.Environments), cell{ago(w.now, p.At), plain}, cell{instances, plain}, cell{p.Address, plain})
	}
	for _, p := range a.Channels {
		t.row(cell{"  " + p.Name, faint}, w.placeCell(s, a.App, "cdn", p.Name, a.Channels), cell{ago(w.now, p.At), plain})
	}
	t.write(w.out, w.p, "")
}

// group prints an owner whose every repository is watched.
func (w statusWriter) group(g GroupStatus) {
	var t table
	t.row(cell{g.Group, bold})
	t.row(cell{"  every repository of", faint}, cell{g.Repo, plain}, cell{"tags " + g.Tags, plain})
	t.row(cell{"  watched", faint}, cell{repositories(g.Repositories), plain})
	t.write(w.out, w.p, "")
}

func (w statusWriter) inFlight(steps []Step) {
	var t table
	for _, s := range steps {
		what := map[string]string{
			"build waiting": "waits to be built", "build started": "is being built",
			"release waiting": "waits to be released to " + s.Place, "release started": "is being released to " + s.Place,
			"cdn started": "is being published to " + s.Place,
		}[s.Step+" "+s.State]
		t.row(cell{about(s.App, s.Version), yellow}, cell{what, plain}, cell{"for " + lasted(w.now.Sub(s.Since).Truncate(time.Second)), plain}, w.whom(s.By))
	}
	w.section("In flight", t)
}

// whom names a person; that a service did it by itself is not worth a word.
func (w statusWriter) whom(by string) cell {
	if by == "" || slices.Contains(daemon.Sections(), by) {
		return cell{}
	}
	return cell{"by " + by, faint}
}

func (w statusWriter) problems(problems []Problem) {
	var t table
	for _, p := range problems {
		text := clip(p.Reason, 200)
		switch {
		case p.Kind != string(events.KindReleaseFailed):
		case p.Running == "":
			text += "; nothing runs there"
		default:
			text += "; " + p.Running + " runs there"
		}
		what := about(p.App, p.Version)
		if p.App == "" && p.Kind == "repository" {
			what = p.Place
		}
		t.row(cell{what, red}, cell{problemWords(p), plain}, cell{ago(w.now, p.At), plain}, cell{text, plain})
	}
	w.section("Failed or refused", t)
}

func problemWords(p Problem) string {
	switch events.Kind(p.Kind) {
	case events.KindTagMoved:
		return "tag moved"
	case events.KindTagDeleted:
		return "tag deleted"
	case events.KindTagRefused:
		return "tag refused"
	case events.KindBuildFailed:
		return "build failed"
	case events.KindBuildRefused:
		return "build refused"
	case events.KindReleaseFailed:
		return "release to " + p.Place + " failed"
	case events.KindReleaseRefused:
		return "release to " + p.Place + " refused"
	case events.KindCDNFailed:
		return "publication to " + p.Place + " failed"
	case events.KindCDNRefused:
		return "publication to " + p.Place + " refused"
	}
	if p.App == "" {
		return "not readable"
	}
	return "repository not readable"
}

func (w statusWriter) retrying(all []Retry) {
	var t table
	for _, r := range all {
		next := "next attempt due"
		if wait := r.Next.Sub(w.now); wait > 0 {
			next = "next attempt in " + lasted(wait.Truncate(time.Second))
		}
		t.row(cell{r.Subject, yellow}, cell{fmt.Sprintf("failed %d×", r.Failures), plain}, cell{next, plain}, cell{clip(r.Error, 200), plain})
	}
	w.section("Retrying", t)
}

func (w statusWriter) dead(all []deadLetter) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w.out, "\n%s  %d to look at: tagship dead list\n", w.p.paint(red, "Dead letters"), len(all))
}

func (w statusWriter) malformed(all []NotUnderstood) {
	var t table
	for _, m := range all {
		t.row(cell{m.Subject, yellow}, cell{m.Message, plain}, cell{clip(m.Error, 200), plain})
	}
	w.section("Not understood, stored by hand", t)
}

func (w statusWriter) services(all []Answering) {
	var there, missing []string
	for _, s := range all {
		name := s.Name
		if s.Processes > 1 {
			name = fmt.Sprintf("%s ×%d", s.Name, s.Processes)
		}
		there = append(there, name)
	}
	for _, name := range daemon.Sections() {
		if name != "nats" && !slices.ContainsFunc(all, func(s Answering) bool { return s.Name == name }) {
			missing = append(missing, name)
		}
	}
	fmt.Fprintln(w.out)
	if len(there) > 0 {
		fmt.Fprintf(w.out, "%s  %s\n", w.p.paint(bold, "Services"), strings.Join(there, ", "))
	}
	if len(missing) > 0 {
		fmt.Fprintf(w.out, "%s  %s\n", w.p.paint(red, "Not answering"), strings.Join(missing, ", "))
	}
}
