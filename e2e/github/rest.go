package github

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// enterpriseVersion is what a GitHub Enterprise Server says that it is.
const enterpriseVersion = "3.17.0"

// call is a request of REST. It is handled with the mutex of sim held.
type call struct {
	*http.Request
	sim   *Sim
	token *Token // nil if anonymous
	body  []byte
}

// answer is what a request is answered with.
type answer struct {
	status   int
	header   http.Header
	body     any    // becomes JSON
	raw      []byte // the body, if it is no JSON
	modified time.Time
}

// route is one path of REST.
type route struct {
	pattern    string // method and path, as http.ServeMux has them
	permission string // what is needed in a repository, and at which level
	level      string
	free       bool // costs nothing of the primary limit
	serve      func(c *call) answer
	repo       func(c *call, r *Repo) answer // instead of serve, for a repository
}

func ok(body any) answer { return answer{status: http.StatusOK, header: http.Header{}, body: body} }

func created(body any) answer {
	a := ok(body)
	a.status = http.StatusCreated
	return a
}

// problem is an error of the API.
func problem(status int, message string) answer {
	return answer{status: status, header: http.Header{}, body: fields{
		"message": message, "documentation_url": "https://docs.github.com/rest", "status": strconv.Itoa(status),
	}}
}

func notFound() answer { return problem(http.StatusNotFound, "Not Found") }

// gitPath is a request of git: the repository, and what is wanted of it.
var gitPath = regexp.MustCompile(`^/([^/]+/[^/]+?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)$`)

// apiHandler answers what comes to the first host.
func (s *Sim) apiHandler() http.Handler {
	mux := http.NewServeMux()
	for _, routes := range [][]route{repoRoutes(), gitRoutes(), appRoutes(), reportRoutes(), hookRoutes()} {
		for _, route := range routes {
			mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) { s.serveREST(w, r, route) })
		}
	}
	nothing := route{pattern: "/", serve: func(*call) answer { return notFound() }}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.serveREST(w, r, nothing) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		if path == "/graphql" || path == "/api/graphql" {
			s.serveGraphQL(w, r)
			return
		}
		if match := gitPath.FindStringSubmatch(path); match != nil {
			s.serveGit(w, r, match[1], match[2])
			return
		}
		rest, _ := strings.CutPrefix(path, "/api/v3")
		if below, is := strings.CutPrefix(rest, "/repositories/"); is {
			// A colon is in no name, so that nobody is called that.
			rest = "/repos/:id/" + below
		}
		if rest != path {
			r = r.Clone(r.Context())
			plain, err := url.PathUnescape(rest)
			if err != nil {
				http.Error(w, "bad path", http.StatusBadRequest)
				return
			}
			r.URL.Path, r.URL.RawPath = plain, rest
		}
		mux.ServeHTTP(w, r)
	})
}

// serveREST answers one request.
func (s *Sim) serveREST(w http.ResponseWriter, r *http.Request, route route) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	c := &call{Request: r, sim: s, body: body}
	s.mu.Lock()
	s.counts.routes[route.pattern]++
	token, authErr := s.authenticate(r, HostAPI)
	c.token = token
	fault := s.fault(route.pattern, c.repoName())
	a, done := c.decide(route, fault, authErr)
	c.finish(&a)
	s.mu.Unlock()
	defer done()
	s.write(w, r, a, fault)
}

// decide finds the answer, limits and faults included.
func (c *call) decide(route route, fault *Fault, authErr error) (answer, func()) {
	s := c.sim
	refusal, done := s.admit(c.token, c.Method, "core")
	if refusal != nil {
		return *refusal, done
	}
	b := s.bucket(c.token, "core")
	limited := s.limits.on && !route.free
	if fault.replaces() {
		a := fault.answer(budgetOf(c.token))
		b.used += fault.Points
		s.counts.points["core"] += fault.Points
		if limited && (fault.Primary != nil || fault.Secondary != nil) {
			b.header(a.header, s.opts.Skew)
		}
		if fault.Primary != nil {
			a.header.Set("X-RateLimit-Remaining", "0")
		}
		return a, done
	}
	if authErr != nil {
		return problem(http.StatusUnauthorized, authErr.Error()), done
	}
	exhausted := limited && b.left() == 0
	var a answer
	if exhausted && c.Header.Get("If-None-Match") == "" && c.Header.Get("If-Modified-Since") == "" {
		a = s.limits.primary.primaryAnswer(budgetOf(c.token))
	} else if a = c.handle(route); c.unchanged(&a) {
		a.status = http.StatusNotModified
	} else if exhausted {
		a = s.limits.primary.primaryAnswer(budgetOf(c.token))
	} else if !route.free {
		s.counts.points["core"]++
		if limited {
			b.used++
		}
	}
	if s.limits.on {
		b.header(a.header, s.opts.Skew)
	}
	return a, done
}

// handle calls the route, with its repository if it is about one.
func (c *call) handle(route route) answer {
	if route.repo == nil {
		return route.serve(c)
	}
	r, refusal := c.findRepo(route)
	if refusal != nil {
		return *refusal
	}
	return route.repo(c, r)
}

// repoName is the name that the repository in the path has now; empty if there is none.
func (c *call) repoName() string {
	owner, name := c.PathValue("owner"), c.PathValue("repo")
	switch {
	case name == "":
		return ""
	case owner == ":id":
		id, err := strconv.ParseInt(name, 10, 64)
		if r := c.sim.ids[id]; err == nil && r != nil {
			return r.fullName()
		}
		return ""
	default:
		return owner + "/" + name
	}
}

// findRepo finds the repository in the path, if the caller may do there what the route does.
func (c *call) findRepo(route route) (*Repo, *answer) {
	refuse := func(a answer) (*Repo, *answer) { return nil, &a }
	name := strings.ToLower(c.repoName())
	r := c.sim.names[name]
	moved := c.sim.former[name]
	if r == nil {
		r = moved
	}
	if r == nil {
		return refuse(notFound())
	}
	if c.token != nil && c.token.app != nil && route.permission != "app" {
		return refuse(problem(http.StatusUnauthorized, errBadCredentials.Error()))
	}
	visible, member := c.token.sees(r)
	if route.permission == "app" {
		visible = true // the App asks where it is installed; the handler decides
	}
	switch {
	case !visible:
		return refuse(notFound())
	case r == moved:
		return refuse(c.redirect(r))
	case r.disabled:
		return refuse(problem(http.StatusForbidden, "Repository access blocked"))
	case route.permission == "app":
	case c.token == nil && route.level == "write":
		return refuse(problem(http.StatusUnauthorized, "Requires authentication"))
	case (r.private || route.level == "write") && (!member || !c.token.may(route.permission, route.level)):
		if c.token.installation != nil {
			return refuse(problem(http.StatusForbidden, "Resource not accessible by integration"))
		}
		return refuse(problem(http.StatusForbidden, "Resource not accessible by personal access token"))
	case r.archived && route.level == "write":
		return refuse(problem(http.StatusForbidden, "Repository was archived so is read-only."))
	}
	return r, nil
}

// redirect sends the client to where the repository is whatever it is called.
func (c *call) redirect(r *Repo) answer {
	parts := strings.SplitN(strings.TrimPrefix(c.URL.EscapedPath(), "/"), "/", 4) // repos, owner, name, the rest
	location := fmt.Sprintf("%srepositories/%d", c.sim.API(), r.id)
	if len(parts) == 4 {
		location += "/" + parts[3]
	}
	if c.URL.RawQuery != "" {
		location += "?" + c.URL.RawQuery
	}
	status := http.StatusMovedPermanently
	if c.Method != http.MethodGet && c.Method != http.MethodHead {
		status = http.StatusTemporaryRedirect
	}
	a := problem(status, http.StatusText(status))
	a.body.(fields)["url"] = location
	a.header.Set("Location", location)
	return a
}

// page cuts a list of so many into pages, and links to the others. Path is that
// of the list below the API.
func (c *call) page(a *answer, total int, path string) (from, to int) {
	query := c.URL.Query()
	per, err := strconv.Atoi(query.Get("per_page"))
	if err != nil || per < 1 {
		per = 30
	}
	per = min(per, 100)
	page, err := strconv.Atoi(query.Get("page"))
	if err != nil || page < 1 {
		page = 1
	}
	last := max(1, (total+per-1)/per)
	var links []string
	link := func(n int, rel string) {
		query.Set("page", strconv.Itoa(n))
		links = append(links, fmt.Sprintf(`<%s%s?%s>; rel="%s"`, c.sim.API(), path, query.Encode(), rel))
	}
	if page > 1 {
		link(page-1, "prev")
	}
	if page < last {
		link(page+1, "next")
		link(last, "last")
	}
	if page > 1 {
		link(1, "first")
	}
	if len(links) > 0 {
		a.header.Set("Link", strings.Join(links, ", "))
	}
	return min((page-1)*per, total), min(page*per, total)
}

// unchanged gives an answer its validators, and tells whether the client has it already.
func (c *call) unchanged(a *answer) bool {
	if a.status != http.StatusOK || c.Method != http.MethodGet && c.Method != http.MethodHead {
		return false
	}
	if a.raw == nil {
		a.raw = mustJSON(a.body)
	}
	hash := sha256.New()
	if c.token != nil {
		hash.Write([]byte(c.token.value))
	}
	hash.Write(a.raw)
	hash.Write([]byte(a.header.Get("Link")))
	tag := `"` + hex.EncodeToString(hash.Sum(nil)) + `"`
	if !a.modified.IsZero() {
		a.header.Set("Last-Modified", a.modified.UTC().Format(http.TimeFormat))
	}
	known := false
	if match := c.Header.Get("If-None-Match"); match != "" {
		known = slices.ContainsFunc(strings.Split(match, ","), func(one string) bool {
			one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
			return one == tag || one == "*"
		})
	} else if since, err := http.ParseTime(c.Header.Get("If-Modified-Since")); err == nil && !a.modified.IsZero() {
		known = !a.modified.Truncate(time.Second).After(since)
	}
	if known {
		a.header.Set("ETag", tag)
	} else {
		a.header.Set("ETag", "W/"+tag)
	}
	return known
}

// finish gives an answer what all have.
func (c *call) finish(a *answer) {
	s := c.sim
	if a.status == http.StatusNotModified {
		a.raw = nil
	} else if a.raw == nil && a.body != nil {
		a.raw = mustJSON(a.body)
	}
	s.counts.statuses[a.status]++
	set := func(name, value string) {
		if a.header.Get(name) == "" {
			a.header.Set(name, value)
		}
	}
	set("Content-Type", "application/json; charset=utf-8")
	set("Date", s.now().Add(s.opts.Skew).UTC().Format(http.TimeFormat))
	set("X-GitHub-Request-Id", fmt.Sprintf("%04X:%06X", s.random.Uint32()&0xffff, s.random.Uint32()&0xffffff))
	set("X-GitHub-Media-Type", "github.v3; format=json")
	set("Cache-Control", "private, max-age=60, s-maxage=60")
	set("Vary", "Accept, Authorization, Cookie, X-GitHub-OTP")
	if s.opts.Enterprise {
		set("X-GitHub-Enterprise-Version", enterpriseVersion)
	}
}

// write sends an answer, or what a fault leaves of it.
func (s *Sim) write(w http.ResponseWriter, r *http.Request, a answer, fault *Fault) {
	s.delay(r)
	switch {
	case fault != nil && fault.Reset:
		reset(w)
		return
	case fault != nil && fault.Hang:
		s.hang(r)
		reset(w)
		return
	}
	header := w.Header()
	for name, values := range a.header {
		if s.opts.LowerCase && name != "Date" && !strings.HasPrefix(name, "Content-") {
			name = strings.ToLower(name)
		}
		header[name] = values
	}
	body := a.raw
	if fault != nil && (fault.Truncate || fault.Cut) {
		body = body[:len(body)/2]
	}
	if fault != nil && fault.Cut {
		header.Set("Content-Length", strconv.Itoa(len(a.raw)))
	}
	w.WriteHeader(a.status)
	// If it fails, the client is gone.
	_, _ = w.Write(body)
	if fault != nil && fault.Cut {
		// It flushes what there is before it breaks.
		_ = http.NewResponseController(w).Flush()
		reset(w)
	}
}

// Latency makes every answer of the API take so long.
func (s *Sim) Latency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// delay waits as long as answers take.
func (s *Sim) delay(r *http.Request) {
	s.mu.Lock()
	d := s.latency
	s.mu.Unlock()
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
}
