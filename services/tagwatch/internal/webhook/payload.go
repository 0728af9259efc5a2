package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tagship/tagship/events"
)

// The events that are read.
const (
	eventPing       = "ping"
	eventPush       = "push"
	eventCreate     = "create"
	eventDelete     = "delete"
	eventRelease    = "release"
	eventRepository = "repository"
	otherEvent      = "other" // stands for all others
)

// label is one of few words for an event, whatever a caller says.
func label(event string) string {
	switch event {
	case eventPing, eventPush, eventCreate, eventDelete, eventRelease, eventRepository:
		return event
	}
	return otherEvent
}

// hint is what a payload says, before it is known which host it is of.
type hint struct {
	events.Hook
	urls []string // of the repository
}

// about is what every payload has. Of everything else a type below has only what
// is read, so whatever GitHub changes beside that is no matter.
type about struct {
	Repository struct {
		ID       repoID `json:"id"`
		FullName string `json:"full_name"`
		HTMLURL  string `json:"html_url"`
		CloneURL string `json:"clone_url"`
	} `json:"repository"`
	Sender sender `json:"sender"`
}

type push struct {
	about
	Ref     string `json:"ref"` // in full: refs/tags/v1
	After   string `json:"after"`
	Deleted bool   `json:"deleted"`
}

// created is what create and delete have alike.
type created struct {
	about
	Ref     string `json:"ref"` // short: v1
	RefType string `json:"ref_type"`
}

type release struct {
	about
	Action  string `json:"action"`
	Release struct {
		TagName string `json:"tag_name"`
		Draft   bool   `json:"draft"`
	} `json:"release"`
}

type repository struct {
	about
	Action string `json:"action"`
}

// repoID is a repository's id in decimal; empty if it is none.
type repoID string

var decimal = regexp.MustCompile(`^[1-9][0-9]{0,19}$`)

// UnmarshalJSON never fails: a repository has a name too.
func (id *repoID) UnmarshalJSON(text []byte) error {
	*id = ""
	if decimal.Match(text) {
		*id = repoID(text)
	}
	return nil
}

// sender is who did it; empty if that cannot be said.
type sender string

// UnmarshalJSON never fails: who it was is for people.
func (s *sender) UnmarshalJSON(text []byte) error {
	*s = ""
	var user struct {
		Login string `json:"login"`
	}
	if json.Unmarshal(text, &user) == nil && len(user.Login) <= events.MaxVersion && !strings.ContainsFunc(user.Login, odd) {
		*s = sender(user.Login)
	}
	return nil
}

// errNoHint says that a payload is in order, and that there is nothing to look at because of it.
var errNoHint = errors.New("no tag came or went by it")

// read reads the payload of an event, or returns [errNoHint]. Errors repeat
// nothing of the payload.
func read(event string, payload []byte) (*hint, error) {
	switch event {
	case eventPush:
		return readPush(payload)
	case eventCreate, eventDelete:
		return readCreated(payload, event == eventDelete)
	case eventRelease:
		return readRelease(payload)
	case eventRepository:
		return readRepository(payload)
	}
	return nil, errNoHint
}

func readPush(payload []byte) (*hint, error) {
	var p push
	if err := decode(payload, &p); err != nil {
		return nil, err
	}
	if p.Ref == "" {
		return nil, missing("ref")
	}
	tag, found := strings.CutPrefix(p.Ref, "refs/tags/")
	if !found {
		return nil, errNoHint // a branch
	}
	gone := p.Deleted || p.After != "" && strings.Trim(p.After, "0") == ""
	return p.hint(tag, gone)
}

func readCreated(payload []byte, gone bool) (*hint, error) {
	var c created
	if err := decode(payload, &c); err != nil {
		return nil, err
	}
	switch c.RefType {
	case "tag":
		return c.hint(c.Ref, gone)
	case "":
		return nil, missing("ref_type")
	}
	return nil, errNoHint // a branch
}

// untagged begins what stands for the tag of a release that has none yet.
const untagged = "untagged-"

func readRelease(payload []byte) (*hint, error) {
	var r release
	if err := decode(payload, &r); err != nil {
		return nil, err
	}
	if r.Action == "" {
		return nil, missing("action")
	}
	// Publishing is what makes the tag, if there was none.
	if r.Action != "published" || r.Release.Draft || strings.HasPrefix(r.Release.TagName, untagged) {
		return nil, errNoHint // no tag yet, or nothing new about it
	}
	return r.hint(r.Release.TagName, false)
}

func readRepository(payload []byte) (*hint, error) {
	var r repository
	if err := decode(payload, &r); err != nil {
		return nil, err
	}
	switch r.Action {
	case "renamed", "transferred":
		return r.whole()
	case "":
		return nil, missing("action")
	}
	return nil, errNoHint // it is called what it was called
}

// maxTag bounds the name of a tag in a hint, in bytes.
const maxTag = 1024

// hint is about a tag, or about the repository as a whole where the tag's name
// is none that can be passed on: a look will find it.
func (a *about) hint(tag string, gone bool) (*hint, error) {
	if tag == "" {
		return nil, missing("the name of the tag")
	}
	h, err := a.whole()
	if err == nil && len(tag) <= maxTag && !strings.ContainsFunc(tag, odd) {
		h.Tag, h.Deleted = tag, gone
	}
	return h, err
}

var fullName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$`)

// whole is about the repository as a whole.
func (a *about) whole() (*hint, error) {
	repo := a.Repository
	if repo.FullName == "" {
		return nil, missing("repository.full_name")
	}
	if !fullName.MatchString(repo.FullName) {
		return nil, errors.New("repository.full_name is not owner/name")
	}
	return &hint{
		Hook: events.Hook{RepoID: string(repo.ID), Repo: repo.FullName, By: string(a.Sender)},
		urls: []string{repo.HTMLURL, repo.CloneURL},
	}, nil
}

// host is where the repository is: the host that signed, and of several that
// have the same secret the one that the signed payload names, or else the
// header; empty if neither names one of them.
func (h *hint) host(signers []string, header string) string {
	if len(signers) == 1 {
		return signers[0]
	}
	named := make([]string, 0, len(h.urls)+1)
	for _, address := range h.urls {
		if u, err := url.Parse(address); err == nil {
			named = append(named, u.Host)
		}
	}
	for _, name := range append(named, header) {
		for _, signer := range signers {
			if strings.EqualFold(name, signer) {
				return signer
			}
		}
	}
	return ""
}

// decode reads JSON into one of the types above.
func decode(payload []byte, into any) error {
	err := json.Unmarshal(payload, into)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return errors.New("the payload is not a JSON object")
	case errors.As(err, &wrongType):
		return fmt.Errorf("%s is not of the type that it should be", strings.TrimPrefix(wrongType.Field, "about."))
	}
	return errors.New("the payload is not JSON")
}

func missing(field string) error { return fmt.Errorf("%s is missing", field) }

// odd is what no name has in it that can be passed on. Reading JSON puts
// [utf8.RuneError] where the text was no UTF-8.
func odd(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) }
