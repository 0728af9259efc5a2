package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder puts one section, or one document, into Go values and gathers what is wrong on the way.
type decoder struct {
	doc      *document
	expander *expander
	problems Problems
	budget   int // values still allowed, since aliases multiply
}

// place is where a value belongs: its path, and the position of its key.
type place struct {
	path         string
	line, column int
}

func (at place) on(n ast.Node) place {
	p := positionOf(n)
	return place{at.path, p.Line, p.Column}
}

func (d *decoder) report(at place, message string) {
	d.problems = append(d.problems, Problem{d.doc.name, at.line, at.column, at.path, message})
}

func (d *decoder) result() error {
	if len(d.problems) == 0 {
		return nil
	}
	d.problems.sort()
	if more := len(d.problems) - maxProblems; more > 0 {
		last := d.problems[maxProblems]
		last.Path, last.Message = "", fmt.Sprintf("from here on there are %d more problems", more)
		return append(d.problems[:maxProblems:maxProblems], last)
	}
	return d.problems
}

// spend counts one value and says whether there may be one more.
func (d *decoder) spend(at place) bool {
	d.budget--
	if d.budget == 0 {
		d.report(at, fmt.Sprintf("aliases expand this to more than %d values", maxValues))
	}
	return d.budget > 0
}

// value decodes n into v. A nil n is an absent value, which decodes to the defaults.
func (d *decoder) value(n ast.Node, at place, v reflect.Value, enum []string) {
	if !d.spend(at) {
		return
	}
	if n != nil {
		var ok bool
		if n, ok = d.resolve(n, at); !ok {
			return
		}
	}
	if v.Kind() == reflect.Pointer {
		d.pointer(n, at, v, enum)
		return
	}
	before := len(d.problems)
	d.plain(n, at, v, enum)
	d.check(n, at, v, before)
}

func (d *decoder) pointer(n ast.Node, at place, v reflect.Value, enum []string) {
	if n == nil || n.Type() == ast.NullType && n.GetToken().Type != token.ImplicitNullType {
		return
	}
	if v.IsNil() {
		v.Set(reflect.New(v.Type().Elem()))
	}
	d.value(n, at, v.Elem(), enum)
}

// plain decodes a value that is no pointer, by what the type accepts.
func (d *decoder) plain(n ast.Node, at place, v reflect.Value, enum []string) {
	if n != nil && n.Type() == ast.NullType {
		if !acceptsNothing(v.Type()) {
			d.report(at.on(n), "there is no value; expected "+typeWords(v.Type(), "")+", or leave the key out")
			return
		}
		n = nil
	}
	if n != nil && isText(v.Type()) && isScalar(n) {
		d.scalar(n, at, v, enum)
		return
	}
	switch {
	case isSection(v.Type()):
		d.section(n, at, v)
	case n == nil:
	case v.Kind() == reflect.Map && !isScalar(n):
		d.mapping(n, at, v, enum)
	case v.Kind() == reflect.Slice && !isScalar(n):
		d.sequence(n, at, v, enum)
	default:
		d.scalar(n, at, v, enum)
	}
}

// acceptsNothing says whether a key without a value is an empty value of the type, and not a mistake.
func acceptsNothing(t reflect.Type) bool {
	return isSection(t) || t.Kind() == reflect.Map || t.Kind() == reflect.Slice
}

func (d *decoder) section(n ast.Node, at place, v reflect.Value) {
	fields := fieldsOf(v.Type())
	var entries []entry
	if n != nil {
		if n.Type() != ast.MappingType {
			d.report(at.on(n), "expected "+typeWords(v.Type(), "")+", got "+d.got(n))
			return
		}
		entries = d.entries(n, at, true)
	}
	seen := map[string]bool{}
	var known []string
	for _, f := range fields {
		known = append(known, f.name)
	}
	for _, e := range entries {
		i := slices.Index(known, e.key)
		if i < 0 {
			d.report(e.place(at), "unknown key; "+suggest(e.key, known))
			continue
		}
		seen[e.key] = true
		d.field(e.value, e.place(at), v, fields[i])
	}
	for _, f := range fields {
		if !seen[f.name] {
			d.field(nil, place{join(at.path, f.name), at.line, at.column}, v, f)
		}
	}
}

func (d *decoder) field(n ast.Node, at place, v reflect.Value, f field) {
	fv := v.FieldByIndex(f.index)
	before := len(d.problems)
	switch {
	case n != nil:
		d.value(n, at, fv, f.enum)
	case isSection(f.typ) && !f.required && !f.hasDefault:
		d.value(nil, at, fv, nil)
	case !fv.IsZero():
	case f.hasDefault:
		d.defaults(at, fv, f)
	case f.required:
		d.report(at, "required; expected "+describe(f))
		return
	}
	if f.required && n != nil && len(d.problems) == before && isEmpty(fv) {
		d.report(at, "required, but empty; expected "+describe(f))
	}
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Pointer:
		return v.IsNil()
	}
	return false
}

// defaults decodes the text of a default tag.
func (d *decoder) defaults(at place, v reflect.Value, f field) {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		v.Set(reflect.New(t.Elem()))
		f.typ = t.Elem()
		d.defaults(at, v.Elem(), f)
		return
	}
	if isText(t) || !acceptsNothing(t) {
		if message := setText(v, f.text, nil); message != "" {
			d.report(at, fmt.Sprintf("the default %q is wrong: %s", f.text, message))
		}
		return
	}
	if err := Decode(d.doc.name, []byte(f.text), v.Addr().Interface(), nil); err != nil {
		d.report(at, fmt.Sprintf("the default %q is wrong: %v", f.text, err))
	}
}

func (d *decoder) mapping(n ast.Node, at place, v reflect.Value, enum []string) {
	t := v.Type()
	if n.Type() != ast.MappingType {
		d.report(at.on(n), "expected "+typeWords(t, "")+", got "+d.got(n))
		return
	}
	if t.Key().Kind() != reflect.String {
		d.report(at, "the type "+t.String()+" cannot be configured: its keys are no text")
		return
	}
	m := reflect.MakeMap(t)
	for _, e := range d.entries(n, at, true) {
		key := reflect.New(t.Key()).Elem()
		if message := setText(key, e.key, nil); message != "" {
			d.report(e.place(at), message)
			continue
		}
		value := reflect.New(t.Elem()).Elem()
		d.value(e.value, e.place(at), value, enum)
		m.SetMapIndex(key, value)
	}
	v.Set(m)
}

func (d *decoder) sequence(n ast.Node, at place, v reflect.Value, enum []string) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		d.report(at.on(n), "expected "+typeWords(v.Type(), "")+", got "+d.got(n))
		return
	}
	s := reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values))
	for i, item := range list.Values {
		inner := at.on(item)
		inner.path += "[" + strconv.Itoa(i) + "]"
		d.value(item, inner, s.Index(i), enum)
	}
	v.Set(s)
}

// scalar decodes text, a number or a boolean.
func (d *decoder) scalar(n ast.Node, at place, v reflect.Value, enum []string) {
	at = at.on(n)
	if !isScalar(n) {
		d.report(at, "expected "+wordsOf(v.Type(), enum)+", got "+d.got(n))
		return
	}
	source := textOf(n)
	text, expanded, wrong := d.expander.expand(source)
	for _, message := range wrong {
		d.report(at, message)
	}
	if len(wrong) > 0 {
		return
	}
	secret := v.Type() == reflect.TypeFor[Secret]()
	if secret {
		d.expander.hide(text, redacted)
	}
	message := setText(v, text, enum)
	switch {
	case message == "":
	case secret:
		d.report(at, "expected "+wordsOf(v.Type(), enum)+", got something else")
	case expanded: // the message may repeat a part of what must not be seen
		d.report(at, fmt.Sprintf("expected %s, and %s stands for something else", wordsOf(v.Type(), enum), shorten(source)))
	default:
		d.report(at, message)
	}
}

// setText sets v to what text means for its type, or says what is wrong with it.
func setText(v reflect.Value, text string, enum []string) (message string) {
	if len(enum) > 0 && !slices.Contains(enum, text) {
		message = "expected " + wordsOf(v.Type(), enum) + ", got " + shorten(text)
		if near := nearest(text, enum); near != "" {
			message += `; did you mean "` + near + `"?`
		}
		return message
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return err.Error()
		}
		return ""
	}
	wrong := "expected " + typeWords(v.Type(), "") + ", got " + shorten(text)
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true", "false":
			v.SetBool(strings.EqualFold(text, "true"))
		case "yes", "on":
			return wrong + "; write true"
		case "no", "off":
			return wrong + "; write false"
		default:
			return wrong
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(text, 0, v.Type().Bits())
		if err != nil || octal(text) {
			return wrong + numberHint(text, err)
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		u, err := strconv.ParseUint(text, 0, v.Type().Bits())
		if err != nil || octal(text) {
			return wrong + numberHint(text, err)
		}
		v.SetUint(u)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil || f-f != 0 { // infinite, or not a number
			return wrong
		}
		v.SetFloat(f)
	case reflect.Slice, reflect.Map, reflect.Struct:
		return wrong
	default:
		return "the type " + v.Type().String() + " cannot be configured"
	}
	return ""
}
