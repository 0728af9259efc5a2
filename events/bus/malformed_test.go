package bus_test

import (
	"strings"
	"testing"

	"github.com/tagship/tagship/events/eventstest"
)

func TestMalformedFacts(t *testing.T) {
	t.Parallel()
	s := eventstest.NewServer(t)
	b := s.Bus("cli")
	if _, err := b.Publish(t.Context(), doneFact("v1")); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"release.foo.bar.baz", "build.started.web.v1", "release.prod"} {
		if _, err := s.JetStream().Publish(t.Context(), subject, []byte("xx")); err != nil {
			t.Fatal(err)
		}
	}
	all, err := b.Malformed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range all {
		got = append(got, m.Origin.String()+" "+m.Subject)
		if m.Error == "" || m.Time.IsZero() {
			t.Errorf("%+v does not say what is wrong, or since when", m)
		}
	}
	// A request is answered by whoever reads it.
	if want := "BUILDS:2 build.started.web.v1, RELEASES:1 release.foo.bar.baz"; strings.Join(got, ", ") != want {
		t.Errorf("malformed are %v, expected %s", got, want)
	}
}
