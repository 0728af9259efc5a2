package events

import (
	"fmt"
	"time"
)

// Duration is a time.Duration that reads and writes as text such as "90s", in
// the recipe, in the configuration and on the wire.
type Duration time.Duration

// String is the text form, as [time.Duration.String] gives it.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. Negative durations are
// refused: nothing in Tagship waits for a negative time.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a duration, expected a number with a unit such as 500ms, 30s, 10m or 2h", text)
	}
	*d = Duration(parsed)
	return nil
}

// ConfigType names the type in the configuration reference.
func (Duration) ConfigType() string { return "duration" }
