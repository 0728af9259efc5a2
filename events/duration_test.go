package events_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tagship/tagship/events"
)

func TestDurationText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text, want, err string
	}{
		{text: "90s", want: "1m30s"},
		{text: "0", want: "0s"},
		{text: "500ms", want: "500ms"},
		{text: "1h0.5s", want: "1h0m0.5s"},
		{text: "", err: `"" is not a duration, expected a number with a unit such as 500ms, 30s, 10m or 2h`},
		{text: "10", err: `"10" is not a duration, expected a number with a unit such as 500ms, 30s, 10m or 2h`},
		{text: "-1s", err: `"-1s" is not a duration, expected a number with a unit such as 500ms, 30s, 10m or 2h`},
		{text: "3 weeks", err: `"3 weeks" is not a duration, expected a number with a unit such as 500ms, 30s, 10m or 2h`},
	}
	for _, tt := range tests {
		var d events.Duration
		err := d.UnmarshalText([]byte(tt.text))
		switch {
		case tt.err != "":
			if err == nil || err.Error() != tt.err {
				t.Errorf("%q: error %v, want %s", tt.text, err, tt.err)
			}
		case err != nil:
			t.Errorf("%q: %v", tt.text, err)
		case d.String() != tt.want:
			t.Errorf("%q reads as %s, want %s", tt.text, d, tt.want)
		}
	}
}

func TestDurationJSON(t *testing.T) {
	t.Parallel()
	body, err := json.Marshal(events.Duration(90 * time.Second))
	if err != nil || string(body) != `"1m30s"` {
		t.Errorf("Marshal = %s, %v", body, err)
	}
	var d events.Duration
	if err := json.Unmarshal(body, &d); err != nil || time.Duration(d) != 90*time.Second {
		t.Errorf("Unmarshal = %s, %v", d, err)
	}
	if name := d.ConfigType(); name != "duration" {
		t.Errorf("ConfigType = %q", name)
	}
}
