package events

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Hook is a hint that something happened to a repository, as a call of a git
// server's webhook gives it. It is never believed, and makes somebody look: what
// is so is what the server says when asked. Of several that are about the same,
// only the newest is kept.
type Hook struct {
	// Host is where the repository is, such as github.com.
	Host string `json:"host,omitempty"`
	// RepoID is what the host knows the repository by, and Repo what it is called, such as acme/web.
	RepoID string `json:"repo_id,omitempty"`
	Repo   string `json:"repo,omitempty"`
	// Tag is the tag that it is about; empty if it is about the repository as a whole.
	Tag string `json:"tag,omitempty"`
	// Deleted says that the tag is said to be gone.
	Deleted bool `json:"deleted,omitempty"`
	// App is the one app to look at, where the hint names it rather than a repository.
	App string `json:"app,omitempty"`
	// By is who is said to have done it.
	By string `json:"by,omitempty"`
	// Delivery is the server's own name for the call, for people who compare.
	Delivery string `json:"delivery,omitempty"`
}

// Kind is [HookReceived].
func (*Hook) Kind() Kind { return HookReceived }

// Limits on what a hook says, in bytes, so that it fits a message whatever it is about.
const (
	// maxHookToken bounds what a hook is about in its subject, before escaping.
	maxHookToken = 512
	maxHookHost  = 255 // of a domain name (RFC 1035, section 2.3.4)
	maxHookRepo  = 2048
	maxHookTag   = 65516 // of a line in which git transfers a name (gitprotocol-common, "pkt-line")
	maxHookWord  = 255
)

// Subject tells what the hook is about: hook.<app>, or hook.<host/repository@tag>,
// escaped. A long one is replaced by its digest.
func (h *Hook) Subject() string {
	about := h.App
	if about == "" {
		about = h.Host + "/"
		if h.RepoID != "" {
			about += h.RepoID
		} else {
			about += h.Repo
		}
		about += "@" + h.Tag
	}
	if len(about) > maxHookToken {
		sum := sha256.Sum256([]byte(about))
		about = "sha256:" + hex.EncodeToString(sum[:]) // as no app can be called
	}
	return HookReceived.Subject(about)
}

// Validate reports every field that is missing or wrong.
func (h *Hook) Validate() error {
	var c fieldChecks
	if h.App != "" {
		c.check("app", CheckApp(h.App))
		c.forbid("app", h.Host+h.RepoID+h.Repo+h.Tag != "" || h.Deleted, "and a repository exclude each other")
	} else {
		h.validateRepo(&c)
	}
	c.check("by", checkBy(h.By))
	c.check("delivery", checkLine(h.Delivery, maxHookWord))
	return c.err()
}

func (h *Hook) validateRepo(c *fieldChecks) {
	c.require("host", h.Host)
	c.check("host", checkLine(h.Host, maxHookHost))
	c.forbid("host", strings.ContainsAny(h.Host, "/@"), "%s is an address, expected a name such as github.com", excerpt(h.Host))
	c.forbid("repo", h.Repo == "" && h.RepoID == "", "is missing, and so is repo_id")
	c.check("repo", checkLine(h.Repo, maxHookRepo))
	c.check("repo_id", checkLine(h.RepoID, maxHookWord))
	c.check("tag", checkLine(h.Tag, maxHookTag))
	c.forbid("deleted", h.Deleted && h.Tag == "", "needs a tag")
}

// EncodeHook writes a hook as it goes over the wire, after checking it.
func EncodeHook(h *Hook) ([]byte, error) {
	if err := h.Validate(); err != nil {
		return nil, fmt.Errorf("encode hook: %w", err)
	}
	body, err := encodeJSON(h)
	if err != nil {
		return nil, fmt.Errorf("encode hook: %w", err)
	}
	return body, nil
}

// decodeHook reads a hook. Unknown fields are ignored.
func decodeHook(subject string, body []byte) (Event, error) {
	h := &Hook{}
	err := decodeJSON(body, h)
	if err == nil {
		err = h.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, subject, err)
	}
	if stated := h.Subject(); stated != subject {
		return nil, fmt.Errorf("%w: the body on %s says that it belongs on %s", ErrMalformed, subject, stated)
	}
	return h, nil
}
