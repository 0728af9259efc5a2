// Package recipe reads an app's recipe, .tagship.yaml, as strangers wrote it:
// strictly, and with nothing in it expanded.
package recipe

import (
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
)

// Read reads the text of a recipe. Name stands for the file in the error, which
// is [config.Problems]: every problem, with its line.
func Read(name string, text []byte) (events.Recipe, error) {
	var r events.Recipe
	// Without a lookup ${NAME} stays text: a repository must not read this
	// process's environment or files.
	if err := config.Decode(name, text, &r, nil); err != nil {
		return events.Recipe{}, err
	}
	return r, nil
}
