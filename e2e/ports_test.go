package e2e_test

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

// Ports of the tests lie below those that Linux hands out for outgoing
// connections (32768 and up), where a program that was killed might not get its
// port back, and above those that targets choose from.
const (
	firstPort = 30000
	portCount = 2700
)

var nextPort atomic.Int64

// freePort is a port that no other test of this run uses.
func freePort(t *testing.T) int {
	t.Helper()
	// Runs at the same time begin at different places.
	nextPort.CompareAndSwap(0, int64(os.Getpid())*53)
	for range portCount {
		port := firstPort + int(nextPort.Add(1)%portCount)
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
