package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// report is the table that is printed at the end.
type report struct {
	rows  []row
	notes []string
}

// row is one measured number. Cells that say nothing are empty.
type row struct {
	what     string
	measured string
	beside   string // what it is compared with
	ratio    string
	goal     string
	met      bool // of no meaning without a goal
}

func (r *report) add(rows ...row) { r.rows = append(r.rows, rows...) }

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *report) write(w io.Writer, began, ended conditions) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "WHAT\tMEASURED\tBESIDE\tRATIO\tGOAL\t")
	for _, row := range r.rows {
		goal := row.goal
		switch {
		case goal == "":
		case row.met:
			goal += "\tmet"
		default:
			goal += "\tmissed"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", row.what, row.measured, row.beside, row.ratio, goal)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	fmt.Fprintln(w)
	for _, note := range r.notes {
		fmt.Fprintln(w, note)
	}
	fmt.Fprintln(w, conditionsLine(began, ended))
	return nil
}

// number is what can be measured here.
type number interface{ ~int64 | ~float64 }

func median[N number](values []N) N { return percentile(values, 50) }

// percentile is the smallest value that p of 100 are not above.
func percentile[N number](values []N, p int) N {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// rate is how many per second.
func rate(n int, in time.Duration) float64 { return float64(n) / in.Seconds() }
