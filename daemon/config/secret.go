package config

import (
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Secret is text that must not be seen. Whatever way it is printed, logged or encoded, it shows as [redacted]; only
// Reveal gives the text. It must not be the key of a map: encoding/json writes the keys of a map as they are.
type Secret string

// Reveal returns the text, for the one call that needs it.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string { return redacted }

// GoString redacts %#v.
func (s Secret) GoString() string { return redacted }

// Format redacts every verb, also the wrong ones, for which fmt shows the raw value.
func (s Secret) Format(f fmt.State, _ rune) {
	// A fmt.State keeps no error for the caller to see.
	_, _ = io.WriteString(f, redacted)
}

// MarshalJSON redacts JSON, and with it zap's reflected fields.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText redacts encodings of text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalYAML redacts YAML.
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }

// ConfigType names the type in the reference.
func (s Secret) ConfigType() string { return "secret text" }
