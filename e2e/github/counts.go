package github

import "maps"

// The hosts that tokens are counted by.
const (
	HostAPI      = "api"
	HostGit      = "git"
	HostArchives = "archives"
)

// counts is what happened so far.
type counts struct {
	routes   map[string]int
	statuses map[int]int
	points   map[string]int
	tokens   map[string]map[string]int // by host and secret
}

func newCounts() counts {
	return counts{
		routes: map[string]int{}, statuses: map[int]int{}, points: map[string]int{},
		tokens: map[string]map[string]int{HostAPI: {}, HostGit: {}, HostArchives: {}},
	}
}

// Requests is how many requests a route had, such as
// "GET /repos/{owner}/{repo}/tags", [RouteGraphQL], [RouteGit] or [RouteArchive].
// A request by a repository's id counts for the same route; the empty route is all.
func (s *Sim) Requests(route string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if route != "" {
		return s.counts.routes[route]
	}
	sum := 0
	for _, n := range s.counts.routes {
		sum += n
	}
	return sum
}

// Routes is how many requests every route had.
func (s *Sim) Routes() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts.routes)
}

// Answered is how many requests of the API were answered with a status; 304 are those that cost nothing.
func (s *Sim) Answered(status int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.statuses[status]
}

// Points is how many points of the primary limit were used: of core or of graphql.
func (s *Sim) Points(resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.points[resource]
}

// TokensSeen is how often each secret was sent to a host: [HostAPI], [HostGit] or [HostArchives].
func (s *Sim) TokensSeen(host string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts.tokens[host])
}

// ResetCounts begins to count anew.
func (s *Sim) ResetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = newCounts()
}
