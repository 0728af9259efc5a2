package config

import (
	"errors"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Checker is a value that can tell more than its fields can each by themselves. Check is called once the value has
// been decoded, after the values inside it. Each error it returns, or joins with [errors.Join], becomes a problem at
// the key of the value, or of the field that the error names; see [FieldError]. Errors about fields that have a
// problem already are dropped, and so are those without a field where anything in the value has one: Check may
// therefore see a value that is decoded in part. Its errors must not repeat parts of a [Secret].
type Checker interface {
	Check() error
}

// check calls Check for a value which was decoded from n, and whose own problems begin at before.
func (d *decoder) check(n ast.Node, at place, v reflect.Value, before int) {
	c, ok := v.Addr().Interface().(Checker)
	if !ok || n == nil && !isSection(v.Type()) {
		return
	}
	known := d.problems[before:]
	for _, err := range flatten(c.Check()) {
		path, message := fieldOf(err)
		if path == "" {
			if len(known) == 0 {
				d.report(at, d.expander.scrub(message))
			}
			continue
		}
		full := at.path + "." + path
		if at.path == "" {
			full = path
		}
		if !touches(known, full) {
			line, column := d.locate(n, path, at)
			d.report(place{full, line, column}, d.expander.scrub(message))
		}
	}
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	list, ok := err.(interface{ Unwrap() []error })
	if !ok || !isList(err, list.Unwrap()) {
		return fieldErrors(err)
	}
	var all []error
	for _, e := range list.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

// isList tells a list of errors, such as that of [errors.Join], from one error that wraps several and adds to their
// text, which must not be lost.
func isList(err error, wrapped []error) bool {
	for _, e := range wrapped {
		if _, named := e.(interface{ Field() string }); !named {
			return err.Error() == errors.Join(wrapped...).Error()
		}
	}
	return true
}

// fieldErrors tells apart errors that were joined before they got their field.
func fieldErrors(err error) []error {
	named, ok := err.(interface{ Field() string })
	if !ok {
		return []error{err}
	}
	inner := flatten(errors.Unwrap(err))
	if len(inner) < 2 {
		return []error{err}
	}
	for i, e := range inner {
		inner[i] = FieldError(named.Field(), e)
	}
	return inner
}

// fieldOf gives the path of the field that an error names, and the message without it.
func fieldOf(err error) (path, message string) {
	message = err.Error()
	var named interface {
		error
		Field() string
	}
	for errors.As(err, &named) {
		field, inner := named.Field(), errors.Unwrap(named)
		switch {
		case message != named.Error(): // text around it is part of the message
		case inner != nil:
			message = inner.Error()
		default:
			message = strings.TrimPrefix(message, field+": ")
		}
		switch {
		case path == "" || strings.HasPrefix(field, "["):
			path += field
		default:
			path += "." + field
		}
		if err = inner; err == nil {
			break
		}
	}
	return path, message
}

// touches says whether there is a problem with the field at path, inside it or around it.
func touches(known Problems, path string) bool {
	for _, p := range known {
		if p.Path == path || within(p.Path, path) || within(path, p.Path) {
			return true
		}
	}
	return false
}

func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '[')
}

// locate finds the key at path below n, or as far as the file goes towards it.
func (d *decoder) locate(n ast.Node, path string, at place) (line, column int) {
	silent := &decoder{doc: d.doc, expander: d.expander, budget: d.budget}
	for n != nil && path != "" {
		var ok bool
		if n, ok = silent.resolve(n, at); !ok {
			break
		}
		switch m := n.(type) {
		case *ast.MappingNode:
			n, path, at = silent.step(m, path, at)
		case *ast.SequenceNode:
			n, path, at = item(m, path, at)
		default:
			return at.line, at.column
		}
	}
	return at.line, at.column
}

// step follows the longest key that path begins with.
func (d *decoder) step(m *ast.MappingNode, path string, at place) (ast.Node, string, place) {
	var best *entry
	for _, e := range d.entries(m, at, true) {
		if (path == e.key || within(path, e.key)) && (best == nil || len(e.key) > len(best.key)) {
			best = &e
		}
	}
	if best == nil {
		return nil, "", at
	}
	at.line, at.column = best.line, best.column
	return best.value, strings.TrimPrefix(path[len(best.key):], "."), at
}

func item(m *ast.SequenceNode, path string, at place) (ast.Node, string, place) {
	index, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]")
	i, err := strconv.Atoi(index)
	if !ok || err != nil || i < 0 || i >= len(m.Values) {
		return nil, "", at
	}
	return m.Values[i], strings.TrimPrefix(rest, "."), at.on(m.Values[i])
}
