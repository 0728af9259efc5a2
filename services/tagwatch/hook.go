package tagwatch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tagship/tagship/events"
	"go.uber.org/zap"
)

const (
	// maxHookBody is what GitHub sends at most, the most talkative of servers.
	maxHookBody = 25 << 20
	// hookTimeout is below the 10 s that servers wait for an answer.
	hookTimeout = 5 * time.Second
)

// hook turns a call of a git server's hook into a request to look now. Nothing
// in the call is believed or kept: all it can do is to make this service look.
type hook struct {
	watches func(app string) bool
	request func(ctx context.Context, r *events.Request) (events.Stored, error)
	log     *zap.Logger
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	app := r.PathValue("app")
	if !h.watches(app) {
		http.Error(w, fmt.Sprintf("no app %q is watched", app), http.StatusNotFound)
		return
	}
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxHookBody)); err != nil {
		http.Error(w, fmt.Sprintf("cannot read the body, which is not needed, to its end: %v", err), http.StatusRequestEntityTooLarge)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), hookTimeout)
	defer cancel()
	if _, err := h.request(ctx, events.NewRequest(events.TagRequested, "", app, "", "webhook")); err != nil {
		h.log.Warn("the request of a webhook cannot be stored", zap.String("app", app), zap.Error(err))
		w.Header().Set("Retry-After", "10")
		http.Error(w, "the queue does not answer, try again", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}
