// Command builder builds versions; see package builder.
package main

import (
	"os"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/services/builder"
)

func main() { os.Exit(daemon.Main(builder.Name, builder.Run)) }
