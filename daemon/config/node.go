package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// resolve follows anchors, tags and aliases to the node with the value.
func (d *decoder) resolve(n ast.Node, at place) (ast.Node, bool) {
	for {
		switch m := n.(type) {
		case *ast.AnchorNode:
			n = m.Value
		case *ast.TagNode:
			switch token.ReservedTagKeyword(m.GetToken().Value) {
			case token.StringTag, token.IntegerTag, token.FloatTag, token.BooleanTag, token.NullTag, token.MappingTag, token.SequenceTag:
				n = m.Value
			default:
				d.report(at.on(m), "the tag "+m.GetToken().Value+" has no meaning here; leave it out")
				return nil, false
			}
		case *ast.AliasNode:
			target, ok := d.doc.aliases[m]
			if !ok {
				name := m.Value.GetToken().Value
				d.report(at.on(m), fmt.Sprintf("*%s stands for nothing; there is no finished &%s above it", name, name))
				return nil, false
			}
			n = target
		case nil:
			d.report(at, "there is no value")
			return nil, false
		default:
			return n, true
		}
	}
}

// entry is one key of a map, and where it is written.
type entry struct {
	key          string
	line, column int
	value        ast.Node
}

func (e entry) place(parent place) place {
	return place{join(parent.path, e.key), e.line, e.column}
}

// entries lists the keys of a map, those that come through << last, unless the map has them itself. It reports what
// cannot be a key, and, if unique is set, keys that are written twice.
func (d *decoder) entries(n ast.Node, at place, unique bool) []entry {
	if n == nil {
		return nil
	}
	m, ok := n.(*ast.MappingNode)
	if !ok {
		if n, ok = d.resolve(n, at); !ok {
			return nil
		}
		if m, ok = n.(*ast.MappingNode); !ok {
			d.report(at.on(n), "expected a map, got "+d.got(n))
			return nil
		}
	}
	var own, merged []entry
	first := map[string]int{}
	for _, pair := range m.Values {
		if !d.spend(at) {
			return own
		}
		if pair.Key.IsMergeKey() {
			merged = append(merged, d.merge(pair.Value, at)...)
			continue
		}
		pos := positionOf(pair.Key)
		key, ok := keyOf(pair.Key)
		e := entry{key: key, line: pos.Line, column: pos.Column, value: pair.Value}
		switch line, twice := first[key]; {
		case !ok:
			d.report(place{at.path, pos.Line, pos.Column}, "a key must be plain text")
		case twice && unique:
			d.duplicate(e, e.place(at), line)
		default:
			first[key] = pos.Line
			own = append(own, e)
		}
	}
	for _, e := range merged {
		if _, has := first[e.key]; !has {
			first[e.key] = e.line
			own = append(own, e)
		}
	}
	return own
}

func (d *decoder) duplicate(e entry, at place, line int) {
	at.line, at.column = e.line, e.column
	d.report(at, fmt.Sprintf("written twice, first in line %d; keep one", line))
}

// merge lists the entries that a value of << lends: a map, an alias of one, or a list of them.
func (d *decoder) merge(n ast.Node, at place) []entry {
	n, ok := d.resolve(n, at)
	if !ok || !d.spend(at) {
		return nil
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return d.entries(n, at, true)
	}
	var all []entry
	for _, item := range list.Values {
		all = append(all, d.entries(item, at, true)...)
	}
	return all
}

func keyOf(n ast.Node) (string, bool) {
	switch k := n.(type) {
	case *ast.MappingKeyNode:
		return keyOf(k.Value)
	case *ast.AnchorNode:
		return keyOf(k.Value)
	case *ast.TagNode:
		return keyOf(k.Value)
	case nil:
		return "", false
	}
	if !isScalar(n) {
		return "", false
	}
	text := textOf(n)
	return text, text != ""
}

func isScalar(n ast.Node) bool {
	switch n.Type() {
	case ast.StringType, ast.LiteralType, ast.IntegerType, ast.FloatType, ast.BoolType, ast.InfinityType, ast.NanType, ast.NullType:
		return true
	}
	return false
}

// textOf gives a scalar as it is written: 1.10 is not 1.1.
func textOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	}
	return n.GetToken().Value
}

// got says what there is instead of what was expected. Text with references is shown as it is written.
func (d *decoder) got(n ast.Node) string {
	switch n.Type() {
	case ast.MappingType:
		return "a map"
	case ast.SequenceType:
		return "a list"
	case ast.NullType:
		return "nothing"
	}
	if isScalar(n) {
		return shorten(textOf(n))
	}
	return "something else"
}

func shorten(text string) string {
	const most = 60
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return strconv.Quote(text)
}

// join appends a key to a path; a key that would read as more than one part is quoted.
func join(path, key string) string {
	if key == "" || strings.ContainsAny(key, ".[] \"\t\n") {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func octal(text string) bool {
	digits := strings.TrimLeft(text, "+-")
	return len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9'
}

func numberHint(text string, err error) string {
	switch {
	case octal(text):
		digits := strings.TrimLeft(text, "+-0")
		if strings.ContainsAny(digits, "89") || digits == "" {
			return "; write it without leading zeros"
		}
		return fmt.Sprintf("; write %s, or 0o%s if it is octal", digits, digits)
	case errors.Is(err, strconv.ErrRange):
		return ", which is out of range"
	}
	return ""
}

func wordsOf(t reflect.Type, enum []string) string {
	if len(enum) > 0 {
		return "one of " + strings.Join(enum, ", ")
	}
	return typeWords(t, "")
}
