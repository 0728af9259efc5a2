package config

import (
	"reflect"
	"strings"
)

// Entry describes one field in the configuration reference.
type Entry struct {
	// Path is where the field is written, with placeholders for what the user names: tagwatch.apps.<app>.repo,
	// packages[].file.
	Path     string
	Type     string // in words: "whole number", "list of text"
	Default  string // as it would be written; "" where there is none
	Required bool
	Enum     []string
	Doc      string
}

// Typer is a type that names itself in the reference and in problems: a duration says "duration such as 30s".
type Typer interface {
	ConfigType() string
}

// Reference lists the fields of v, the value a section called name is decoded into, or a pointer to it, in the order
// they are declared. An empty name stands for a whole document.
func Reference(name string, v any) []Entry {
	var entries []Entry
	if t := reflect.TypeOf(v); t != nil {
		refer(&entries, name, "", t, nil)
	}
	return entries
}

// refer appends the fields inside type t at path. The types in around are those being described, so that a type which
// contains itself is described once.
func refer(entries *[]Entry, path, key string, t reflect.Type, around []reflect.Type) {
	switch {
	case isSection(t):
		for _, outer := range around {
			if outer == t {
				return
			}
		}
		around = append(around[:len(around):len(around)], t)
		for _, f := range fieldsOf(t) {
			inner := f.name
			if path != "" {
				inner = path + "." + f.name
			}
			*entries = append(*entries, Entry{
				Path: inner, Type: typeWords(f.typ, f.placeholder()), Default: f.text, Required: f.required, Enum: f.enum, Doc: f.doc,
			})
			refer(entries, inner, f.placeholder(), f.typ, around)
		}
	case t.Kind() == reflect.Pointer:
		refer(entries, path, key, t.Elem(), around)
	case t.Kind() == reflect.Slice:
		refer(entries, path+"[]", "", t.Elem(), around)
	case t.Kind() == reflect.Map:
		if key == "" {
			key = "name"
		}
		refer(entries, path+".<"+key+">", "", t.Elem(), around)
	}
}

func (f field) placeholder() string {
	if f.key != "" {
		return f.key
	}
	return "name"
}

func describe(f field) string {
	words := wordsOf(f.typ, f.enum)
	if f.doc != "" {
		words += " (" + strings.TrimSuffix(f.doc, ".") + ")"
	}
	return words
}

// typeWords names what a type accepts; key is the placeholder of a map's keys, if it is known.
func typeWords(t reflect.Type, key string) string {
	if typer, ok := reflect.New(t).Interface().(Typer); ok {
		return typer.ConfigType()
	}
	if t.Kind() == reflect.Pointer {
		return typeWords(t.Elem(), key)
	}
	shape := shapeWords(t, key)
	switch {
	case !isText(t):
		return shape
	case acceptsNothing(t):
		return "text or " + shape
	}
	return "text"
}

func shapeWords(t reflect.Type, key string) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number, 0 or more"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list of " + plural(t.Elem())
	case reflect.Map:
		if key == "" {
			return "a map to " + plural(t.Elem())
		}
		return "a map of <" + key + "> to " + plural(t.Elem())
	case reflect.Struct:
		return "a map of keys"
	}
	return "nothing that can be configured"
}

// plural names the elements of a list or map, without their article.
func plural(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	words := typeWords(t, "")
	for article, replacement := range map[string]string{"a whole number": "whole numbers", "a number": "numbers", "a map": "maps", "a list": "lists"} {
		if rest, ok := strings.CutPrefix(words, article); ok {
			return replacement + rest
		}
	}
	return words
}
