package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/goccy/go-yaml"
)

const dialect = "https://json-schema.org/draft/2020-12/schema"

type schema = map[string]any

// JSONSchema gives the JSON schema (draft 2020-12) of a configuration file for editors. Sections maps each section's
// name to the value it is decoded into, or a pointer to it. Where no text is expected the schema accepts text with
// ${…}. A type can refine its own schema with a method JSONSchema() map[string]any.
func JSONSchema(sections map[string]any) ([]byte, error) {
	properties := schema{}
	b := schemaBuilder{references: true}
	for name, v := range sections {
		t := reflect.TypeOf(v)
		if t == nil {
			return nil, fmt.Errorf("describe section %s: the value has no type", name)
		}
		s, err := b.ofType(t, nil)
		if err != nil {
			return nil, fmt.Errorf("describe section %s: %w", name, err)
		}
		properties[name] = s
	}
	return encodeSchema(schema{
		"type":                 "object",
		"properties":           properties,
		"patternProperties":    schema{"^x-": true},
		"additionalProperties": false,
	})
}

// DocumentSchema gives the JSON schema of a whole document that is decoded into v with [Decode] and without a lookup,
// such as a recipe: ${…} has no meaning in it.
func DocumentSchema(v any) ([]byte, error) {
	t := reflect.TypeOf(v)
	if t == nil {
		return nil, errors.New("describe document: the value has no type")
	}
	b := schemaBuilder{}
	s, err := b.ofType(t, nil)
	if err != nil {
		return nil, fmt.Errorf("describe document: %w", err)
	}
	return encodeSchema(s)
}

func encodeSchema(s schema) ([]byte, error) {
	s["$schema"] = dialect
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return append(data, '\n'), nil
}

type schemaBuilder struct {
	references bool           // ${…} is accepted
	around     []reflect.Type // the structs being described
}

func (b *schemaBuilder) ofField(f field) (schema, error) {
	s, err := b.ofType(f.typ, f.enum)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	if f.doc != "" {
		s["description"] = f.doc
	}
	if f.hasDefault {
		if s["default"], err = defaultValue(f.typ, f.text); err != nil {
			return nil, fmt.Errorf("default of %s: %w", f.name, err)
		}
	}
	return s, nil
}

func (b *schemaBuilder) ofType(t reflect.Type, enum []string) (schema, error) {
	if t.Kind() == reflect.Pointer {
		return b.ofType(t.Elem(), enum)
	}
	if own, ok := reflect.New(t).Interface().(interface{ JSONSchema() map[string]any }); ok {
		return b.orReference(own.JSONSchema()), nil
	}
	shape, err := b.shape(t, enum)
	if err != nil || shape == nil {
		return b.scalar(t, enum), err
	}
	if isText(t) {
		return schema{"anyOf": []any{b.scalar(t, enum), shape}}, nil
	}
	return shape, nil
}

// shape describes a struct, list or map; it is nil for a scalar.
func (b *schemaBuilder) shape(t reflect.Type, enum []string) (schema, error) {
	switch {
	case isSection(t):
		return b.section(t)
	case t.Kind() == reflect.Slice:
		items, err := b.ofType(t.Elem(), enum)
		return schema{"type": []string{"array", "null"}, "items": items}, err
	case t.Kind() == reflect.Map:
		values, err := b.ofType(t.Elem(), enum)
		return schema{"type": []string{"object", "null"}, "additionalProperties": values}, err
	}
	return nil, nil
}

func (b *schemaBuilder) section(t reflect.Type) (schema, error) {
	if slices.Contains(b.around, t) {
		return schema{"type": []string{"object", "null"}}, nil
	}
	b.around = append(b.around, t)
	defer func() { b.around = b.around[:len(b.around)-1] }()
	properties, required := schema{}, []string{}
	for _, f := range fieldsOf(t) {
		s, err := b.ofField(f)
		if err != nil {
			return nil, err
		}
		properties[f.name] = s
		if f.required || isSection(f.typ) && !f.hasDefault && demands(f.typ) {
			required = append(required, f.name)
		}
	}
	s := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	} else {
		s["type"] = []string{"object", "null"}
	}
	return s, nil
}

// demands says whether a struct has a required field, so that it cannot be left out.
func demands(t reflect.Type) bool {
	for _, f := range fieldsOf(t) {
		if f.required || isSection(f.typ) && !f.hasDefault && demands(f.typ) {
			return true
		}
	}
	return false
}

// scalar describes what is written as one word. YAML takes 1.10 for a number where text is meant, and so must the
// schema.
func (b *schemaBuilder) scalar(t reflect.Type, enum []string) schema {
	anyText := schema{"type": []string{"string", "number", "boolean"}}
	switch {
	case len(enum) > 0:
		return b.orReference(schema{"enum": enum})
	case isText(t):
		return anyText
	}
	switch t.Kind() {
	case reflect.Bool:
		return b.orReference(schema{"type": "boolean"})
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return b.orReference(schema{"type": "integer"})
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return b.orReference(schema{"type": "integer", "minimum": 0})
	case reflect.Float32, reflect.Float64:
		return b.orReference(schema{"type": "number"})
	}
	return anyText
}

func (b *schemaBuilder) orReference(s schema) schema {
	if !b.references {
		return s
	}
	return schema{"anyOf": []any{s, schema{"type": "string", "pattern": `\$\{[^}]+\}`}}}
}

// defaultValue gives the text of a default tag as JSON would write it.
func defaultValue(t reflect.Type, text string) (any, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	v := reflect.New(t).Elem()
	switch {
	case isText(t) || t.Kind() == reflect.String:
		return text, nil
	case acceptsNothing(t):
		var list any
		err := yaml.Unmarshal([]byte(text), &list)
		return list, err
	}
	if message := setText(v, text, nil); message != "" {
		return nil, errors.New(message)
	}
	return v.Interface(), nil
}
