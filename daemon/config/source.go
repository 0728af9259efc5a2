package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxBytes = 1 << 20
	// The parser takes quadratic time in the keys of one map: seconds for as many as our own configuration of ten
	// thousand apps has, which is too long for what a stranger wrote.
	maxTokens        = 100_000
	maxForeignTokens = 20_000
	maxDepth         = 64
	maxValues        = 100_000
	// maxProblems keeps an error readable, and small enough for a message.
	maxProblems = 100
)

// document is one parsed YAML document.
type document struct {
	name string
	root ast.Node // nil where the document is empty
	// aliases leads from an alias to the node it stands for. An alias that stands for nothing, or for a node around
	// it, is absent, so following aliases always ends.
	aliases map[*ast.AliasNode]ast.Node
}

// mostTokens is how long a document may be. One for which nothing is looked up is other people's.
func mostTokens(lookup Lookup) int {
	if lookup == nil {
		return maxForeignTokens
	}
	return maxTokens
}

func parse(name string, data []byte, mostTokens int) (*document, error) {
	refuse := func(line, column int, format string, args ...any) error {
		return Problems{{File: name, Line: line, Column: column, Message: fmt.Sprintf(format, args...)}}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(data) > maxBytes {
		return nil, refuse(0, 0, "larger than %d bytes, the limit of a configuration file", maxBytes)
	}
	if line, column, what := badCharacter(data); what != "" {
		return nil, refuse(line, column, "%s; save the file as UTF-8 text", what)
	}
	tokens := tokenize(string(data))
	if len(tokens) > mostTokens {
		return nil, refuse(0, 0, "more than %d keys, values and marks, the limit of such a file", mostTokens)
	}
	if tk := tooDeep(tokens); tk != nil {
		return nil, refuse(tk.Position.Line, tk.Position.Column, "nested deeper than %d levels", maxDepth)
	}
	file, err := parseTokens(tokens)
	if err != nil {
		line, column, message := syntaxProblem(err)
		return nil, refuse(line, column, "%s", message)
	}
	doc := &document{name: name, aliases: map[*ast.AliasNode]ast.Node{}}
	for _, d := range file.Docs {
		if _, directive := d.Body.(*ast.DirectiveNode); d.Body == nil || directive {
			continue
		}
		if doc.root != nil {
			at := positionOf(d.Body)
			return nil, refuse(at.Line, at.Column, "a second document begins here; write one document without ---")
		}
		doc.root = d.Body
	}
	l := linker{doc: doc, anchors: map[string]ast.Node{}}
	if deep := l.link(doc.root, 0); deep != nil {
		at := positionOf(deep)
		return nil, refuse(at.Line, at.Column, "nested deeper than %d levels", maxDepth)
	}
	return doc, nil
}

// badCharacter finds the first byte that is no UTF-8 text or a control character.
func badCharacter(data []byte) (line, column int, what string) {
	line, column = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return line, column, fmt.Sprintf("byte 0x%02x is not UTF-8", data[0])
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r == 0x7f, r == openMark, r == closeMark:
			return line, column, fmt.Sprintf("character %U is not text", r)
		case r == '\n':
			line, column = line+1, 0
		}
		column++
		data = data[size:]
	}
	return 0, 0, ""
}

// The marks stand for the braces of ${…} while the text is cut into tokens, because YAML ends plain text at a brace
// inside {…} and […]. They are code points that Unicode sets aside for inner use, and as wide as what they replace,
// so that columns stay true.
const (
	openMark  = '\ufdd0'
	closeMark = '\ufdd1'
)

// A quote ends a reference, so that a brace outside the quotes keeps its meaning.
var reference = regexp.MustCompile(`\$\{([^{}"'\n]*)\}`)

func tokenize(text string) token.Tokens {
	marked := reference.ReplaceAllString(text, "$$"+string(openMark)+"${1}"+string(closeMark))
	tokens := lexer.Tokenize(marked)
	unmark := strings.NewReplacer(string(openMark), "{", string(closeMark), "}")
	for _, tk := range tokens {
		tk.Value, tk.Origin = unmark.Replace(tk.Value), unmark.Replace(tk.Origin)
	}
	return tokens
}

// tooDeep finds the token at which the parser, which is recursive, would be led too deep.
func tooDeep(tokens token.Tokens) *token.Token {
	flow, run, last := 0, 0, 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			if tk.Position.Column <= last {
				run = 0
			}
			run, last = run+1, tk.Position.Column
		case token.CollectEntryType, token.MappingValueType:
			run = 0
		}
		if flow > maxDepth || run > maxDepth {
			return tk
		}
	}
	return nil
}

// parseTokens guards against a parser that panics on input it did not foresee.
func parseTokens(tokens token.Tokens) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("this is not valid YAML")
		}
	}()
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

func syntaxProblem(err error) (line, column int, message string) {
	var syntax yaml.Error
	if !errors.As(err, &syntax) {
		return 0, 0, err.Error()
	}
	message = "invalid YAML: " + syntax.GetMessage()
	if strings.Contains(message, "\t") {
		message = "invalid YAML: a tab cannot indent; use spaces"
	}
	if tk := syntax.GetToken(); tk != nil && tk.Position != nil {
		line, column = tk.Position.Line, tk.Position.Column
	}
	return line, column, message
}

// linker leads every alias to its anchor.
type linker struct {
	doc     *document
	anchors map[string]ast.Node
}

// link walks the tree below n in the order of the text and returns a node that is too deep, if there is one.
func (l *linker) link(n ast.Node, depth int) ast.Node {
	if depth > 4*maxDepth { // a level takes several nodes
		return n
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, pair := range n.Values {
			if deep := l.link(pair, depth+1); deep != nil {
				return deep
			}
		}
	case *ast.MappingValueNode:
		if deep := l.link(n.Key, depth+1); deep != nil {
			return deep
		}
		return l.link(n.Value, depth+1)
	case *ast.MappingKeyNode:
		return l.link(n.Value, depth+1)
	case *ast.SequenceNode:
		for _, value := range n.Values {
			if deep := l.link(value, depth+1); deep != nil {
				return deep
			}
		}
	case *ast.TagNode:
		return l.link(n.Value, depth+1)
	case *ast.AnchorNode:
		name := n.Name.GetToken().Value
		delete(l.anchors, name) // inside its own value an anchor means nothing yet
		if deep := l.link(n.Value, depth+1); deep != nil {
			return deep
		}
		l.anchors[name] = n.Value
	case *ast.AliasNode:
		if value, ok := l.anchors[n.Value.GetToken().Value]; ok {
			l.doc.aliases[n] = value
		}
	}
	return nil
}

// positionOf gives the place where a node begins. A block map has no token of its own: its first key does.
func positionOf(n ast.Node) token.Position {
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return positionOf(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return positionOf(m.Key)
	}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return *tk.Position
	}
	return token.Position{}
}
