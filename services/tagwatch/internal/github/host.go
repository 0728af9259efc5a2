package github

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
	"go.uber.org/zap"
)

// Settings say how a GitHub is reached.
type Settings struct {
	// Name is github.com, or the host of an Enterprise server.
	Name string
	// API is the address of the REST API; empty for the one that GitHub has by itself.
	API string
	// Token is a personal access token, and App a GitHub App; at most one of them.
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
	// Spool is a folder of this process alone, for unfinished archives.
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

// Open prepares for asking a GitHub; it does not ask yet. The error names the
// field of the configuration that is wrong.
func Open(s Settings, log *zap.Logger) (*Host, error) {
	return nil, nil
}

// Host is one GitHub. It is safe for concurrent use.
type Host struct {
	settings    Settings
	api         *url.URL // of REST, ending in a slash
	graphql     *url.URL
	transport   http.RoundTripper // to any host, by the CA and the proxy; it knows no credentials
	credentials credentials
	log         *zap.Logger
}

// credentials are what GitHub knows this program by.
type credentials interface {
	// client gives the client for the repositories of an owner. Without an owner
	// it is the only client, if there is only one.
	client(ctx context.Context, owner string) (*client, error)
	// clients are those that were given so far, in a stable order.
	clients() []*client
}

// client gives the client for the repositories of an owner, such as acme: with a
// token there is one for all, with a GitHub App one for each installation. The
// error is a [*watch.GoneError] if the App is not installed there.
func (h *Host) client(ctx context.Context, owner string) (*client, error) {
	return h.credentials.client(ctx, owner)
}

// graphqlLists says whether tags are listed by GraphQL.
func (h *Host) graphqlLists() bool { return false }

// owner is the first part of owner/name.
func owner(repo watch.Repo) string { return "" }

// Name is github.com, or the host of an Enterprise server.
func (h *Host) Name() string { return h.settings.Name }

// Where is a repository's address for people.
func (h *Host) Where(repo watch.Repo) string { return "https://" + h.settings.Name + "/" + repo.Name }
