package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
)

func checkCommand(c Console) *cobra.Command {
	var recipe bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the configuration, or a recipe, and report every problem at once",
		Long: `Check the configuration, or a recipe, and report every problem at once.

FILE is a configuration file, a recipe ` + events.RecipeFile + `, or a folder with a recipe in
it. Default: ` + defaultConfig + `, or with --recipe ` + events.RecipeFile + `. Nothing is connected to.`,
		Example: "  tagship check\n  tagship check --recipe ../web",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			path, isRecipe := whatToCheck(path, recipe)
			var report string
			var err error
			if isRecipe {
				report, err = checkRecipe(path)
			} else {
				report, err = checkConfig(path, c.Getenv)
			}
			if err != nil {
				return describeProblems(c, path, err)
			}
			fmt.Fprintln(c.Out, report)
			return nil
		},
	}
	cmd.Flags().BoolVar(&recipe, "recipe", false, "check a recipe")
	return cmd
}

func whatToCheck(path string, recipe bool) (string, bool) {
	switch {
	case path == "" && !recipe:
		return defaultConfig, false
	case path == "":
		return events.RecipeFile, true
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, events.RecipeFile), true
	}
	return path, recipe || filepath.Base(path) == events.RecipeFile
}

// describeProblems prints a line for each problem, ready for an editor to jump
// to, and returns an error that sums them up.
func describeProblems(c Console, path string, err error) error {
	var problems config.Problems
	if !errors.As(err, &problems) {
		if errors.Is(err, fs.ErrNotExist) {
			return usagef("%s does not exist: name the file to check, or see docs/configuration.md for how to write one", path)
		}
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	for _, p := range problems {
		fmt.Fprintln(c.Err, p.Error())
	}
	if len(problems) == 1 {
		return usagef("1 problem in %s", path)
	}
	return usagef("%d problems in %s", len(problems), path)
}

func checkConfig(path string, getenv config.Lookup) (report string, err error) {
	file, err := config.Load(path, getenv)
	if err != nil {
		return "", err
	}
	s, there, err := readConfigured(file)
	if err != nil {
		return "", err
	}
	checked, absent := []string{}, []string{}
	for _, one := range s.all() {
		if there[one.name] || one.name == "nats" {
			checked = append(checked, one.name)
		} else {
			absent = append(absent, one.name)
		}
	}
	report = fmt.Sprintf("%s: no problem in %s", path, strings.Join(checked, ", "))
	if len(absent) > 0 {
		report += fmt.Sprintf("; there is no %s", strings.Join(absent, ", "))
	}
	return report + filledIn(s, there), nil
}

// filledIn tells what is missing in a section that 'tagship up' has and a
// service by itself has not.
func filledIn(s *sections, there map[string]bool) string {
	var notes strings.Builder
	for _, one := range s.all() {
		section, ok := one.into.(interface{ Complete() error })
		if !ok || !there[one.name] {
			continue
		}
		if err := section.Complete(); err != nil {
			for line := range strings.Lines(err.Error()) {
				fmt.Fprintf(&notes, "\nnote: %s; 'tagship up' fills it in, the service by itself needs it", strings.TrimSpace(line))
			}
		}
	}
	return notes.String()
}

// readConfigured reads the sections that are there, and tells which they are: a
// machine's file may leave out those of services that run elsewhere.
func readConfigured(file *config.File) (*sections, map[string]bool, error) {
	there := sectionsOf(file)
	var s sections
	errs := []error{file.Unknown(daemon.Sections()...)}
	for _, one := range s.all() {
		if there[one.name] || one.name == "nats" {
			errs = append(errs, file.Section(one.name, one.into))
		}
	}
	return &s, there, config.Join(errs...)
}

// sectionsOf lists the top-level sections of a file.
func sectionsOf(file *config.File) map[string]bool {
	names := map[string]bool{}
	var all config.Problems
	if errors.As(file.Unknown(), &all) {
		for _, p := range all {
			names[p.Path] = true
		}
	}
	return names
}

func checkRecipe(path string) (report string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read recipe: %w", err)
	}
	var r events.Recipe
	if err := config.Decode(path, data, &r, nil); err != nil {
		return "", err
	}
	var parts []string
	if r.Image != nil {
		parts = append(parts, fmt.Sprintf("an image of %s", count(len(r.Image.Layers), "layer")))
	}
	if len(r.Packages) > 0 {
		parts = append(parts, count(len(r.Packages), "package"))
	}
	if r.Deploy != nil {
		parts = append(parts, "deployed as "+count(r.Deploy.Instances, "instance"))
	}
	return fmt.Sprintf("%s: no problem; %s", path, strings.Join(parts, ", ")), nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
