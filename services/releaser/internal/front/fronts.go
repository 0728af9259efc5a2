package front

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"go.uber.org/zap"
)

// Options say where the apps of one environment answer.
type Options struct {
	Env     string
	Listen  string         // the address to listen on, such as 127.0.0.1
	Ports   map[string]int // the configured port of an app; others get a free one
	Setting string         // the name of Ports in the configuration, for messages
	Dir     string         // where the free ports that were chosen are remembered
	Log     *zap.Logger
}

// Fronts are the fronts of the apps of one environment. Safe for concurrent use.
type Fronts struct {
	opts   Options
	mu     sync.Mutex
	open   map[string]*Front
	chosen map[string]int
}

// portsFile is where the free ports that were chosen are remembered.
const portsFile = "ports.json"

// New reads which ports were chosen before. No port is opened yet.
func New(opts Options) (*Fronts, error) {
	f := &Fronts{opts: opts, open: map[string]*Front{}, chosen: map[string]int{}}
	text, err := os.ReadFile(f.file())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, fmt.Errorf("read the chosen ports: %w", err)
	}
	if err := json.Unmarshal(text, &f.chosen); err != nil {
		return nil, fmt.Errorf("read the chosen ports in %s: %w; delete the file to have new ones chosen", f.file(), err)
	}
	return f, nil
}

func (f *Fronts) file() string { return filepath.Join(f.opts.Dir, portsFile) }

// TakenError says that an app's port belongs to another program.
type TakenError struct {
	Env, App, Setting, Addr string
	err                     error
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("%s in %s cannot answer on %s: %s; stop what uses the port, or set another at %s.%s",
		e.App, e.Env, e.Addr, e.err, e.Setting, e.App)
}

// Unwrap returns what the system said.
func (e *TakenError) Unwrap() error { return e.err }

// Open listens on the app's port, if that is not done yet. The error is a
// [*TakenError] if another program has the port.
func (f *Fronts) Open(app string) (*Front, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if front, is := f.open[app]; is {
		return front, nil
	}
	listener, err := f.listen(app)
	if err != nil {
		return nil, err
	}
	front := newFront(app, listener, f.opts.Log.With(zap.String("env", f.opts.Env), zap.String("app", app)))
	f.open[app] = front
	return front, nil
}

// Get is the app's front; nil if none is open.
func (f *Fronts) Get(app string) *Front {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open[app]
}

// Address is where an app answers, for people; http says that it is a URL.
func (f *Fronts) Address(app string, http bool) string {
	front := f.Get(app)
	if front == nil {
		return ""
	}
	host := f.opts.Listen
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	addr := net.JoinHostPort(host, strconv.Itoa(front.Port()))
	if http {
		return "http://" + addr
	}
	return addr
}

// Shut closes the front of an app that runs no more.
func (f *Fronts) Shut(app string) error {
	f.mu.Lock()
	front := f.open[app]
	delete(f.open, app)
	f.mu.Unlock()
	if front == nil {
		return nil
	}
	return front.Close()
}

// Close closes all fronts.
func (f *Fronts) Close() error {
	f.mu.Lock()
	open := f.open
	f.open = map[string]*Front{}
	f.mu.Unlock()
	var (
		closing  sync.WaitGroup
		mu       sync.Mutex
		problems []error
	)
	for _, front := range open {
		closing.Go(func() {
			err := front.Close()
			mu.Lock()
			defer mu.Unlock()
			problems = append(problems, err)
		})
	}
	closing.Wait()
	return errors.Join(problems...)
}

func (f *Fronts) listen(app string) (net.Listener, error) {
	port, fixed := f.opts.Ports[app]
	if !fixed {
		port, fixed = f.chosen[app]
	}
	if !fixed {
		return f.choose(app)
	}
	return f.bind(app, port)
}

func (f *Fronts) bind(app string, port int) (net.Listener, error) {
	addr := net.JoinHostPort(f.opts.Listen, strconv.Itoa(port))
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		var system *os.SyscallError
		if errors.As(err, &system) {
			err = system.Err
		}
		return nil, &TakenError{Env: f.opts.Env, App: app, Setting: f.opts.Setting, Addr: addr, err: err}
	}
	return listener, nil
}

// The ports to choose from lie below those that systems hand out for outgoing
// connections (32768 and up on Linux, 49152 and up by RFC 6335), where a port
// that was free yesterday may be in use for a moment today.
const (
	firstChoice = 20000
	choices     = 10000
)

// choose finds a free port and remembers it. It begins anywhere, so that two
// installations on one machine do not take each other's ports while one is stopped.
func (f *Fronts) choose(app string) (net.Listener, error) {
	begin := rand.IntN(choices)
	for i := range choices {
		port := firstChoice + (begin+i)%choices
		if f.promised(port) {
			continue
		}
		listener, err := f.bind(app, port)
		if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := f.remember(app, port); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		return listener, nil
	}
	return nil, fmt.Errorf("no port from %d to %d is free for %s in %s; set one at %s.%s", firstChoice, firstChoice+choices-1, app, f.opts.Env, f.opts.Setting, app)
}

// promised reports whether a port belongs to another app, which may not be open yet.
func (f *Fronts) promised(port int) bool {
	for _, taken := range f.chosen {
		if taken == port {
			return true
		}
	}
	for _, taken := range f.opts.Ports {
		if taken == port {
			return true
		}
	}
	return false
}

func (f *Fronts) remember(app string, port int) error {
	f.chosen[app] = port
	text, err := json.MarshalIndent(f.chosen, "", "  ")
	if err != nil {
		return fmt.Errorf("remember the port of %s: %w", app, err)
	}
	if err := replaceFile(f.file(), append(text, '\n')); err != nil {
		delete(f.chosen, app)
		return fmt.Errorf("remember the port of %s: %w", app, err)
	}
	return nil
}

// replaceFile writes a file so that it is there either as before or complete.
func replaceFile(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	fresh, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(fresh.Name()) }() // it is gone already if all went well
	_, err = fresh.Write(text)
	if err == nil {
		err = fresh.Sync()
	}
	if err = errors.Join(err, fresh.Close()); err != nil {
		return err
	}
	return os.Rename(fresh.Name(), name)
}
