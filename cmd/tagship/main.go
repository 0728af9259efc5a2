// Command tagship is the command line of Tagship; see 'tagship help'.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tagship/tagship/cmd/tagship/internal/cli"
	"github.com/tagship/tagship/cmd/tagship/internal/demo"
	"github.com/tagship/tagship/cmd/tagship/internal/up"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from here on a second signal kills
	return cli.Run(ctx, cli.Console{Out: stdout, Err: stderr, Getenv: os.LookupEnv, Now: time.Now}, args, up.Command(), demo.Command())
}
