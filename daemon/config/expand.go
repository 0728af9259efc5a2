package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// expander replaces ${NAME} and ${file:PATH}, and remembers by what, to keep it out of messages.
type expander struct {
	lookup Lookup // nil: nothing is expanded
	dir    string // where a relative PATH starts
	hidden []hiddenText
}

// hiddenText is text that must not be seen, and what is shown in its place.
type hiddenText struct{ text, shown string }

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand returns the expanded text, whether there was anything to expand, and what is wrong with it.
func (x *expander) expand(text string) (expanded string, changed bool, wrong []string) {
	if x.lookup == nil || !strings.Contains(text, "${") {
		return text, false, nil
	}
	var b strings.Builder
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			b.WriteString(rest)
			break
		}
		if literal, escaped := strings.CutSuffix(before, "$"); escaped {
			b.WriteString(literal + "${")
			rest = after
			continue
		}
		b.WriteString(before)
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			wrong = append(wrong, "${ without its }; write $${ for a literal ${")
			break
		}
		value, err := x.resolve(name)
		if err != nil {
			wrong = append(wrong, err.Error())
		}
		x.hide(value, "${"+name+"}")
		b.WriteString(value)
		changed, rest = true, tail
	}
	if changed {
		x.hide(b.String(), text)
	}
	return b.String(), changed, wrong
}

func (x *expander) resolve(name string) (string, error) {
	if path, ok := strings.CutPrefix(name, "file:"); ok {
		return x.readFile(path)
	}
	if !variable.MatchString(name) {
		return "", fmt.Errorf("${%s} is not a reference; expected ${NAME} or ${file:PATH}, or $${ for a literal ${", name)
	}
	value, ok := x.lookup(name)
	if !ok {
		return "", fmt.Errorf("the environment variable %s of ${%s} is not set; set it for this service, or use ${file:PATH}", name, name)
	}
	return value, nil
}

func (x *expander) readFile(path string) (string, error) {
	if path == "" {
		return "", errors.New("${file:} names no file; expected ${file:PATH}")
	}
	full := path
	if !filepath.IsAbs(full) {
		full = filepath.Join(x.dir, full)
	}
	data, err := readLimited(full)
	if err != nil {
		// The path is in the message already.
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return "", fmt.Errorf("the file %s of ${file:%s} cannot be read: %w; create it, readable by this service's user", full, path, err)
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(data) > maxBytes {
		err = fmt.Errorf("it is larger than %d bytes", maxBytes)
	}
	return data, err
}

// hide keeps text out of later messages; shown stands there in its place.
func (x *expander) hide(text, shown string) {
	if text == "" || text == shown {
		return
	}
	x.hidden = append(x.hidden, hiddenText{text, shown})
}

// scrub replaces hidden text in a message, in the forms in which errors of the standard library repeat it. The
// longest goes first, since one may contain another.
func (x *expander) scrub(message string) string {
	for _, h := range x.longestFirst() {
		quoted := strconv.Quote(h.text)
		for _, form := range []string{h.text, quoted[1 : len(quoted)-1], url.QueryEscape(h.text), url.PathEscape(h.text)} {
			message = replaceWord(message, form, h.shown)
		}
	}
	return message
}

// replaceWord replaces old everywhere; where old is so short that it is part of other words by chance, only as a
// word of its own.
func replaceWord(s, old, replacement string) string {
	if len(old) >= 4 {
		return strings.ReplaceAll(s, old, replacement)
	}
	var b strings.Builder
	for {
		i := strings.Index(s, old)
		if i < 0 {
			return b.String() + s
		}
		before, _ := utf8.DecodeLastRuneInString(s[:i])
		after, _ := utf8.DecodeRuneInString(s[i+len(old):])
		b.WriteString(s[:i])
		if isWord(before) || isWord(after) {
			b.WriteString(old)
		} else {
			b.WriteString(replacement)
		}
		s = s[i+len(old):]
	}
}

func isWord(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) }

func (x *expander) longestFirst() []hiddenText {
	return slices.SortedStableFunc(slices.Values(x.hidden), func(a, b hiddenText) int {
		return cmp.Compare(len(b.text), len(a.text))
	})
}
