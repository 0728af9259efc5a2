package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a configuration file.
type Problem struct {
	File string
	// Line and Column count from 1, in characters; both are 0 where the file has no place for it, such as a
	// missing section.
	Line, Column int
	// Path names the field from the top of the file: tagwatch.apps.web.repo, packages[0].file. It is empty where the
	// file as a whole is at fault.
	Path string
	// Message says what is wrong, what was expected and what to do.
	Message string
}

// Error gives the problem in one line: file:line:column: path: message.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	b.WriteString(": " + p.Message)
	return b.String()
}

// Problems is every problem found, in the order of the file. As an error it is never empty.
type Problems []Problem

// Error gives one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each problem as an error.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// Join gathers the problems of several sections into one [Problems] in the order of the file. Errors of another kind
// are kept behind them. It returns nil when every error is nil.
func Join(errs ...error) error {
	var all Problems
	var others []error
	for _, err := range errs {
		var ps Problems
		switch {
		case err == nil:
		case errors.As(err, &ps):
			all = append(all, ps...)
		default:
			others = append(others, err)
		}
	}
	if len(all) == 0 {
		return errors.Join(others...)
	}
	all.sort()
	if len(others) == 0 {
		return all
	}
	return errors.Join(append([]error{all}, others...)...)
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// FieldError says that err is about the field called field, counted from the value whose Check returns it: a key, or
// a path such as "target.url" or "layers[0].name". A nil err gives nil. Any error with a method Field() string does
// the same, for packages that do not import this one.
func FieldError(field string, err error) error {
	if err == nil {
		return nil
	}
	return &fieldError{field: field, err: err}
}

type fieldError struct {
	field string
	err   error
}

func (e *fieldError) Error() string { return e.field + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }
func (e *fieldError) Field() string { return e.field }
