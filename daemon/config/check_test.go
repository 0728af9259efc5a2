package config_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tagship/tagship/daemon/config"
)

// foreign names its field without this package's help.
type foreign struct{ field, text string }

func (e foreign) Error() string { return e.text }
func (e foreign) Field() string { return e.field }

// list is a list of errors that tells them in a line of its own making.
type list []error

func (l list) Error() string   { return fmt.Sprintf("%d errors", len(l)) }
func (l list) Unwrap() []error { return l }

// spaced writes its field before its cause in its own way.
type spaced struct {
	field string
	cause error
}

func (e spaced) Error() string { return e.field + " " + e.cause.Error() }
func (e spaced) Field() string { return e.field }
func (e spaced) Unwrap() error { return e.cause }

type checked struct {
	Name   string    `yaml:"name"`
	Layers []checked `yaml:"layers"`
	err    func() error
}

func (c *checked) Check() error {
	if c.err == nil {
		return nil
	}
	return c.err()
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const text = "name: a\nlayers:\n  - name: b\n  - layers: []\n    name: c\n"
	boom := errors.New("boom")
	tests := map[string]struct {
		err  error
		want []string
	}{
		"nil":          {nil, nil},
		"no field":     {boom, []string{"f:1:1: boom"}},
		"field":        {config.FieldError("name", boom), []string{"f:1:1: name: boom"}},
		"absent field": {config.FieldError("other", boom), []string{"f:1:1: other: boom"}},
		"element":      {config.FieldError("layers[1]", boom), []string{"f:4:5: layers[1]: boom"}},
		"deep":         {config.FieldError("layers[1].name", boom), []string{"f:5:5: layers[1].name: boom"}},
		"no element":   {config.FieldError("layers[7].name", boom), []string{"f:2:1: layers[7].name: boom"}},
		"nested":       {config.FieldError("layers", config.FieldError("[1]", config.FieldError("name", boom))), []string{"f:5:5: layers[1].name: boom"}},
		"foreign":      {foreign{"layers", "must not be so"}, []string{"f:2:1: layers: must not be so"}},
		"wrapped":      {fmt.Errorf("compare: %w", config.FieldError("layers", boom)), []string{"f:2:1: layers: compare: layers: boom"}},
		"joined": {
			errors.Join(boom, errors.Join(foreign{"layers", "x"}, config.FieldError("name", errors.Join(boom, boom)))),
			[]string{"f:1:1: boom", "f:1:1: name: boom", "f:1:1: name: boom", "f:2:1: layers: x"},
		},
		"list":       {list{spaced{"name", boom}, foreign{"layers", "x"}}, []string{"f:1:1: name: boom", "f:2:1: layers: x"}},
		"not joined": {fmt.Errorf("%w before %w", boom, boom), []string{"f:1:1: boom before boom"}},
		"nil field":  {config.FieldError("name", nil), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := config.Decode("f", []byte(text), &checked{err: func() error { return test.err }}, nil)
			var got []string
			var problems config.Problems
			if errors.As(err, &problems) {
				for _, p := range problems {
					got = append(got, p.Error())
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckDoesNotAddToWhatIsWrongAlready(t *testing.T) {
	t.Parallel()
	err := config.Decode("f", []byte("name: [a]\nlayers: []\n"), &checked{err: func() error {
		return errors.Join(errors.New("whole"), config.FieldError("name", errors.New("again")), config.FieldError("layers", errors.New("empty")))
	}}, nil)
	want := "f:1:7: name: expected text, got a list\nf:2:1: layers: empty"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
