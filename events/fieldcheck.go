package events

import (
	"errors"
	"fmt"
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

// fieldChecks collects every problem of one message, so that a person sees them all at once.
type fieldChecks struct{ problems []error }

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

func (c *fieldChecks) err() error { return errors.Join(c.problems...) }
