package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/tagship/tagship/services/tagwatch/internal/spool"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

const (
	// archiveTries is how often a download that breaks off is begun.
	archiveTries = 3
	// archiveRedirects is how often a download may be sent on.
	archiveRedirects = 5
)

// archiverOptions are what an archiver needs.
type archiverOptions struct {
	Transport http.RoundTripper // without credentials
	UserAgent string
	Hosts     []string      // that archives may come from, with their ports where they are not the usual ones
	Plain     bool          // whether they may come by plain http, as where the API itself is
	Spool     string        // a folder for unfinished archives
	MaxBytes  int64         // how long an archive may be when compressed
	Timeout   time.Duration // for one archive, all tries together
}

// archiver downloads archives. Its methods may be called concurrently.
type archiver struct {
	archiverOptions
	client http.Client
	hosts  []string // host:port

	mu    sync.Mutex
	block block // by what an archive's host said
}

func newArchiver(o archiverOptions) *archiver {
	a := &archiver{archiverOptions: o}
	a.client = http.Client{Transport: o.Transport, CheckRedirect: a.checkRedirect}
	for _, host := range o.Hosts {
		host = strings.ToLower(host)
		if _, _, err := net.SplitHostPort(host); err == nil {
			a.hosts = append(a.hosts, host)
			continue
		}
		a.hosts = append(a.hosts, host+":443")
		if o.Plain {
			a.hosts = append(a.hosts, host+":80")
		}
	}
	return a
}

var (
	// errStale is wrapped by an error of a link that leads to no archive of the
	// commit, perhaps no more.
	errStale = errors.New("the link is of no use")
	// errCut is wrapped by an error of a download that broke off.
	errCut = errors.New("the download broke off")
)

// refusedError says that a download would have gone where it must not.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return e.reason }

// fetch downloads the archive of a commit by a link, which is asked for before
// each try since it is short-lived, and makes one as [watch.Host] wants it of
// it. The error is a [*watch.UnfitError] if the source is too large, and a
// [*watch.LimitError] if the host wants no requests; an error of link is passed on.
func (a *archiver) fetch(ctx context.Context, link func(context.Context) (*url.URL, error), commit string) (*watch.Archive, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, a.Timeout, fmt.Errorf("it took longer than %s", a.Timeout))
	defer cancel()
	stale := false
	for try := 1; ; try++ {
		archive, err := a.try(ctx, link, commit)
		switch {
		case err == nil:
			return archive, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("download the archive: %w", context.Cause(ctx))
		case errors.Is(err, errStale) && !stale:
			stale = true // it may have expired: once more with a fresh one
		case errors.Is(err, errCut) && try < archiveTries:
		default:
			return nil, fmt.Errorf("download the archive: %w", err)
		}
	}
}

func (a *archiver) try(ctx context.Context, link func(context.Context) (*url.URL, error), commit string) (_ *watch.Archive, err error) {
	if err := a.blocked(); err != nil {
		return nil, err
	}
	address, err := link(ctx)
	if err != nil {
		return nil, err
	}
	body, err := a.open(ctx, address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // it is read to its end, or given up on
	watched := &cuttable{r: body}
	zip, err := gzip.NewReader(watched)
	if errors.Is(err, gzip.ErrHeader) {
		return nil, fmt.Errorf("what %s sends is no archive", address.Host)
	}
	if err == nil {
		unpacked := &capped{r: zip, left: watch.MaxUnpacked}
		var archive *watch.Archive
		archive, err = spool.Pack(a.Spool, a.MaxBytes, func(tar io.Writer) error {
			return transcode(tar, unpacked, commit)
		})
		if err == nil {
			return archive, nil
		}
	}
	if watched.cut || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, cut(err)
	}
	return nil, err
}

// cut keeps no more of the cause than its words: its kind would say that it was
// the API that did not answer well.
func cut(cause error) error { return fmt.Errorf("%w: %s", errCut, cause.Error()) }

func tooLarge() error {
	return &watch.UnfitError{Reason: fmt.Sprintf("the source is longer than %d bytes when unpacked; keep large files elsewhere", int64(watch.MaxUnpacked))}
}

// open begins a download. Its errors do not repeat the address, which may have a
// token of its own in it.
func (a *archiver) open(ctx context.Context, address *url.URL) (io.ReadCloser, error) {
	if err := a.check(address); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("the link to %s is of no use", address.Host)
	}
	req.Header.Set("User-Agent", a.UserAgent)
	// Or net/http would unpack what is meant to stay packed.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := a.client.Do(req)
	if err != nil {
		if refused := new(refusedError); errors.As(err, &refused) {
			return nil, refused
		}
		if failed := new(url.Error); errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, cut(err)
	}
	if err := a.checkStatus(resp); err != nil {
		_ = resp.Body.Close() // nothing of it is of interest
		return nil, err
	}
	return resp.Body, nil
}

func (a *archiver) checkStatus(resp *http.Response) error {
	host, status := resp.Request.URL.Host, resp.StatusCode
	switch status {
	case http.StatusOK:
		return nil
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w: %s answers %d", errStale, host, status)
	case http.StatusTooManyRequests:
		now := time.Now()
		wait := cmp.Or(retryAfter(resp.Header, serverTime(resp.Header, now)), firstBlock)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.block.extend(now.Add(wait), host+" gives no more archives for now")
		return a.block.limit()
	}
	return fmt.Errorf("%s answers %d where an archive should be", host, status)
}

// blocked is a [*watch.LimitError] while an archive's host wants no requests.
func (a *archiver) blocked() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.block.limit()
}

// checkRedirect holds where a download is sent on to to the same rules.
func (a *archiver) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > archiveRedirects {
		return &refusedError{fmt.Sprintf("the archive is sent on more than %d times", archiveRedirects)}
	}
	req.Header.Del("Referer") // the link before may have a token in it
	return a.check(req.URL)
}

// check refuses addresses that no archive may come from: whoever can make GitHub
// point at a machine inside must not have it asked.
func (a *archiver) check(u *url.URL) error {
	if u.Scheme != "https" && (u.Scheme != "http" || !a.Plain) {
		return &refusedError{fmt.Sprintf("the archive is to come from %s by %s, expected https", u.Host, u.Scheme)}
	}
	if !slices.Contains(a.hosts, strings.ToLower(hostPort(u))) {
		return &refusedError{fmt.Sprintf("the archive is to come from %s; if that is right, add it to archive_hosts", u.Host)}
	}
	return nil
}

// capped reads what is unpacked, which may be much longer than what was sent.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, tooLarge()
	}
	return n, err
}

// cuttable remembers trouble of the download, among all the trouble there is with
// what is in it.
type cuttable struct {
	r   io.Reader
	cut bool
}

func (c *cuttable) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.cut = c.cut || err != nil && !errors.Is(err, io.EOF)
	return n, err
}
