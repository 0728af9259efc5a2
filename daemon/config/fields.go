package config

import (
	"encoding"
	"reflect"
	"strings"
)

// field is what the tags of a struct field say.
type field struct {
	index      []int
	typ        reflect.Type
	name       string
	doc        string
	text       string // the default
	hasDefault bool
	required   bool
	enum       []string
	key        string
}

// fieldsOf lists the configurable fields of a struct type in the order they are written, those of embedded structs
// included.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, tagged := sf.Tag.Lookup("yaml")
		if !tagged && sf.Anonymous && sf.Type.Kind() == reflect.Struct {
			for _, inner := range fieldsOf(sf.Type) {
				inner.index = append([]int{i}, inner.index...)
				fields = append(fields, inner)
			}
			continue
		}
		if !tagged || name == "-" || !sf.IsExported() {
			continue
		}
		f := field{index: []int{i}, typ: sf.Type, name: name, doc: sf.Tag.Get("doc"), key: sf.Tag.Get("key")}
		f.text, f.hasDefault = sf.Tag.Lookup("default")
		f.required = sf.Tag.Get("required") == "true"
		if enum := sf.Tag.Get("enum"); enum != "" {
			f.enum = strings.Split(enum, ",")
		}
		fields = append(fields, f)
	}
	return fields
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// isSection says whether a map of keys can be decoded into t: a struct that only reads text, as time.Time does, has
// no fields to give.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && (!isText(t) || len(fieldsOf(t)) > 0)
}
