package github

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/spool"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
)

// Settings say how a GitHub is reached.
type Settings struct {
	// Name is github.com, or the host of an Enterprise server.
	Name string
	// API is the address of the REST API; empty for the one that GitHub has by itself.
	API string
	// Token is a personal access token, and App a GitHub App; at most one of
	// them. Without any only public repositories can be read, few times an hour.
	Token string
	App   *App
	// CA is the path of a file with the certificates that the server's is
	// checked against; empty for the machine's own.
	CA string
	// Proxy is the address of an HTTP proxy; empty for what the environment says.
	Proxy string
	// List is how tags are listed: [ListGraphQL] or [ListREST]. Without
	// credentials it is always REST, since GraphQL wants some.
	List string
	// ArchiveHosts are hosts that archives may come from, beside the API's own
	// and codeload.Name.
	ArchiveHosts []string
	// Spool is a folder of this Host alone, for unfinished archives. What is in it is removed.
	Spool string
	// MaxArchive is how long an archive may be, in compressed bytes.
	MaxArchive int64
	// Timeout is how long one archive may take. Every other request has a short one of its own.
	Timeout time.Duration
	// UserAgent is how this program names itself.
	UserAgent string
}

// App is who a GitHub App is.
type App struct {
	ID         int64
	PrivateKey []byte // in PEM
}

// The ways to list tags.
const (
	ListGraphQL = "graphql"
	ListREST    = "rest"
)

// Host is one GitHub. It is safe for concurrent use.
type Host struct {
	settings    Settings
	api         *url.URL          // of REST, ending in a slash
	graphql     *url.URL          // on the same host
	transport   http.RoundTripper // to any host, by the CA and the proxy; it knows no credentials
	credentials credentials
	archiver    *archiver
	sweeps      sweeps
	pace        pace
	recipes     recipes
	log         *zap.Logger
}

var (
	_ watch.Host       = (*Host)(nil)
	_ watch.Directory  = (*Host)(nil)
	_ watch.Verifier   = (*Host)(nil)
	_ watch.Accountant = (*Host)(nil)
)

// Open prepares for asking a GitHub; it does not ask yet. The error names the
// field of the configuration that is wrong.
func Open(s Settings, log *zap.Logger) (*Host, error) {
	transport, err := newTransport(s)
	if err != nil {
		return nil, err
	}
	if err := spool.Clear(s.Spool); err != nil {
		return nil, err
	}
	return open(s, transport, log)
}

// open is [Open] with a transport.
func open(s Settings, transport http.RoundTripper, log *zap.Logger) (*Host, error) {
	api, err := apiAddress(s)
	if err != nil {
		return nil, err
	}
	h := &Host{
		settings:  s,
		api:       api,
		graphql:   graphqlAddress(api),
		transport: transport,
		log:       log.With(zap.String("github", s.Name)),
	}
	h.archiver = newArchiver(archiverOptions{
		Transport: transport,
		UserAgent: s.UserAgent,
		Hosts:     append([]string{api.Host, "codeload." + s.Name}, s.ArchiveHosts...),
		Plain:     api.Scheme == "http",
		Spool:     s.Spool,
		MaxBytes:  s.MaxArchive,
		Timeout:   s.Timeout,
	})
	switch {
	case s.App != nil && s.Token != "":
		return nil, errors.New("app stands beside token: use one of them")
	case s.App != nil:
		if h.credentials, err = newApp(h, s.App); err != nil {
			return nil, err
		}
	case s.Token != "":
		h.credentials = single{h.newClient("token", credentialToken, func(l *limiter) http.RoundTripper {
			return &authorized{tokens: personal(s.Token), next: l}
		})}
	default:
		h.credentials = single{h.newClient("anonymous", credentialNone, nil)}
	}
	if h.hasCredentials() && h.api.Scheme == "http" && !loopback(h.api.Hostname()) {
		h.log.Warn("the credentials go over plain http, where others can read them; use https", zap.Stringer("api", h.api))
	}
	return h, nil
}

// apiAddress is where the REST API is.
func apiAddress(s Settings) (*url.URL, error) {
	address := s.API
	switch {
	case address != "":
	case s.Name == "github.com":
		address = "https://api.github.com/"
	case strings.HasSuffix(s.Name, ".ghe.com"): // Enterprise Cloud with data residency
		address = "https://api." + s.Name + "/"
	default:
		address = "https://" + s.Name + "/api/v3/"
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("api is not an address, expected one such as https://ghe.example.org/api/v3/") // the cause could repeat credentials
	case u.User != nil:
		return nil, errors.New("api has credentials in it, expected them in token or app")
	}
	u.Host = strings.ToLower(u.Host)
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u, nil
}

// graphqlAddress is where GraphQL is, which stands beside REST and not in it.
func graphqlAddress(api *url.URL) *url.URL {
	u := *api
	u.Path = strings.TrimSuffix(api.Path, "v3/") + "graphql"
	return &u
}

// newTransport reaches any host, by the CA and the proxy that are configured.
func newTransport(s Settings) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = maxConcurrent
	if s.CA != "" {
		pem, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s has no certificate in it, expected PEM: -----BEGIN CERTIFICATE-----", s.CA)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if s.Proxy != "" {
		proxy, err := url.Parse(s.Proxy)
		if err != nil || proxy.Host == "" {
			return nil, errors.New("proxy is not an address, expected one such as http://proxy.example.org:3128") // the cause could repeat a password
		}
		t.Proxy = http.ProxyURL(proxy)
	}
	return t, nil
}

// Name is github.com, or the host of an Enterprise server.
func (h *Host) Name() string { return h.settings.Name }

// Where is a repository's address for people.
func (h *Host) Where(repo watch.Repo) string { return "https://" + h.settings.Name + "/" + repo.Name }

// client gives the client for the repositories of an owner, such as acme: with a
// token there is one for all, with a GitHub App one for each installation. The
// error is a [*watch.GoneError] if the App is not installed there.
func (h *Host) client(ctx context.Context, owner string) (*client, error) {
	return h.credentials.client(ctx, owner)
}

func (h *Host) hasCredentials() bool { return h.settings.App != nil || h.settings.Token != "" }

// graphqlLists says whether tags are listed by GraphQL.
func (h *Host) graphqlLists() bool { return h.settings.List != ListREST && h.hasCredentials() }

// owner is the first part of owner/name.
func owner(repo watch.Repo) string {
	name, _, _ := strings.Cut(repo.Name, "/")
	return name
}

// checkRedirect follows GitHub to where a renamed repository is, on the API's own
// host only. It wants requests repeated as they were, also where net/http would
// make a GET of a POST.
func (h *Host) checkRedirect(req *http.Request, via []*http.Request) error {
	const most = 5
	if len(via) >= most {
		return fmt.Errorf("%s redirects more than %d times", h.settings.Name, most)
	}
	if err := checkOrigin(h.api, req.URL); err != nil {
		return err
	}
	first := via[0]
	if req.Method == first.Method {
		return nil
	}
	req.Method = first.Method
	if first.GetBody != nil {
		body, err := first.GetBody()
		if err != nil {
			return fmt.Errorf("repeat the request: %w", err)
		}
		req.Body, req.GetBody, req.ContentLength = body, first.GetBody, first.ContentLength
		req.Header.Set("Content-Type", first.Header.Get("Content-Type"))
	}
	return nil
}

// confined sends requests to the API's own host, and refuses every other: what
// passes it has credentials.
type confined struct {
	api  *url.URL
	next http.RoundTripper
}

// RoundTrip sends the request if it goes to the API.
func (c *confined) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkOrigin(c.api, req.URL); err != nil {
		closeBody(req)
		return nil, err
	}
	return c.next.RoundTrip(req)
}

// checkOrigin refuses an address that is not on the API's own host.
func checkOrigin(api, to *url.URL) error {
	if to.Scheme == api.Scheme && strings.EqualFold(hostPort(to), hostPort(api)) {
		return nil
	}
	return fmt.Errorf("a request to %s was sent on to %s://%s, which gets no credentials; if that is the API, configure its address as api", api.Host, to.Scheme, to.Host)
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "http" {
		return net.JoinHostPort(u.Hostname(), "80")
	}
	return net.JoinHostPort(u.Hostname(), "443")
}

// loopback tells whether a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
