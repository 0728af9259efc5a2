// Package health asks an instance whether it is healthy.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// timeout is how long an instance may take to answer.
const timeout = 3 * time.Second

// Prober asks instances. It keeps no connection open between two probes, so that
// each one proves that the instance still accepts connections. It is safe for
// concurrent use.
type Prober struct {
	client *http.Client
	dialer net.Dialer
}

// NewProber makes a prober.
func NewProber() *Prober {
	return &Prober{
		client: &http.Client{
			Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil},
			// A redirect is an answer: it counts as healthy, wherever it leads.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Probe returns nil if the instance that listens on addr (host:port) is healthy:
// if it answers a GET of the path with 2xx or 3xx or, where the path is empty,
// accepts a connection. Else the error says what was found.
func (p *Prober) Probe(ctx context.Context, addr, path string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	err := p.probe(ctx, addr, path)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (p *Prober) probe(ctx context.Context, addr, path string) error {
	if path == "" {
		conn, err := p.dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return reason(err)
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	req.Header.Set("User-Agent", "tagship-health")
	resp, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, reason(err))
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // only shown; the status decides
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("GET %s answered %d %q", path, resp.StatusCode, body)
	}
	return nil
}

// reason leaves out the address, which means nothing to people: it was chosen at random.
func reason(err error) error {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return network.Err
	}
	return err
}
