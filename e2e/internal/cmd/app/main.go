// Command app is the app that the end-to-end tests ship, and what builds it:
//
//	app build    in the source: puts the app, what it says and its packages into out/
//	app          serves what it says on PORT
//
// Being one static program it is toolchain and runtime at once, so that building
// a version takes no compiler and no time.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	do := serve
	if len(os.Args) > 1 && os.Args[1] == "build" {
		do = build
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

// build makes out/ from the source. A file called gate in the source names a
// file outside of it: the build says there that it has begun, and goes on when
// the file is gone. A file called takes says how long the build is to take.
func build() error {
	if err := waitAt("gate"); err != nil {
		return err
	}
	if takes, err := os.ReadFile("takes"); err == nil {
		delay, err := time.ParseDuration(strings.TrimSpace(string(takes)))
		if err != nil {
			return err
		}
		<-time.After(delay)
	}
	if _, err := os.Stat("broken"); err == nil {
		return errors.New("broken on purpose")
	}
	name, version := os.Getenv("TAGSHIP_APP"), os.Getenv("TAGSHIP_VERSION")
	mode, err := os.ReadFile("mode")
	if err != nil {
		return err
	}
	if err := os.MkdirAll("out", 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := copyFile(self, "out/app"); err != nil {
		return err
	}
	files := map[string]string{"out/mode": string(mode), "out/says": name + " " + version + "\n"}
	for _, part := range []string{"one", "two"} {
		files["out/"+name+"-"+part+"-"+version+".bin"] = Package(name, version, part)
	}
	for path, content := range files {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stdout, "built %s %s\n", name, version)
	return nil
}

// Package is what is in a package; the tests make the same.
func Package(app, version, part string) string {
	return strings.Repeat(fmt.Sprintf("%s %s %s\n", app, version, part), 1<<16)
}

func waitAt(file string) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	gate := strings.TrimSpace(string(content))
	if err := os.WriteFile(gate+".reached", nil, 0o644); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "waiting at the gate")
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		if _, err := os.Stat(gate); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func serve() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	says, err := os.ReadFile(filepath.Join(filepath.Dir(self), "says"))
	if err != nil {
		return err
	}
	mode, err := os.ReadFile(filepath.Join(filepath.Dir(self), "mode"))
	if err != nil {
		return err
	}
	healthy := strings.TrimSpace(string(mode)) == "healthy"
	fmt.Fprintf(os.Stdout, "%s starts, healthy: %t\n", strings.TrimSpace(string(says)), healthy)

	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !healthy {
			http.Error(w, "unhealthy on purpose", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(says) })
	server := &http.Server{Addr: ":" + os.Getenv("PORT"), Handler: mux, ReadHeaderTimeout: time.Minute}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return server.Shutdown(context.WithoutCancel(ctx))
	}
}
