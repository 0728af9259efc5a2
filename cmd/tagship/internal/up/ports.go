package up

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
	"syscall"

	"github.com/google/renameio/v2"
	"github.com/tagship/tagship/daemon"
)

// ports remembers the ports that were chosen where the configuration says 0, so
// that an image's name, which holds the registry's port, stays true after a restart.
type ports struct {
	path   string
	chosen map[string]string
}

func loadPorts(dir string) (*ports, error) {
	p := &ports{path: filepath.Join(dir, "ports.json"), chosen: map[string]string{}}
	data, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the ports chosen before: %w", err)
	}
	if err := json.Unmarshal(data, &p.chosen); err != nil {
		return nil, fmt.Errorf("decode %s: %w", p.path, err)
	}
	return p, nil
}

// settle returns address with its port settled: a port 0 becomes a free one, the
// same every time for the same name.
func (p *ports) settle(name, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", daemon.WithExit(daemon.ExitUsage, fmt.Errorf("address %q of the %s: expected HOST:PORT such as 127.0.0.1:8080: %w", address, name, err))
	}
	if port != "0" {
		return address, nil
	}
	if chosen, ok := p.chosen[name]; ok {
		return net.JoinHostPort(host, chosen), nil
	}
	if port, err = chooseFree(host); err != nil {
		return "", fmt.Errorf("choose a port for %s: %w", name, err)
	}
	p.chosen[name] = port
	data, err := json.Marshal(p.chosen)
	if err != nil {
		return "", fmt.Errorf("encode the chosen ports: %w", err)
	}
	if err := renameio.WriteFile(p.path, data, 0o644); err != nil {
		return "", fmt.Errorf("remember the chosen ports: %w", err)
	}
	return net.JoinHostPort(host, port), nil
}

// The ports to choose from lie below those that systems hand out for outgoing
// connections (32768 and up on Linux, 49152 and up by RFC 6335), where a port
// that is free today may be in use for a moment at a later start, and beside
// those that the releaser's targets choose from.
const (
	firstChoice = 10000
	choices     = 10000
)

// chooseFree finds a port that nothing listens on.
func chooseFree(host string) (string, error) {
	for range choices {
		port := strconv.Itoa(firstChoice + rand.IntN(choices))
		l, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES) {
			continue
		}
		if err != nil {
			return "", err
		}
		return port, l.Close()
	}
	return "", fmt.Errorf("none from %d to %d is free", firstChoice, firstChoice+choices-1)
}
