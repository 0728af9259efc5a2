package cli

import (
	"fmt"
	"strings"

	"github.com/tagship/tagship/events"
)

// parseVersion reads the argument APP@VERSION.
func parseVersion(arg string) (app, version string, err error) {
	app, version, found := strings.Cut(arg, "@")
	if !found {
		return "", "", usagef("%q names no version, expected APP@VERSION such as web@v1.2.3", arg)
	}
	if err := events.CheckVersion(version); err != nil {
		return "", "", usagef("%q: the version %w", arg, err)
	}
	return app, version, checkApp(app)
}

func checkApp(app string) error {
	if err := events.CheckApp(app); err != nil {
		return usagef("the app %w", err)
	}
	return nil
}

// placeWord is what people call the place that a fact of the given stream names.
func placeWord(kind events.Kind) string {
	if strings.HasPrefix(string(kind), "cdn") {
		return "channel"
	}
	return "environment"
}

func checkPlace(kind events.Kind, place string) error {
	if err := events.CheckPlace(place); err != nil {
		return usagef("the %s %w", placeWord(kind), err)
	}
	return nil
}

// token is a name in a filter; any name if it is empty.
func token(name string) string {
	if name == "" {
		return "*"
	}
	return events.Escape(name)
}

// concerns tells what a subject is about; what it does not say is empty.
func concerns(subject string) (kind events.Kind, place, app, version string) {
	kind, names, err := events.ParseSubject(subject)
	if err != nil {
		return "", "", "", ""
	}
	placed := strings.HasPrefix(string(kind), "release") || strings.HasPrefix(string(kind), "cdn")
	switch {
	case placed && len(names) == 2:
		return kind, names[0], names[1], ""
	case placed:
		return kind, names[0], "", ""
	case len(names) == 2:
		return kind, "", names[0], names[1]
	}
	return kind, "", names[0], ""
}

// about names what is shipped, as people write it.
func about(app, version string) string {
	switch {
	case app == "" || app == events.Unknown:
		return "?"
	case version == "" || version == events.Unknown:
		return app
	}
	return fmt.Sprintf("%s@%s", app, version)
}
