package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
)

// deadLetter is how `tagship dead list --json` tells a dead letter.
type deadLetter struct {
	Number   uint64          `json:"number"`
	At       time.Time       `json:"at"`
	Service  string          `json:"service"`
	Consumer string          `json:"consumer"`
	App      string          `json:"app"` // _ where the message does not say
	Subject  string          `json:"subject"`
	Origin   events.Cause    `json:"origin"`
	Attempts int             `json:"attempts"`
	Reason   string          `json:"reason"`
	Settled  *bus.Settlement `json:"settled,omitempty"`
}

func newDeadLetter(l bus.DeadLetter) deadLetter {
	return deadLetter{l.Seq, l.At.UTC(), l.Service, l.Consumer, l.App, l.Subject, l.Origin, l.Attempts, l.Reason, l.Settled}
}

func deadCommand(c Console) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "dead",
		Short: "Messages that were given up on: list, show, replay, drop",
		Long: `Messages that were given up on, because they could never work or did not work
for too long. Nothing of them is lost: once the reason is mended, replay puts a
message back for the very worker that gave up on it.`,
	})
	cmd.AddCommand(deadListCommand(c), deadShowCommand(c), deadSettleCommand(c, bus.Replayed), deadSettleCommand(c, bus.Dropped))
	return cmd
}

func deadListCommand(c Console) *cobra.Command {
	var conn connection
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dead letters, oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := conn.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer b.Close()
			letters, err := b.DeadLetters(cmd.Context())
			if err != nil {
				return err
			}
			if !all {
				letters = slices.DeleteFunc(letters, func(l bus.DeadLetter) bool { return l.Settled != nil })
			}
			if !asJSON {
				writeDead(c, letters, all)
				return nil
			}
			shown := make([]deadLetter, len(letters))
			for i, l := range letters {
				shown[i] = newDeadLetter(l)
			}
			return writeJSON(c.Out, shown)
		},
	}
	conn.register(cmd.Flags(), "f")
	cmd.Flags().BoolVar(&all, "all", false, "list those replayed or dropped too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func writeDead(c Console, letters []bus.DeadLetter, all bool) {
	switch {
	case len(letters) == 0 && all:
		fmt.Fprintln(c.Out, "no message was ever given up on")
		return
	case len(letters) == 0:
		fmt.Fprintln(c.Out, "no dead letters")
		return
	}
	var t table
	t.head("number", "given up", "by", "message", "attempts", "reason")
	for _, l := range letters {
		state := cell{clip(l.Reason, 120), plain}
		if l.Settled != nil {
			state = cell{fmt.Sprintf("%s by %s %s", l.Settled.Action, l.Settled.By, ago(c.Now(), l.Settled.At)), faint}
		}
		t.row(cell{strconv.FormatUint(l.Seq, 10), bold}, cell{ago(c.Now(), l.At), plain}, cell{l.Consumer, plain},
			cell{l.Subject, plain}, cell{strconv.Itoa(l.Attempts), plain}, state)
	}
	t.write(c.Out, painterFor(c.Out), "")
}

func deadShowCommand(c Console) *cobra.Command {
	var conn connection
	cmd := &cobra.Command{
		Use:   "show NUMBER",
		Short: "Show a dead letter with its message",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := parseNumbers(args)
			if err != nil {
				return err
			}
			b, err := conn.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer b.Close()
			l, err := b.DeadLetter(cmd.Context(), numbers[0])
			if err != nil {
				return describeDead(numbers[0], err)
			}
			showDead(c, l)
			return nil
		},
	}
	conn.register(cmd.Flags(), "f")
	return cmd
}

func showDead(c Console, l bus.DeadLetter) {
	at := func(t time.Time) string { return t.In(c.Now().Location()).Format("2006-01-02 15:04:05") }
	var t table
	row := func(title, text string) { t.row(cell{title, faint}, cell{text, plain}) }
	row("number", strconv.FormatUint(l.Seq, 10))
	row("given up", at(l.At))
	row("by", fmt.Sprintf("%s, consumer %s", l.Service, l.Consumer))
	row("reason", oneLine(l.Reason))
	row("attempts", strconv.Itoa(l.Attempts))
	row("message", fmt.Sprintf("%s (%s), stored %s", l.Subject, l.Origin, at(l.Stored)))
	for _, name := range slices.Sorted(maps.Keys(l.Header)) {
		if strings.HasPrefix(name, "Nats-") {
			continue // an instruction to JetStream, none of the message's own
		}
		row("header", name+": "+oneLine(strings.Join(l.Header[name], ", ")))
	}
	if l.Settled != nil {
		row("settled", fmt.Sprintf("%s by %s, %s", l.Settled.Action, l.Settled.By, at(l.Settled.At)))
	}
	t.write(c.Out, painterFor(c.Out), "")
	fmt.Fprintf(c.Out, "\n%s\n", body(l.Payload))
}

// body shows a message, whatever bytes it consists of.
func body(payload []byte) string {
	var indented bytes.Buffer
	if json.Indent(&indented, payload, "", "  ") == nil {
		return indented.String()
	}
	printable := func(r rune) bool { return r == '\n' || r == '\t' || strconv.IsPrint(r) }
	if utf8.Valid(payload) && strings.IndexFunc(string(payload), func(r rune) bool { return !printable(r) }) < 0 {
		return string(payload)
	}
	return strconv.QuoteToASCII(string(payload))
}

// deadSettleCommand makes replay and drop, which differ in one call.
func deadSettleCommand(c Console, action string) *cobra.Command {
	var conn connection
	var by string
	use, short := "replay NUMBER…", "Put messages back for the worker that gave up on them"
	settle := (*bus.Bus).Replay
	if action == bus.Dropped {
		use, short, settle = "drop NUMBER…", "Say that nothing is to be done about them; they stay in the record", (*bus.Bus).Drop
	}
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := parseNumbers(args)
			if err != nil {
				return err
			}
			b, err := conn.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer b.Close()
			return settleAll(cmd.Context(), c, numbers, action, func(ctx context.Context, n uint64) error {
				// Looked up for the words only; settling checks it again.
				if l, err := b.DeadLetter(ctx, n); err == nil && l.Settled != nil {
					return alreadySettled(c, l)
				}
				return settle(b, ctx, n, by)
			})
		},
	}
	conn.register(cmd.Flags(), "f")
	cmd.Flags().StringVar(&by, "by", currentUser(c), "who does it, for the record")
	return cmd
}

// settleAll goes on after a number that is refused, so that the others are settled.
func settleAll(ctx context.Context, c Console, numbers []uint64, action string, settle func(context.Context, uint64) error) error {
	var problems []error
	code := exitRefused
	for _, n := range numbers {
		err := describeDead(n, settle(ctx, n))
		if err == nil {
			fmt.Fprintf(c.Out, "%s dead letter %d\n", action, n)
			continue
		}
		problems = append(problems, err)
		if daemon.ExitCode(err) != exitRefused {
			code = daemon.ExitFailure
		}
	}
	return daemon.WithExit(code, errors.Join(problems...))
}

func describeDead(number uint64, err error) error {
	switch {
	case errors.Is(err, events.ErrNotRecorded):
		return refusedf("there is no dead letter %d; 'tagship dead list --all' lists them", number)
	case errors.Is(err, events.ErrConflict):
		return refusedf("somebody else has just settled dead letter %d; 'tagship dead show %d' tells how", number, number)
	}
	return err
}

func alreadySettled(c Console, l bus.DeadLetter) error {
	return refusedf("dead letter %d was %s already, by %s at %s", l.Seq, l.Settled.Action, l.Settled.By,
		l.Settled.At.In(c.Now().Location()).Format("2006-01-02 15:04:05"))
}

func parseNumbers(args []string) ([]uint64, error) {
	numbers := make([]uint64, len(args))
	for i, arg := range args {
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || n == 0 {
			return nil, usagef("%q is no number of a dead letter, expected one as 'tagship dead list' shows", arg)
		}
		numbers[i] = n
	}
	return numbers, nil
}
