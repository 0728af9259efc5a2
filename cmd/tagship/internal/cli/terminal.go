package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tagship/tagship/daemon"
	"golang.org/x/term"
)

// paint is a colour, as the parameters of an SGR sequence (ECMA-48, 8.3.117).
type paint string

const (
	plain  paint = ""
	red    paint = "31"
	green  paint = "32"
	yellow paint = "33"
	faint  paint = "2"
	bold   paint = "1"
)

// painter colours text where colours are wanted.
type painter bool

func painterFor(w io.Writer) painter { return painter(daemon.IsTerminal(w)) }

func (p painter) paint(with paint, text string) string {
	if !p || with == plain || text == "" {
		return text
	}
	return "\x1b[" + string(with) + "m" + text + "\x1b[0m"
}

// interactive reports whether a line on w can be written over.
func interactive(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// cell is one text in a table.
type cell struct {
	text  string
	paint paint
}

// table aligns its columns by what is seen, colours left out.
type table [][]cell

func (t *table) row(cells ...cell) { *t = append(*t, cells) }

func (t *table) head(titles ...string) {
	cells := make([]cell, len(titles))
	for i, title := range titles {
		cells[i] = cell{title, faint}
	}
	t.row(cells...)
}

func (t table) write(w io.Writer, p painter, indent string) {
	var widths []int
	for _, row := range t {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range t {
		var b strings.Builder
		gap := indent
		for i, c := range row {
			if c.text == "" {
				gap += strings.Repeat(" ", widths[i]+2)
				continue
			}
			b.WriteString(gap + p.paint(c.paint, c.text))
			gap = strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2)
		}
		fmt.Fprintln(w, b.String())
	}
}

// ago tells when something happened, seen from now.
func ago(now, at time.Time) string {
	d := now.Sub(at)
	switch {
	case at.IsZero():
		return ""
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", d/time.Hour)
	case d < 60*24*time.Hour:
		return fmt.Sprintf("%dd ago", d/(24*time.Hour))
	}
	return "on " + at.In(now.Location()).Format(time.DateOnly)
}

// lasted tells how long something takes or took, to what matters.
func lasted(d time.Duration) string {
	switch {
	case d <= 0:
		return "0s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// oneLine makes a reason fit for a line: it may come from an app's own output.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// clip is oneLine with an end.
func clip(s string, most int) string {
	s = oneLine(s)
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return strings.TrimRight(string([]rune(s)[:most-1]), " ") + "…"
}
