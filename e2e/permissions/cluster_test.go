package permissions_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/conf"
)

// What a cluster must not lose stands in its configuration. That it starts
// takes three machines and their certificates; that it parses does not.
func TestClusterConfiguration(t *testing.T) {
	for _, user := range users() {
		t.Setenv(variable(user), "hash")
	}
	t.Setenv("NATS_NODE", "nats-1")
	t.Setenv("NATS_ADVERTISE", "nats-1:6222")
	file, err := conf.ParseFile(filepath.Join("..", "..", "deploy", "cluster.conf"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		path []string
		want any
	}{
		"every write is synced":             {[]string{"jetstream", "sync_interval"}, "always"},
		"routes check the other side":       {[]string{"cluster", "tls", "verify"}, true},
		"each server has its name":          {[]string{"server_name"}, "nats-1"},
		"the users are those of one server": {[]string{"system_account"}, "SYS"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, at(t, file, tt.path...)); diff != "" {
				t.Errorf("%v (-want +got):\n%s", tt.path, diff)
			}
		})
	}
}

// at is the value at a path of the configuration.
func at(t *testing.T, value any, path ...string) any {
	t.Helper()
	for _, key := range path {
		section, ok := value.(map[string]any)
		if !ok {
			t.Fatalf("there is no section above %s", key)
		}
		value = section[key]
	}
	return value
}
