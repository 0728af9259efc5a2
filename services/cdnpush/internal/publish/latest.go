package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tagship/tagship/events"
)

// Pointer is the content of latest.json: which version of an app a channel
// offers, and where its files are.
type Pointer struct {
	App     string        `json:"app"`
	Version string        `json:"version"`
	Files   []PointerFile `json:"files"`
	At      time.Time     `json:"at"` // when the pointer was set
	// TagSeq orders versions, as in build.done.
	TagSeq uint64 `json:"tag_seq"`
	// Asked is when that was asked for, by a person if Requested is set.
	Asked     time.Time `json:"asked"`
	Requested bool      `json:"requested,omitempty"`
}

// PointerFile is one file of the version that a [Pointer] names.
type PointerFile struct {
	Name   string `json:"name"`
	URL    string `json:"url"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// outranks tells whether a publication moves a pointer.
//
// Promotion moves it forward only: to a version whose tag was seen later. A
// person may move it to any version, also back; promotion then leaves it there
// until something is promoted that came after the person's request. A request
// that is overtaken, because it was handled late, counts as promotion.
func (pub publication) outranks(current Pointer) bool {
	if pub.asked.After(current.Asked) && pub.requested {
		return pub.build.Version != current.Version
	}
	held := current.Requested && current.Asked.After(pub.asked)
	return pub.build.TagSeq > current.TagSeq && !held
}

// pointers are an app's two pointers as they are in the store.
type pointers struct {
	current Pointer
	json    Revision
	version string // in the plain pointer
	text    Revision
}

// readPointers reads the plain pointer first: whoever replaces it after a
// decision made here has then based that decision on a later state of the other.
func (pub publication) readPointers(ctx context.Context) (pointers, error) {
	var have pointers
	text, revision, err := pub.store.Read(ctx, pub.pointerKey(latestText))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return have, err
	}
	have.version, have.text = string(text), revision
	key := pub.pointerKey(latestJSON)
	body, revision, err := pub.store.Read(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return have, nil
	}
	if err != nil {
		return have, err
	}
	have.json = revision
	if err := json.Unmarshal(body, &have.current); err != nil || have.current.Version == "" {
		return have, &failure{fmt.Sprintf("%s in the store is not what Tagship wrote there (%v): move it away, then request the publication again", key, err)}
	}
	return have, nil
}

// latestDue tells whether the publication will move a pointer.
func (pub publication) latestDue(ctx context.Context) (bool, error) {
	have, err := pub.readPointers(ctx)
	return pub.outranks(have.current) || have.version != textOf(have.current), err
}

// moveLatest makes both pointers name the version, unless they name one that
// outranks it, and tells whether they name it now. latest.json is what decides;
// the plain pointer follows it, also where a predecessor was killed in between.
func (pub publication) moveLatest(ctx context.Context, files []file) (bool, error) {
	for {
		moved, err := pub.tryMoveLatest(ctx, files)
		if !errors.Is(err, events.ErrConflict) {
			return moved, err
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
	}
}

func (pub publication) tryMoveLatest(ctx context.Context, files []file) (bool, error) {
	have, err := pub.readPointers(ctx)
	if err != nil {
		return false, err
	}
	now := have.current
	if pub.outranks(now) {
		now = pub.pointer(files)
		body, err := json.MarshalIndent(now, "", "  ")
		if err != nil {
			return false, fmt.Errorf("encode %s: %w", latestJSON, err)
		}
		if err := pub.store.Replace(ctx, pub.pointerKey(latestJSON), append(body, '\n'), have.json); err != nil {
			return false, err
		}
	}
	if text := textOf(now); text != have.version {
		if err := pub.store.Replace(ctx, pub.pointerKey(latestText), []byte(text), have.text); err != nil {
			return false, err
		}
	}
	return now.Version == pub.build.Version, nil
}

func textOf(p Pointer) string {
	if p.Version == "" {
		return ""
	}
	return p.Version + "\n"
}

func (pub publication) pointer(files []file) Pointer {
	p := Pointer{
		App: pub.build.App, Version: pub.build.Version, TagSeq: pub.build.TagSeq,
		At: time.Now().UTC().Truncate(time.Millisecond), Asked: pub.asked.UTC(), Requested: pub.requested,
	}
	for _, f := range files {
		p.Files = append(p.Files, PointerFile{Name: f.name, URL: pub.store.URL(f.Key), Digest: f.Digest, Size: f.Size})
	}
	return p
}
