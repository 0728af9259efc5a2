package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxRequest is how long a request's body may be, in bytes.
const MaxRequest = 8 << 10

// Request asks for something: to look for tags, to build, to release, to publish.
// It comes from a person's hands, so it is parsed strictly.
type Request struct {
	App     string `json:"app"`
	Version string `json:"version"`
	// By is who asks, where the sender says so.
	By string `json:"by"`

	kind  Kind
	place string // the environment or channel, from the subject
}

// NewRequest makes a request of the given kind. Place is the environment of a
// release or the channel of a publication, and empty otherwise.
func NewRequest(kind Kind, place, app, version, by string) *Request {
	return &Request{App: app, Version: version, By: by, kind: kind, place: place}
}

// Kind is what is asked for.
func (r *Request) Kind() Kind { return r.kind }

// Place is the environment of a release or the channel of a publication; empty otherwise.
func (r *Request) Place() string { return r.place }

// Subject is where the request is published.
func (r *Request) Subject() string {
	if r.kind.placed() {
		return r.kind.Subject(r.place)
	}
	return r.kind.Subject(r.App)
}

// Validate reports every field that is missing or wrong.
func (r *Request) Validate() error {
	var c fieldChecks
	c.check("app", CheckApp(r.App))
	if r.kind != TagRequested || r.Version != "" {
		c.check("version", CheckVersion(r.Version))
	}
	c.forbid("by", len(r.By) > MaxVersion, "is %d bytes long, expected at most %d", len(r.By), MaxVersion)
	if r.kind.placed() {
		c.check(r.kind.placeWord(), CheckPlace(r.place))
	}
	return c.err()
}

// EncodeRequest writes the JSON form of a request, after checking it.
func EncodeRequest(r *Request) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("encode request on %s: %w", r.kind, err)
	}
	fields := map[string]string{"app": r.App}
	if r.Version != "" {
		fields["version"] = r.Version
	}
	if r.By != "" {
		fields["by"] = r.By
	}
	return json.Marshal(fields)
}

func (k Kind) placed() bool { return k == ReleaseRequested || k == CDNRequested }

func (k Kind) placeWord() string {
	if k == CDNRequested {
		return "channel"
	}
	return "env"
}

// ParseRequest reads a request in either of its forms:
//
//	{"app": "web", "version": "v1.2.3", "by": "ann"}
//	web@v1.2.3
//
// On tag.<app> and build.<app> the app may be left out, and on tag.<app> the
// whole body. Beside an error it returns what could be understood, with
// [Unknown] for an app or version that could not, so that the answer can say
// whom it concerns. Every error wraps [ErrMalformed] and names the field.
func ParseRequest(subject string, body []byte) (*Request, error) {
	r := &Request{}
	err := r.parse(subject, body)
	if err == nil {
		return r, nil
	}
	if CheckApp(r.App) != nil {
		r.App = Unknown
	}
	if CheckVersion(r.Version) != nil {
		r.Version = Unknown
	}
	return r, fmt.Errorf("%w: request on %s: %w", ErrMalformed, subject, err)
}

func (r *Request) parse(subject string, body []byte) error {
	kind, names, err := ParseSubject(subject)
	if err != nil {
		return err
	}
	if !kind.Request() {
		return fmt.Errorf("is a fact's subject, expected one of two tokens")
	}
	r.kind = kind
	if kind.placed() {
		r.place = names[0]
	}
	if len(body) > MaxRequest {
		return fmt.Errorf("the body is %d bytes long, expected at most %d", len(body), MaxRequest)
	}
	if !utf8.Valid(body) {
		return errors.New("the body is not valid UTF-8")
	}
	text := strings.TrimSpace(string(body))
	switch {
	case strings.HasPrefix(text, "{"):
		err = r.parseObject(text)
	case text == "" && kind == TagRequested:
	default:
		err = r.parseShorthand(text)
	}
	if err != nil {
		return err
	}
	if !kind.placed() {
		if r.App != "" && r.App != names[0] {
			return &FieldError{Name: "app", Err: fmt.Errorf("is %q, but the subject says %q", r.App, names[0])}
		}
		r.App = names[0]
	}
	return r.Validate()
}

func (r *Request) parseShorthand(text string) error {
	app, version, found := strings.Cut(text, "@")
	if !found {
		return fmt.Errorf(`%s is neither JSON nor app@version, expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`, excerpt(text))
	}
	r.App, r.Version = app, version
	return nil
}

func (r *Request) parseObject(text string) error {
	known := map[string]*string{"app": &r.App, "version": &r.Version, "by": &r.By}
	decoder := json.NewDecoder(strings.NewReader(text))
	var fields map[string]json.RawMessage
	if err := decoder.Decode(&fields); err != nil {
		return describeJSON(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body goes on after the JSON object")
	}
	var problems []error
	for _, name := range sortedKeys(fields) {
		into, ok := known[name]
		if !ok {
			problems = append(problems, &FieldError{Name: name, Err: errors.New("is not a field of a request, expected app, version and by")})
			continue
		}
		if raw := fields[name]; bytes.Equal(raw, []byte("null")) || json.Unmarshal(raw, into) != nil {
			problems = append(problems, &FieldError{Name: name, Err: fmt.Errorf("is %s, expected a string", excerpt(string(raw)))})
		}
	}
	return errors.Join(problems...)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// excerpt quotes the beginning of what somebody sent.
func excerpt(s string) string {
	const most = 60
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q…", strings.ToValidUTF8(s[:most], ""))
}
