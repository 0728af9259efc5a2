package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/tagship/tagship/events/bus"
)

// stageLag is how `tagship lag --json` tells how far a stage is behind.
type stageLag struct {
	Consumer    string  `json:"consumer"`
	Stream      string  `json:"stream"`
	Waiting     uint64  `json:"waiting"`        // not taken up yet
	InWork      int     `json:"in_work"`        // taken up and not ended
	Retrying    int     `json:"retrying"`       // of those in work, failed and to be tried again
	Oldest      float64 `json:"oldest_seconds"` // age of the oldest message that is not ended
	IdleWorkers int     `json:"idle_workers"`   // that ask for work at this moment
}

func lagCommand(c Console) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "lag",
		Short: "How far each stage is behind",
		Long: `How far each stage is behind.

  waiting   not taken up yet
  in work   taken up and not ended, those to be tried again included
  retrying  failed, and to be tried again
  oldest    age of the oldest message that is not ended
  idle      workers that ask for work at this moment`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := conn.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer b.Close()
			lags, err := b.Lags(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.Out, lagJSON(lags))
			}
			writeLag(c, lags)
			return nil
		},
	}
	conn.register(cmd.Flags(), "f")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func lagJSON(lags []bus.Lag) []stageLag {
	all := make([]stageLag, len(lags))
	for i, l := range lags {
		all[i] = stageLag{l.Consumer, l.Stream, l.Waiting, l.InWork, l.Retrying, l.Oldest.Seconds(), l.Workers}
	}
	return all
}

func writeLag(c Console, lags []bus.Lag) {
	if len(lags) == 0 {
		fmt.Fprintln(c.Out, "no service has worked here yet: start them with 'tagship up', or each by itself")
		return
	}
	var t table
	t.head("stage", "stream", "waiting", "in work", "retrying", "oldest", "idle")
	for _, l := range lags {
		oldest := "-"
		if l.Oldest > 0 {
			oldest = lasted(l.Oldest)
		}
		t.row(cell{l.Consumer, bold}, cell{l.Stream, plain}, number(int(l.Waiting), yellow), number(l.InWork, plain),
			number(l.Retrying, red), cell{oldest, plain}, cell{strconv.Itoa(l.Workers), plain})
	}
	t.write(c.Out, painterFor(c.Out), "")
	for _, l := range lags {
		if l.Waiting > 0 && l.Workers == 0 && l.InWork == 0 {
			fmt.Fprintf(c.Out, "\nnobody works for %s: is the service running? See 'tagship status'\n", l.Consumer)
		}
	}
}

func number(n int, painted paint) cell {
	if n == 0 {
		return cell{"0", plain}
	}
	return cell{strconv.Itoa(n), painted}
}
