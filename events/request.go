package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxRequest is how long a request's body may be, in bytes.
const MaxRequest = 8 << 10

// Request asks for something: to look for tags, to build, to release, to publish.
// It comes from a person's hands, so it is parsed strictly.
type Request struct {
	App     string `json:"app"`
	Version string `json:"version,omitempty"`
	// By is who asks, where the sender says so.
	By string `json:"by,omitempty"`

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
	r.validate(&c)
	return c.err()
}

// validate passes over fields that have a problem already.
func (r *Request) validate(c *fieldChecks) {
	first := func(field string, err error) {
		if !c.has(field) {
			c.check(field, err)
		}
	}
	if r.kind.placed() {
		first(r.kind.placeWord(), CheckPlace(r.place))
	}
	first("app", CheckApp(r.App))
	if r.kind != TagRequested || r.Version != "" {
		first("version", CheckVersion(r.Version))
	}
	first("by", checkBy(r.By))
}

func checkBy(s string) error { return checkLine(s, MaxVersion) }

// checkLine says what is wrong with a text that is shown in a line, of so many bytes at most.
func checkLine(s string, most int) error {
	switch {
	case len(s) > most:
		return fmt.Errorf("is %d bytes long, expected at most %d", len(s), most)
	case !utf8.ValidString(s):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s contains a control character", excerpt(s))
	}
	return nil
}

// EncodeRequest writes the JSON form of a request, after checking it.
func EncodeRequest(r *Request) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("encode request on %s: %w", r.kind, err)
	}
	body, err := encodeJSON(r)
	if err != nil {
		return nil, fmt.Errorf("encode request on %s: %w", r.kind, err)
	}
	return body, nil
}

// placed reports whether a request's subject names a place, rather than an app.
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
// whole body. Every error wraps [ErrMalformed] and tells all that is wrong.
//
// Beside an error it returns what could be understood, so that the answer can
// say whom it concerns: [Unknown] stands for an app or version that could not,
// and the place is what was asked for, even where no place may be called that
// ([Unknown] if not even a refusal could repeat it). Only on a subject that is no
// request's is the kind empty.
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
	if checkBy(r.By) != nil {
		r.By = ""
	}
	if r.kind.placed() && checkAskedPlace(r.place) != nil {
		r.place = Unknown
	}
	return r, fmt.Errorf("%w: request on %s: %w", ErrMalformed, subject, err)
}

func (r *Request) parse(subject string, body []byte) error {
	d, tokens, err := split(subject)
	if err != nil {
		return err
	}
	if !d.kind.Request() {
		return errors.New("is no request's subject, expected for example build.web or release.prod")
	}
	r.kind = d.kind

	var c fieldChecks
	checkName := CheckApp
	if r.kind.placed() {
		checkName = CheckPlace
	}
	name, err := Unescape(tokens[0])
	if err != nil {
		name = tokens[0]
		// Escaping helps only what is a name; what else it is, is found below.
		c.forbid(d.names[0], checkName(name) == nil, "is written %q in the subject, expected %q", name, Escape(name))
	}
	if r.kind.placed() {
		r.place = name
	}
	bodyErr := r.parseBody(&c, body)
	if !r.kind.placed() {
		if r.App != "" && r.App != name && !c.has("app") {
			c.check("app", fmt.Errorf("is %s, but the subject says %s", excerpt(r.App), excerpt(name)))
		}
		r.App = name
	}
	if bodyErr != nil {
		return bodyErr
	}
	r.validate(&c)
	return c.err()
}

// parseBody returns an error where the body as a whole makes no sense; what is
// wrong with single fields goes to c.
func (r *Request) parseBody(c *fieldChecks, body []byte) error {
	if len(body) > MaxRequest {
		return fmt.Errorf("the body is %d bytes long, expected at most %d", len(body), MaxRequest)
	}
	if !utf8.Valid(body) {
		return errors.New("the body is not valid UTF-8")
	}
	text := strings.TrimSpace(string(body))
	switch {
	case text == "" && r.kind == TagRequested:
		return nil
	case strings.HasPrefix(text, "{"):
		return r.parseObject(c, text)
	}
	return r.parseShorthand(text)
}

func (r *Request) parseShorthand(text string) error {
	app, version, found := strings.Cut(text, "@")
	switch {
	case text == "":
		return errors.New(`the body is empty, expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`)
	case !found || version == "":
		return fmt.Errorf(`the body is %s, expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`, excerpt(text))
	}
	r.App, r.Version = app, version
	return nil
}

// parseObject reads the fields one by one, for package json would pass over a
// field that is given twice, and take App for app.
func (r *Request) parseObject(c *fieldChecks, text string) error {
	if !json.Valid([]byte(text)) {
		return decodeJSON([]byte(text), new(json.RawMessage)) // tells what is wrong
	}
	fields := json.NewDecoder(strings.NewReader(text))
	if _, err := fields.Token(); err != nil { // the opening brace
		return describeJSON(err)
	}
	given := map[string]bool{}
	for fields.More() {
		name, err := fields.Token()
		if err != nil {
			return describeJSON(err)
		}
		var value json.RawMessage
		if err := fields.Decode(&value); err != nil {
			return describeJSON(err)
		}
		field, _ := name.(string) // a key is nothing else
		if given[field] {
			c.check(printable(field), errors.New("is given twice"))
			continue
		}
		given[field] = true
		r.setField(c, field, value)
	}
	return nil
}

func (r *Request) setField(c *fieldChecks, name string, value json.RawMessage) {
	var into *string
	switch name {
	case "app":
		into = &r.App
	case "version":
		into = &r.Version
	case "by":
		into = &r.By
	default:
		c.check(printable(name), errors.New("is not a field of a request, expected app, version and by"))
		return
	}
	if kind := jsonType(value); kind != "a string" {
		c.check(name, fmt.Errorf("is %s, expected a string", kind))
		return
	}
	c.check(name, json.Unmarshal(value, into))
}

// printable is a field's name as given, unless that would garble the line it is told in.
func printable(field string) string {
	if field == "" || len(field) > 60 || Escape(field) != field {
		return excerpt(field)
	}
	return field
}
