// Command releaser puts versions into environments.
package main

import (
	"os"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/services/releaser"
)

func main() { os.Exit(daemon.Main(releaser.Name, releaser.Run)) }
