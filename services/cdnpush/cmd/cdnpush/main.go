// Command cdnpush publishes packages; see package cdnpush.
package main

import (
	"os"

	"github.com/tagship/tagship/daemon"
	"github.com/tagship/tagship/services/cdnpush"
)

func main() { os.Exit(daemon.Main(cdnpush.Name, cdnpush.Run)) }
