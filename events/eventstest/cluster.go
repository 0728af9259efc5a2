package eventstest

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Cluster is several servers on the loopback interface that replicate to each other.
type Cluster []*Server

// NewCluster starts a cluster of n nodes that lives as long as the test.
func NewCluster(t testing.TB, n int) Cluster {
	t.Helper()
	routes := make([]string, n)
	ports := make([]int, n)
	for i := range n {
		ports[i] = freePort(t)
		routes[i] = fmt.Sprintf("nats://127.0.0.1:%d", ports[i])
	}
	var c Cluster
	for i := range n {
		c = append(c, NewServer(t, func(o *server.Options) {
			o.ServerName = fmt.Sprintf("node%d", i)
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		}))
	}
	Eventually(t, func() error {
		for _, s := range c {
			if s.server.JetStreamIsLeader() {
				return nil
			}
		}
		return fmt.Errorf("the cluster has no leader")
	})
	return c
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// URL names every node.
func (c Cluster) URL() string {
	urls := make([]string, len(c))
	for i, s := range c {
		urls[i] = s.URL()
	}
	return strings.Join(urls, ",")
}

// LeaderOf is the node that leads a stream; nil while none does.
func (c Cluster) LeaderOf(stream string) *Server {
	for _, s := range c {
		if s.server.Running() && s.server.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return s
		}
	}
	return nil
}
