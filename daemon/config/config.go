// Package config reads tagship.yaml, and an app's recipe .tagship.yaml, strictly: every problem at once, each with
// the file, the line, the column, the field's path, what was expected and, where there is one, a suggestion.
//
// A section of the file is a struct whose fields carry tags:
//
//	type Section struct {
//		Interval events.Duration `yaml:"interval" default:"30s" doc:"How often to look."`
//		Executor string          `yaml:"executor" default:"auto" enum:"docker,host,auto" doc:"Where builds run."`
//		Apps     map[string]App  `yaml:"apps" key:"app" required:"true" doc:"What to build and release."`
//	}
//
// The tags:
//
//   - yaml is the key. A field without it, or with "-", is none of the configuration's business; an embedded struct
//     without it lends its fields.
//   - default is the text the field takes when its key is absent and the field is still zero: plain text for a
//     scalar, YAML for a list or a map.
//   - required:"true" refuses an absent key and an empty text, list or map. It holds in an absent struct too;
//     use a pointer for a part that may be left out as a whole.
//   - enum lists the accepted words of a scalar, or of the scalars in a list or map, separated by commas.
//   - doc is a sentence for [Reference] and [JSONSchema]; key names the placeholder of a map's keys there.
//
// Fields may be text, booleans, numbers, slices, maps with text keys, structs, pointers to these, and every
// [encoding.TextUnmarshaler], whose error becomes the problem's message. A slice, map or struct which is a
// TextUnmarshaler as well accepts a scalar besides its own shape. A key with nothing after it is an empty struct,
// list or map; behind a pointer it means "present, with the defaults", where null means "absent".
//
// In a section that is decoded ${NAME} stands for an environment variable and ${file:PATH} for the content of a file
// without its last newline; a relative PATH starts at the folder of the configuration file, and $${ is a literal ${.
// Text that came from there is never repeated in a problem. Unlike in plain YAML, ${…} needs no quotes inside {…}
// and […].
//
// Limits: one document of at most 1 MiB, 50,000 tokens (about 15,000 keys) and 64 levels; aliases and merge keys may
// expand it to at most 100,000 values; the first 100 problems of a section are reported.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Lookup finds an environment variable; [os.LookupEnv] in production.
type Lookup = func(name string) (string, bool)

// File is a configuration file that has been parsed; its sections are decoded one by one. It is safe for concurrent use.
type File struct {
	doc    *document
	lookup Lookup
}

// Load reads and parses the file at path. The error is [Problems] where the content is at fault, and wraps the
// operating system's error (such as [os.ErrNotExist]) where the file cannot be read.
func Load(path string, lookup Lookup) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data, lookup)
}

// Parse parses data, which came from the file called name. It reports what stops the file from being read at all, as
// [Problems]; everything else is found by [File.Section] and [File.Unknown]. With a nil lookup nothing is expanded:
// ${…} is text like any other.
func Parse(name string, data []byte, lookup Lookup) (*File, error) {
	doc, err := parse(name, data, mostTokens(lookup))
	if err != nil {
		return nil, err
	}
	return &File{doc: doc, lookup: lookup}, nil
}

// Section decodes one top-level section into the struct (or other value) that into points to. A missing section
// decodes to the defaults. The error is [Problems], unless into is no pointer.
func (f *File) Section(name string, into any) error {
	v, err := target(into)
	if err != nil {
		return fmt.Errorf("decode section %s: %w", name, err)
	}
	d := f.decoder()
	at := place{path: name}
	found := false
	for _, e := range d.entries(f.doc.root, place{}, false) {
		if e.key != name {
			continue
		}
		if found {
			d.duplicate(e, at, at.line)
			continue
		}
		found = true
		at.line, at.column = e.line, e.column
		d.value(e.value, at, v, nil)
	}
	if !found {
		d.value(nil, at, v, nil)
	}
	return d.result()
}

// Unknown reports every top-level section that is not among known, and suggests the one that was probably meant.
// Sections whose name begins with "x-" are left to the user, as a place for anchors.
func (f *File) Unknown(known ...string) error {
	d := f.decoder()
	for _, e := range d.entries(f.doc.root, place{}, false) {
		if slices.Contains(known, e.key) || strings.HasPrefix(e.key, "x-") {
			continue
		}
		d.report(e.place(place{}), "unknown section; "+suggest(e.key, known))
	}
	return d.result()
}

// Decode decodes a whole document, such as a recipe, into the value that into points to. With a nil lookup nothing is
// expanded and no file is read: the way to read a document that other people wrote. The error is [Problems], unless
// into is no pointer.
func Decode(name string, data []byte, into any, lookup Lookup) error {
	v, err := target(into)
	if err != nil {
		return fmt.Errorf("decode %s: %w", name, err)
	}
	f, err := Parse(name, data, lookup)
	if err != nil {
		return err
	}
	d := f.decoder()
	at := place{line: 1, column: 1}
	if f.doc.root == nil {
		d.value(nil, at, v, nil)
	} else {
		d.value(f.doc.root, at, v, nil)
	}
	return d.result()
}

func (f *File) decoder() *decoder {
	return &decoder{
		doc:      f.doc,
		expander: &expander{lookup: f.lookup, dir: filepath.Dir(f.doc.name)},
		budget:   maxValues,
	}
}

func target(into any) (reflect.Value, error) {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return v, errors.New("the value to decode into must be a non-nil pointer")
	}
	return v.Elem(), nil
}
