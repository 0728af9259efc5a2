package github

import (
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"strings"
)

// The routes that are no patterns of REST.
const (
	RouteGraphQL = "graphql"
	RouteGit     = "git"
	RouteArchive = "archive"
)

// Fault makes some requests go wrong. What it does is the first of the fields
// below that is set.
type Fault struct {
	// Route is the route, such as "GET /repos/{owner}/{repo}/tags", [RouteGraphQL],
	// [RouteGit] or [RouteArchive]; any if empty.
	Route string
	// Repo is the repository that is asked for, such as acme/web; any if empty. For
	// Partial it is the repository that is left out.
	Repo string
	// Skip is how many requests go well before, and Times how many go wrong then; all if 0.
	Skip, Times int

	Reset     bool       // the connection is reset without an answer
	Hang      bool       // there is no answer until the client gives up
	Secondary *LimitForm // a secondary limit
	Primary   *LimitForm // a primary limit, whatever is left
	Status    int        // the status, with Header and Body
	Header    map[string]string
	Body      string
	Points    int // what the failure costs of the primary limit in addition

	Truncate bool // half of the true answer, which looks complete
	Cut      bool // half of the true answer, then the connection breaks
	Partial  bool // GraphQL leaves the repository out, with an error

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

// due counts a request that the fault is for, and tells whether it goes wrong.
func (f *Fault) due() bool {
	if f.Times > 0 && f.seen >= f.Skip+f.Times {
		return false
	}
	f.seen++
	return f.seen > f.Skip
}

// fault finds what goes wrong with a request; nil if nothing does.
func (s *Sim) fault(route, repo string) *Fault {
	for _, f := range s.faults {
		if f.Partial || f.Route != "" && f.Route != route || f.Repo != "" && !strings.EqualFold(f.Repo, repo) {
			continue
		}
		if f.due() {
			return f
		}
	}
	return nil
}

// partial tells whether GraphQL leaves a repository out.
func (s *Sim) partial(r *Repo) bool {
	return slices.ContainsFunc(s.faults, func(f *Fault) bool {
		return f.Partial && (f.Repo == "" || strings.EqualFold(f.Repo, r.fullName())) && f.due()
	})
}

// replaces tells whether there is no true answer at all.
func (f *Fault) replaces() bool {
	return f != nil && (f.Reset || f.Hang || f.Secondary != nil || f.Primary != nil || f.Status != 0)
}

// answer is what the fault answers instead.
func (f *Fault) answer(who string) answer {
	switch {
	case f.Secondary != nil:
		return f.Secondary.secondaryAnswer()
	case f.Primary != nil:
		return f.Primary.primaryAnswer(who)
	}
	a := answer{status: f.Status, header: http.Header{}, raw: []byte(f.Body)}
	if f.Body == "" {
		a.raw = []byte("<html><body><h1>" + http.StatusText(f.Status) + "</h1>This page is taking too long to load.</body></html>")
	}
	a.header.Set("Content-Type", "text/html; charset=utf-8")
	for name, value := range f.Header {
		a.header.Set(name, value)
	}
	return a
}

// hang waits until the client, or everything, ends.
func (s *Sim) hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
}

// reset breaks a connection as a firewall does.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	plain := conn
	if secured, is := conn.(*tls.Conn); is {
		plain = secured.NetConn()
	}
	if tcp, is := plain.(*net.TCPConn); is {
		// Without it the rest would be sent in peace; if it fails, the close is good enough.
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close() // nobody is left to be told
}
