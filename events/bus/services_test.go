package bus_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

func TestServices(t *testing.T) {
	t.Parallel()
	server := eventstest.NewServer(t)
	asking := server.Bus("cli")
	expect := func(want ...bus.Service) {
		t.Helper()
		eventstest.Eventually(t, func() error {
			have, err := asking.Services(t.Context())
			if err != nil {
				return err
			}
			if diff := cmp.Diff(want, have, cmpopts.IgnoreFields(bus.Service{}, "ID", "Host")); diff != "" {
				return fmt.Errorf("services differ (-want +have):\n%s", diff)
			}
			return nil
		})
	}
	expect() // nobody answers

	// A service of somebody else, on the same NATS.
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := micro.AddService(nc, micro.Config{Name: "foreign", Version: "1.0.0"}); err != nil {
		t.Fatal(err)
	}

	run := func(service string) (stop func()) {
		b := server.Bus(service)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- b.Run(ctx, bus.Worker{
				Consumer: bus.Consumer{Name: service, Stream: events.StreamBuilds, Filters: []string{events.BuildRequested.All()}},
				Handle: bus.Handle(func(context.Context, events.Delivery[*events.Request]) ([]events.Fact, error) {
					return nil, events.Skip("nothing to do")
				}),
			})
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	answering := func(name string) bus.Service {
		return bus.Service{Name: name, Version: "0.0.0", Consumers: []string{"BUILDS/" + name}}
	}
	stopOne, stopTwo, stopOther := run("builder"), run("builder"), run("another")
	defer stopOther()
	expect(answering("another"), answering("builder"), answering("builder"))
	stopOne()
	expect(answering("another"), answering("builder"))
	stopTwo()
	expect(answering("another"))
}
