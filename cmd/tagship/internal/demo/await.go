package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tagship/tagship/cmd/tagship/internal/tell"
	"github.com/tagship/tagship/events"
)

// await waits for a fact about web or agent, of the given version if it is not
// empty, or for a fact which says that it will not come.
func (d *demo) await(ctx context.Context, subject, version string) (events.Fact, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	results := make(chan error, 4)
	var found events.Fact
	for _, filter := range []string{"tag.>", "build.>", "release.>", "cdn.>"} {
		go func() {
			for recorded, err := range d.bus.Follow(ctx, filter, time.Time{}.AddDate(2000, 0, 0)) {
				switch {
				case err != nil:
					results <- err
					return
				case recorded.Fact.Subject() == subject && (version == "" || versionOf(recorded.Fact) == version):
					found = recorded.Fact
					results <- nil
					return
				}
				if about, text, mood := tell.Fact(recorded.Fact); mood == tell.Bad {
					results <- fmt.Errorf("%s %s", about, text)
					return
				}
			}
		}()
	}
	select {
	case err := <-results:
		return found, err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for %s: %w", subject, context.Cause(ctx))
	}
}

func versionOf(f events.Fact) string {
	switch f := f.(type) {
	case *events.ReleaseDone:
		return f.Version
	case *events.CDNDone:
		return f.Version
	}
	return ""
}

// answers waits until what was released says the wanted words.
func (d *demo) answers(ctx context.Context, release *events.ReleaseDone, want string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(soon)
	defer tick.Stop()
	for {
		body, err := get(ctx, release.Address)
		if err == nil && strings.TrimSpace(string(body)) == want {
			d.say("%s answers: %s", release.Address, want)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s answers %q (%w), expected %q", release.Address, body, err, want)
		}
	}
}

// downloaded waits for the agent's packages and checks every byte of them.
func (d *demo) downloaded(ctx context.Context) error {
	fact, err := d.await(ctx, "cdn.done.beta.agent", "v1.0.0")
	if err != nil {
		return err
	}
	done, ok := fact.(*events.CDNDone)
	if !ok {
		return fmt.Errorf("expected the packages to be published, got %s", fact.Subject())
	}
	for _, file := range done.Files {
		if path.Base(file.URL) == "SHA256SUMS" {
			continue // what the others are checked against
		}
		sums, err := get(ctx, file.URL[:strings.LastIndexByte(file.URL, '/')]+"/SHA256SUMS")
		if err != nil {
			return err
		}
		body, err := get(ctx, file.URL)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		digest := hex.EncodeToString(sum[:])
		if "sha256:"+digest != file.Digest || !bytes.Contains(sums, []byte(digest+"  "+path.Base(file.URL))) {
			return fmt.Errorf("download %s has checksum %s, expected %s and a line in SHA256SUMS", file.URL, digest, file.Digest)
		}
		d.say("%s downloads, %d bytes, checksum as published", file.URL, len(body))
	}
	return nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return body, fmt.Errorf("get %s: %s", url, response.Status)
	}
	return body, nil
}

// load is a stream of requests that nobody may notice a release in.
type load struct {
	cancel   context.CancelFunc
	requests atomic.Int64
	failed   atomic.Int64
	workers  sync.WaitGroup
	mu       sync.Mutex
	first    error
}

func startLoad(ctx context.Context, url string) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel}
	for range 4 {
		l.workers.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				l.one(ctx, url)
				<-pace.C
			}
		})
	}
	return l
}

func (l *load) one(ctx context.Context, url string) {
	_, err := get(ctx, url)
	if ctx.Err() != nil {
		return
	}
	l.requests.Add(1)
	if err != nil {
		l.failed.Add(1)
		l.mu.Lock()
		l.first = errors.Join(l.first, err)
		l.mu.Unlock()
	}
}

func (l *load) report(say func(string, ...any)) error {
	l.cancel()
	l.workers.Wait()
	if failed := l.failed.Load(); failed > 0 {
		return fmt.Errorf("%d of %d requests failed during the release: %w", failed, l.requests.Load(), l.first)
	}
	say("%d requests during the release, none failed", l.requests.Load())
	return nil
}
