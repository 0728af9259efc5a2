// Command server is the app that the tests release. It behaves as its
// environment tells it to.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func run() error {
	fmt.Println("starting", os.Getenv("TAGSHIP_VERSION"))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if wait, err := time.ParseDuration(os.Getenv("START_AFTER")); err == nil {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
	if after, err := time.ParseDuration(os.Getenv("CRASH_AFTER")); err == nil {
		time.AfterFunc(after, func() {
			fmt.Println("crashing on purpose")
			os.Exit(7)
		})
	}
	instance := rand.Text()
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("UNHEALTHY") != "" {
			http.Error(w, "unhealthy on purpose", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %s %s", os.Getenv("TAGSHIP_VERSION"), os.Getenv("TAGSHIP_ENV"), instance)
	})
	server := &http.Server{Addr: ":" + os.Getenv("PORT"), Handler: mux, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		return errors.Join(server.Shutdown(context.Background()))
	}
}
