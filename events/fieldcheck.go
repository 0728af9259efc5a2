package events

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// FieldError is a problem with one field of a message or a recipe.
type FieldError struct {
	Name string // the field's name on the wire, such as "version" or "image.layers[0].name"
	Err  error
}

func (e *FieldError) Error() string { return e.Name + " " + e.Err.Error() }

// Unwrap returns what is wrong, without the field's name.
func (e *FieldError) Unwrap() error { return e.Err }

// Field is the field's name on the wire.
func (e *FieldError) Field() string { return e.Name }

// fieldErrors are all problems of one message. They are told in one line, as
// they end up in the reason of a fact.
type fieldErrors []*FieldError

func (e fieldErrors) Error() string {
	texts := make([]string, len(e))
	for i, problem := range e {
		texts[i] = problem.Error()
	}
	return strings.Join(texts, "; ")
}

func (e fieldErrors) Unwrap() []error {
	problems := make([]error, len(e))
	for i, problem := range e {
		problems[i] = problem
	}
	return problems
}

// fieldChecks collects every problem of one message, so that a person sees them all at once.
type fieldChecks struct{ problems fieldErrors }

func (c *fieldChecks) check(field string, err error) {
	if err != nil {
		c.problems = append(c.problems, &FieldError{Name: field, Err: err})
	}
}

func (c *fieldChecks) require(field, value string) {
	if value == "" {
		c.check(field, errors.New("is missing"))
	}
}

func (c *fieldChecks) forbid(field string, when bool, format string, args ...any) {
	if when {
		c.check(field, fmt.Errorf(format, args...))
	}
}

// forbidNegative refuses what could be written and not be read again.
func (c *fieldChecks) forbidNegative(field string, d Duration) {
	c.forbid(field, d < 0, "is %s, expected a duration that is not negative", d)
}

// nest adds the problems of the value that a field holds, each under its full path.
func (c *fieldChecks) nest(field string, inner *fieldChecks) {
	for _, problem := range inner.problems {
		c.check(field+"."+problem.Name, problem.Err)
	}
}

func (c *fieldChecks) has(field string) bool {
	return slices.ContainsFunc(c.problems, func(p *FieldError) bool { return p.Name == field })
}

func (c *fieldChecks) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	return c.problems
}
