package marathon

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// stream is a client of /v2/events.
type stream struct {
	types  []string
	frames chan []byte
	end    chan struct{} // closed by the server
}

// EventFault makes events of a type, or all if it is empty, get lost or late.
type EventFault struct {
	Type  string
	Late  bool // they come after the next event instead of never
	Times int  // all if 0

	held []Fields
	seen int
}

// MisbehaveEvents makes events go wrong from now on.
func (s *Sim) MisbehaveEvents(fault EventFault) {
	s.enter()
	defer s.leave()
	s.eventFaults = append(s.eventFaults, &fault)
}

// Disconnect ends all streams of events.
func (s *Sim) Disconnect() {
	s.enter()
	defer s.leave()
	s.disconnect()
}

func (s *Sim) disconnect() {
	for c := range s.streams {
		close(c.end)
		delete(s.streams, c)
	}
}

// Emit sends an event of any type and content.
func (s *Sim) Emit(kind string, fields Fields) {
	s.enter()
	defer s.leave()
	s.publish(kind, fields)
}

// publish sends an event to whom it may concern.
func (s *Sim) publish(kind string, fields Fields) {
	fields["eventType"], fields["timestamp"] = kind, stamp(s.time)
	var late []Fields
	for _, f := range s.eventFaults {
		late = append(late, f.held...)
		f.held = nil
	}
	for _, f := range s.eventFaults {
		if (f.Type == "" || f.Type == kind) && (f.Times == 0 || f.seen < f.Times) {
			f.seen++
			if f.Late {
				f.held = append(f.held, fields)
			}
			fields = nil
			break
		}
	}
	if fields != nil {
		s.send(fields)
	}
	for _, event := range late {
		s.send(event)
	}
}

// send writes an event to all streams; what is too slow loses it, and from 1.8 on the stream.
func (s *Sim) send(event Fields) {
	kind, _ := event["eventType"].(string)
	text := encode(event)
	for c := range s.streams {
		if len(c.types) > 0 && !slices.Contains(c.types, kind) {
			continue
		}
		select {
		case c.frames <- fmt.Appendf(nil, "event: %s\r\ndata: %s\r\n\r\n", kind, text):
		default:
			if s.minor >= 8 {
				close(c.end)
				delete(s.streams, c)
			}
		}
	}
}

// serveEvents is a stream of events until either side ends it.
func (s *Sim) serveEvents(w http.ResponseWriter, r *http.Request) {
	c := &stream{types: r.URL.Query()["event_type"], frames: make(chan []byte, 256), end: make(chan struct{})}
	s.enter()
	s.streams[c] = true
	s.publish("event_stream_attached", Fields{"remoteAddress": "127.0.0.1"})
	s.leave()
	defer func() {
		s.enter()
		defer s.leave()
		delete(s.streams, c)
		s.publish("event_stream_detached", Fields{"remoteAddress": "127.0.0.1"})
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := http.NewResponseController(w)
	heartbeat := time.NewTicker(s.opts.Heartbeat)
	defer heartbeat.Stop()
	for {
		// A client that is gone is found by its context.
		_ = flusher.Flush()
		var frame []byte
		select {
		case frame = <-c.frames:
		case <-heartbeat.C:
			frame = []byte("\r\n")
		case <-c.end:
			return
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
			return
		}
		_, _ = w.Write(frame)
	}
}

func (s *Sim) showPlan(d *deployment) Fields {
	plan := Fields{"id": d.id, "version": d.version, "steps": s.showSteps(d)}
	if s.minor < 8 { // the whole tree twice, which makes them big
		apps := []Fields{}
		for _, a := range s.apps {
			if a.spec != nil {
				apps = append(apps, s.show(a.spec))
			}
		}
		group := Fields{"id": "/", "version": d.version, "apps": apps, "groups": []Fields{}, "dependencies": []string{}}
		plan["original"], plan["target"] = group, group
	}
	return plan
}

func (s *Sim) publishPlan(kind string, d *deployment, reason string) {
	fields := Fields{"id": d.id, "plan": s.showPlan(d)}
	if reason != "" {
		fields["reason"] = reason
	}
	s.publish(kind, fields)
}

func (s *Sim) publishStep(kind string, d *deployment) {
	s.publish(kind, Fields{"plan": s.showPlan(d), "currentStep": Fields{"actions": []Fields{s.showAction(d.steps[d.step-1], false)}}})
}

func (s *Sim) publishStatus(t *task, message string) {
	s.publish("status_update_event", Fields{
		"slaveId": "agent-1", "taskId": t.id, "taskStatus": t.state, "message": message, "appId": t.app.id,
		"host": "agent-1.example.org", "ipAddresses": []Fields{{"ipAddress": "10.0.0.1", "protocol": "IPv4"}},
		"ports": []int{t.port}, "version": stamp(t.spec.version),
	})
}

func (s *Sim) publishHealth(t *task) {
	fields := Fields{"appId": t.app.id, "version": stamp(t.spec.version), "alive": t.alive}
	if s.minor < 4 {
		fields["taskId"] = t.id
	} else {
		fields["instanceId"] = t.instance()
	}
	s.publish("health_status_changed_event", fields)
}
