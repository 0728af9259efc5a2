package cli

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/tagship/tagship/services/tagwatch"
)

// Status is what `tagship status --json` prints. Fields are only ever added.
type Status struct {
	At          time.Time    `json:"at"`
	Apps        []AppStatus  `json:"apps"`
	InFlight    []Step       `json:"in_flight"`
	Problems    []Problem    `json:"problems"`
	Retrying    []Retry      `json:"retrying"`
	DeadLetters []deadLetter `json:"dead_letters"` // those nobody has replayed or dropped
	Services    []Answering  `json:"services"`
	// Hosts are where repositories are: how the last sweep over them went, and what is left of budgets.
	Hosts []tagwatch.HostStatus `json:"hosts,omitempty"`
	// Groups are the owners whose every repository is watched.
	Groups []GroupStatus `json:"groups,omitempty"`
	// Malformed are messages that somebody stored on subjects of facts.
	Malformed []NotUnderstood `json:"malformed,omitempty"`
}

// NotUnderstood is a message on a fact's subject that is no fact.
type NotUnderstood struct {
	Message string    `json:"message"` // where it is stored: stream and sequence
	Subject string    `json:"subject"`
	At      time.Time `json:"at"`
	Error   string    `json:"error"`
}

// AppStatus is where an app's versions are.
type AppStatus struct {
	App          string      `json:"app"`
	Repository   *Repository `json:"repository,omitempty"` // absent if tagwatch does not watch it
	Seen         *Version    `json:"seen,omitempty"`       // the newest
	Built        *Version    `json:"built,omitempty"`      // the newest
	Environments []Place     `json:"environments"`         // what runs where
	Channels     []Place     `json:"channels"`             // what is published where
}

// Repository is what tagwatch says of an app's repository.
type Repository struct {
	Repo       string    `json:"repo"`
	Configured string    `json:"configured,omitempty"` // what the configuration calls it, where that is another name
	RepoID     string    `json:"repo_id,omitempty"`    // what its host knows it by
	Tags       string    `json:"tags"`
	BaselineAt time.Time `json:"baseline_at,omitzero"` // zero before the first look has succeeded
	Note       string    `json:"note,omitempty"`       // what is worth a thought, though nothing failed
	Error      string    `json:"error,omitempty"`      // why the last look failed
	ErrorSince time.Time `json:"error_since,omitzero"`
}

// GroupStatus is what tagwatch says of an owner whose every repository it watches.
type GroupStatus struct {
	Group        string `json:"group"`
	Repositories int    `json:"repositories"` // that are watched as apps
	Repository
}

// Version is a version and when it came to be.
type Version struct {
	Version string    `json:"version"`
	At      time.Time `json:"at"`
}

// Place is the newest version that runs in an environment or is published to a channel.
type Place struct {
	Name      string    `json:"name"`
	Version   string    `json:"version,omitempty"` // empty while the first one is in flight
	At        time.Time `json:"at,omitzero"`
	Address   string    `json:"address,omitempty"`
	Instances int       `json:"instances,omitempty"`

	order int // of environments, in the order of promotion
}

// Step is a build, release or publication that has not ended.
type Step struct {
	Step    string    `json:"step"` // build, release or cdn
	App     string    `json:"app"`
	Version string    `json:"version"`
	Place   string    `json:"place,omitempty"` // environment or channel
	State   string    `json:"state"`           // waiting or started
	Since   time.Time `json:"since"`
	By      string    `json:"by,omitempty"`
}

// Problem is what failed or was refused and has not been mended since.
type Problem struct {
	// Kind is that of the fact, such as release.failed, or "repository" for one that
	// cannot be read. Without an app that is all of a host, which is the place.
	Kind    string    `json:"kind"`
	App     string    `json:"app"`
	Version string    `json:"version,omitempty"`
	Place   string    `json:"place,omitempty"`
	Reason  string    `json:"reason"`
	Running string    `json:"running,omitempty"` // what runs after a release that failed
	At      time.Time `json:"at"`
	By      string    `json:"by,omitempty"`
}

// Retry is a message that failed and is going to be tried again.
type Retry struct {
	Consumer string    `json:"consumer"`
	Subject  string    `json:"subject"`
	Failures int       `json:"failures"`
	Error    string    `json:"error"` // of the last attempt
	Next     time.Time `json:"next"`
}

// Answering is a service that answers.
type Answering struct {
	Name      string `json:"name"`
	Processes int    `json:"processes"`
}

func statusCommand(c Console) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [APP]",
		Short: "What runs where, what is in flight, what failed and why",
		Long: `What runs where, what is in flight, what failed and why.

What failed is shown until something newer succeeds there; what was refused, for
a day; a tag that moved or is gone, for a week.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			app := ""
			if len(args) == 1 {
				app = args[0]
				if err := checkApp(app); err != nil {
					return err
				}
			}
			b, err := conn.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer b.Close()
			s, err := readStatus(cmd.Context(), b, app, c.Now())
			if err != nil {
				return err
			}
			if app != "" && s.empty() {
				return refusedf("nothing is recorded about an app %s; 'tagship status' shows those there are", app)
			}
			if asJSON {
				return writeJSON(c.Out, s)
			}
			writeStatus(c, s, app != "")
			return nil
		},
	}
	conn.register(cmd.Flags(), "f")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func (s *Status) empty() bool {
	return len(s.Apps) == 0 && len(s.Groups) == 0 && len(s.InFlight) == 0 && len(s.Problems) == 0 && len(s.Retrying) == 0 && len(s.DeadLetters) == 0
}
