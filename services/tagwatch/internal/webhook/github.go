package webhook

import (
	"errors"
	"mime"
	"net/http"
	"time"
)

// GitHub receives the deliveries of GitHubs, which are POSTs. It accepts none that is not signed
// with SHA-256, and answers each within a second of its body having arrived.
type GitHub struct {
	options  Options
	keys     []key
	watches  func(host, id, name string) bool
	rooms    *rooms
	patience time.Duration
}

// NewGitHub receives deliveries of the given hosts. Watches tells whether anybody
// watches the repository of a host that is known by an id, which may be empty,
// and a name such as acme/web.
func NewGitHub(hosts []Host, watches func(host, id, name string) bool, options Options) *GitHub {
	return &GitHub{options: options, keys: newKeys(hosts), watches: watches, rooms: newRooms(), patience: patience}
}

// ServeHTTP receives one delivery.
func (g *GitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.options.give(w, r, label(r.Header.Get("X-GitHub-Event")), g.receive(w, r))
}

// receive decides on a delivery.
func (g *GitHub) receive(w http.ResponseWriter, r *http.Request) *answer {
	form, signature, done := g.checkHeaders(r)
	if done != nil {
		return done
	}
	hurry(w, g.patience)
	body, seals := &body{rooms: g.rooms}, newSeals(g.keys)
	defer body.release()
	if err := body.read(http.MaxBytesReader(w, r.Body, maxBody), r.ContentLength, seals); err != nil {
		return unread(err)
	}
	arrived := time.Now()
	signers := seals.signers(signature)
	if len(signers) == 0 {
		return tell(http.StatusUnauthorized, Unsigned, "the signature is not of any of the secrets that are set")
	}
	hint, done := understand(r.Header.Get("X-GitHub-Event"), form, body.bytes)
	if done != nil {
		return done
	}
	host := hint.host(signers, r.Header.Get("X-GitHub-Enterprise-Host"))
	if host == "" {
		return tell(http.StatusAccepted, Unwatched, "ignored: several hosts have this secret, and the repository is of none of them")
	}
	if !g.watches(host, hint.RepoID, hint.Repo) {
		return tell(http.StatusAccepted, Unwatched, "ignored: nobody watches %s/%s", host, hint.Repo)
	}
	hook := hint.Hook
	hook.Host, hook.Delivery = host, delivery(r)
	return g.options.store(r.Context(), &hook, arrived)
}

// checkHeaders is done with what needs no look at the body, and says of all else
// whether the body is a form, and its signature.
func (g *GitHub) checkHeaders(r *http.Request) (form bool, signature []byte, done *answer) {
	if len(g.keys) == 0 {
		return false, nil, tell(http.StatusNotFound, Disabled, "no webhook_secrets are set, and nothing is accepted without")
	}
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind {
	case "application/json":
	case "application/x-www-form-urlencoded":
		form = true
	default:
		return false, nil, tell(http.StatusUnsupportedMediaType, Unsupported, "expected the content type application/json or application/x-www-form-urlencoded")
	}
	signature, ok := parseSignature(r.Header.Get("X-Hub-Signature-256"), "sha256=")
	if !ok {
		return false, nil, tell(http.StatusUnauthorized, Unsigned, "expected the header X-Hub-Signature-256 with sha256= and 64 hexadecimal digits; is a secret set at the webhook?")
	}
	if r.ContentLength > maxBody {
		return false, nil, bodyTooLarge()
	}
	return form, signature, nil
}

// understand reads the payload of a delivery that is signed. Where it makes no hint, the answer says why.
func understand(event string, form bool, payload []byte) (*hint, *answer) {
	switch {
	case event == "":
		return nil, tell(http.StatusBadRequest, Malformed, "the header X-GitHub-Event is missing")
	case event == eventPing:
		return nil, tell(http.StatusOK, Ping, "pong")
	case label(event) == otherEvent:
		return nil, tell(http.StatusAccepted, Ignored, "ignored: the event says nothing about tags")
	}
	if form {
		var err error
		if payload, err = formPayload(payload); err != nil {
			return nil, tell(http.StatusBadRequest, Malformed, "%v", err)
		}
	}
	hint, err := read(event, payload)
	switch {
	case errors.Is(err, errNoHint):
		return nil, tell(http.StatusAccepted, Ignored, "ignored: %v", err)
	case err != nil:
		return nil, tell(http.StatusBadRequest, Malformed, "%v", err)
	}
	return hint, nil
}
