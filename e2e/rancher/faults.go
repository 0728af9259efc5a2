package rancher

import (
	"net"
	"net/http"
	"slices"
)

// Fault makes some requests go wrong. What it does is the first of the fields
// below that is set.
type Fault struct {
	// Route is the route, such as "GET /services/{id}"; any if empty.
	Route string
	// Skip is how many requests go well before, and Times how many go wrong then; all if 0.
	Skip, Times int

	Reset bool // the connection is reset, and nothing was done
	Lost  bool // what was asked is done, and the connection is reset
	Hang  bool // nothing is done, and there is no answer until the client gives up
	// Status is answered: as an error of the API with this Code, such as 409 and
	// Conflict, else with Body as HTML. Nothing is done, unless it is After.
	Status int
	Code   string
	Body   string
	After  bool

	sim  *Sim
	seen int
}

// Misbehave makes requests go wrong until [Fault.Stop].
func (s *Sim) Misbehave(fault Fault) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &fault
	f.sim = s
	s.faults = append(s.faults, f)
	return f
}

// Stop ends the fault.
func (f *Fault) Stop() {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	f.sim.faults = slices.DeleteFunc(f.sim.faults, func(x *Fault) bool { return x == f })
}

// Seen is how many requests went wrong.
func (f *Fault) Seen() int {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	return max(0, f.seen-f.Skip)
}

// fault finds what goes wrong with a request; nil if nothing does.
func (s *Sim) fault(route string) *Fault {
	for _, f := range s.faults {
		if f.Route != "" && f.Route != route || f.Times > 0 && f.seen >= f.Skip+f.Times {
			continue
		}
		if f.seen++; f.seen > f.Skip {
			return f
		}
	}
	return nil
}

// spoil answers as the fault does.
func (f *Fault) spoil(w http.ResponseWriter, r *http.Request) {
	switch {
	case f.Reset || f.Lost:
		reset(w)
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-f.sim.ctx.Done():
		}
	case f.Code != "":
		f.sim.mu.Lock()
		id := f.sim.uuid()
		f.sim.mu.Unlock()
		write(w, f.Status, (&apiError{status: f.Status, code: f.Code, message: f.Code}).body(id))
	default:
		body := f.Body
		if body == "" {
			body = "<html><body><h1>" + http.StatusText(f.Status) + "</h1></body></html>"
		}
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(f.Status)
		// A client that has gone needs no answer.
		_, _ = w.Write([]byte(body))
	}
}

// reset breaks a connection as a firewall does.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, is := conn.(*net.TCPConn); is {
		// Without it the rest would be sent in peace; if it fails, the close is good enough.
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close() // nobody is left to be told
}
