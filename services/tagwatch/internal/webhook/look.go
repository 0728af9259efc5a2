package webhook

import (
	"io"
	"net/http"
	"time"

	"github.com/tagship/tagship/events"
)

// lookEvent is what Count is told for every call of [Look].
const lookEvent = "look"

// Look receives calls, which are POSTs, that ask to look at one app, which the path value "app"
// names. Any git server can make them: the body is not understood, and not kept.
type Look struct {
	options  Options
	keys     []key
	watches  func(app string) bool
	patience time.Duration
}

// NewLook receives calls for the apps that are watched. With secrets, a call
// must prove that it knows one; without, it is open to everybody.
func NewLook(secrets []string, watches func(app string) bool, options Options) *Look {
	return &Look{options: options, keys: newKeys([]Host{{Secrets: secrets}}), watches: watches, patience: patience}
}

// ServeHTTP receives one call.
func (l *Look) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.options.give(w, r, lookEvent, l.receive(w, r))
}

func (l *Look) receive(w http.ResponseWriter, r *http.Request) *answer {
	if r.ContentLength > maxBody {
		return bodyTooLarge()
	}
	hurry(w, l.patience)
	seals := newSeals(l.keys)
	if _, err := io.Copy(seals, http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		return unread(err)
	}
	arrived := time.Now()
	if len(l.keys) > 0 && !l.proves(r.Header, seals) {
		return tell(http.StatusUnauthorized, Unsigned, "expected a call that is signed with one of webhook_secrets (X-Hub-Signature-256, X-Gitea-Signature), or has it as X-Gitlab-Token")
	}
	app := r.PathValue("app")
	if !l.watches(app) {
		return tell(http.StatusNotFound, Unwatched, "no app %.*q is watched", events.MaxApp, app)
	}
	return l.options.store(r.Context(), &events.Hook{App: app, By: "webhook"}, arrived)
}

// proves tells whether the headers show that the caller knows a secret. The
// first of them that is there decides.
func (l *Look) proves(header http.Header, seals *seals) bool {
	if text := header.Get("X-Hub-Signature-256"); text != "" { // GitHub, Gitea, Forgejo
		signature, ok := parseSignature(text, "sha256=")
		return ok && len(seals.signers(signature)) > 0
	}
	if text := header.Get("X-Gitea-Signature"); text != "" {
		signature, ok := parseSignature(text, "")
		return ok && len(seals.signers(signature)) > 0
	}
	return isSecret(l.keys, header.Get("X-Gitlab-Token"))
}
