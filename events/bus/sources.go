package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"
)

// Source code is kept in an object store under its digest. A put that is not
// paced overruns a server that syncs every write, and a get without a deadline
// is cut off after 5 s, so both get theirs here.
const (
	sourceRate    = 48 << 20 // bytes a second
	sourceBurst   = 8 << 20
	sourceTimeout = 30 * time.Minute
	sourceEnding  = 5 * time.Minute // before its end, an archive is not handed out any more
)

// PutSource stores an archive under its digest ("sha256:…"), unless it is there
// already. It fails if the content has another digest.
func (b *Bus) PutSource(ctx context.Context, digest string, r io.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	store, err := b.sources(ctx)
	if err != nil {
		return fmt.Errorf("store source %s: %w", digest, err)
	}
	err = b.ask(ctx, askAbout("OBJ_"+bucketSources), func(ctx context.Context) error {
		if _, err := store.GetInfo(ctx, digest); err == nil {
			return nil
		}
		paced := &pacedReader{ctx: ctx, r: newVerifier(r, digest), limit: rate.NewLimiter(sourceRate, sourceBurst)}
		_, err := store.Put(ctx, jetstream.ObjectMeta{Name: digest}, paced)
		return err
	})
	if err != nil {
		return fmt.Errorf("store source %s: %w", digest, err)
	}
	return nil
}

// HasSource reports whether there is an archive with the given digest, one that
// is about to end included.
func (b *Bus) HasSource(ctx context.Context, digest string) (bool, error) {
	_, _, err := b.findSource(ctx, digest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for source %s: %w", digest, err)
	}
	return true, nil
}

// GetSource returns the archive with the given digest. Reading it to the end
// fails if the content is not what the digest says. The error wraps
// [fs.ErrNotExist] if there is no such archive, or soon will be none.
func (b *Bus) GetSource(ctx context.Context, digest string) (io.ReadCloser, error) {
	store, ends, err := b.findSource(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("get source %s: %w", digest, err)
	}
	// Its content ends before its name does, and who reads what is not there would wait in vain.
	if !ends.IsZero() && time.Until(ends) < sourceEnding {
		return nil, fmt.Errorf("get source %s: it is about to end: %w", digest, fs.ErrNotExist)
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	object, err := store.Get(ctx, digest)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("get source %s: %w", digest, missingSource(err))
	}
	return &source{Reader: newVerifier(object, digest), object: object, cancel: cancel}, nil
}

// findSource looks for an archive, and tells when it ends; zero for never.
func (b *Bus) findSource(ctx context.Context, digest string) (store jetstream.ObjectStore, ends time.Time, err error) {
	if store, err = b.sources(ctx); err != nil {
		return nil, time.Time{}, err
	}
	var absent error
	err = b.askWithRetry(ctx, askAbout("OBJ_"+bucketSources), func(ctx context.Context) error {
		info, err := store.GetInfo(ctx, digest)
		if errors.Is(err, jetstream.ErrObjectNotFound) {
			absent = missingSource(err)
			return nil
		}
		if err != nil {
			return err
		}
		status, err := store.Status(ctx)
		if err == nil && status.TTL() > 0 {
			ends = info.ModTime.Add(status.TTL())
		}
		return err
	})
	return store, ends, errors.Join(absent, err)
}

func missingSource(err error) error {
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

func (b *Bus) sources(ctx context.Context) (store jetstream.ObjectStore, err error) {
	err = b.askWithRetry(ctx, askAbout("OBJ_"+bucketSources), func(ctx context.Context) (err error) {
		store, err = b.js.ObjectStore(ctx, bucketSources)
		return err
	})
	return store, err
}

type source struct {
	io.Reader
	object io.Closer
	cancel context.CancelFunc
}

func (s *source) Close() error {
	defer s.cancel()
	return s.object.Close()
}

// verifier fails at the end of a reader whose content has another digest.
type verifier struct {
	r      io.Reader
	sum    hash.Hash
	digest string
}

func newVerifier(r io.Reader, digest string) *verifier {
	return &verifier{r: r, sum: sha256.New(), digest: digest}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := "sha256:" + hex.EncodeToString(v.sum.Sum(nil)); got != v.digest {
			return n, fmt.Errorf("the content has digest %s", got)
		}
	}
	return n, err
}

type pacedReader struct {
	ctx   context.Context
	r     io.Reader
	limit *rate.Limiter
}

func (p *pacedReader) Read(buf []byte) (int, error) {
	n, err := p.r.Read(buf[:min(len(buf), sourceBurst)])
	if waitErr := p.limit.WaitN(p.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}
