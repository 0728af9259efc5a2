// Command tagwatch watches git repositories for new tags.
package main

import (
	"os"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/services/tagwatch"
)

func main() { os.Exit(daemon.Main(tagwatch.Name, tagwatch.Run)) }
