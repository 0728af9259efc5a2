package github

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxPayload is the biggest payload that is sent, in bytes; a bigger one is dropped without a word.
const maxPayload = 25 << 20

// HookConfig says what a webhook is.
type HookConfig struct {
	// URL is where events are sent to, and Secret what they are signed with; unsigned if empty.
	URL, Secret string
	// Events are the names of the events wanted; all if empty.
	Events []string
	// Repo, such as acme/web, or Org or App say what the hook is of; exactly one of them.
	Repo, Org string
	App       *App
	// Form sends forms instead of JSON.
	Form bool
}

// Policy is how well a hook's events are delivered. The zero value is at once,
// in order, and once.
type Policy struct {
	Delay           time.Duration // each comes later by any time up to it
	Drop, Duplicate float64       // how likely each is lost, or comes twice: 0 to 1
	Lose            []string      // events that are always lost
	Reorder         bool          // those of one push come in any order
	Hold            bool          // none is sent before [Hook.Release]
}

// Hook is a webhook.
type Hook struct {
	sim    *Sim
	id     int64
	config HookConfig
	repo   *Repo // nil for one of an organisation or an App

	// What follows is guarded by the mutex of sim.
	policy     Policy
	held       []*Delivery
	deliveries []*Delivery
}

// Delivery is one attempt to deliver an event.
type Delivery struct {
	ID           int64
	GUID         string // names the event, whatever hook it goes to and however often
	Event        string
	Action       string
	At           time.Time
	Redelivery   bool
	Code         int    // the status of the answer; 0 if there was none
	Status       string // what GitHub says about it: OK if the code is 2xx
	Took         time.Duration
	Header       http.Header
	Payload      []byte // JSON, whatever was sent
	Response     string
	Repo         int64 // 0 for none
	Installation int64 // 0 for none

	hook *Hook
}

// parcel is deliveries that go one after another, not before a time.
type parcel struct {
	due        time.Time
	deliveries []*Delivery
}

// batch is the events of one action.
type batch struct {
	repo   *Repo
	hooks  []*Hook
	events map[*Hook][]*Delivery
}

// Hook makes a webhook, and sends it a ping.
func (s *Sim) Hook(config HookConfig) *Hook {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &Hook{sim: s, id: s.id(), config: config}
	s.hooks = append(s.hooks, h)
	ping := fields{"zen": "Design for failure.", "hook_id": h.id, "hook": h.json()}
	switch {
	case config.Repo != "":
		if h.repo = s.names[strings.ToLower(config.Repo)]; h.repo == nil {
			h.repo = s.create(config.Repo)
		}
		ping["repository"] = h.repo.json()
	case config.Org != "":
		ping["organization"] = s.owner(config.Org).json(s)
	}
	ping["sender"] = s.owner(authorLogin).senderJSON(s)
	h.give([]*Delivery{h.delivery(h.repo, s.guid(), "ping", "", ping)})
	return h
}

// Deliver sets how well events are delivered from now on.
func (h *Hook) Deliver(policy Policy) {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	h.policy = policy
}

// ID is the hook's number.
func (h *Hook) ID() int64 { return h.id }

// Release sends what was held, in the order of the policy, and holds no more.
func (h *Hook) Release() {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	held := h.held
	h.held, h.policy.Hold = nil, false
	h.give(held)
}

// Held is what waits for [Hook.Release].
func (h *Hook) Held() []Delivery {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	return copies(h.held)
}

// Deliveries are the attempts that came to an end, in the order in which they began.
func (h *Hook) Deliveries() []Delivery {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	return copies(h.deliveries)
}

func copies(deliveries []*Delivery) []Delivery {
	list := make([]Delivery, len(deliveries))
	for i, d := range deliveries {
		list[i] = *d
	}
	return list
}

// Redeliver sends a delivery's event once more, as the button of the web page does.
func (h *Hook) Redeliver(id int64) error {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	d := h.find(id)
	if d == nil {
		return fmt.Errorf("hook %d has no delivery %d, or no longer", h.id, id)
	}
	h.again(d)
	return nil
}

// kept are the deliveries that may still be listed and sent once more.
func (h *Hook) kept() []*Delivery {
	days := 3
	if h.sim.opts.Enterprise {
		days = 7
	}
	oldest := h.sim.now().AddDate(0, 0, -days)
	return slices.DeleteFunc(slices.Clone(h.deliveries), func(d *Delivery) bool { return d.At.Before(oldest) })
}

func (h *Hook) find(id int64) *Delivery {
	kept := h.kept()
	if i := slices.IndexFunc(kept, func(d *Delivery) bool { return d.ID == id }); i >= 0 {
		return kept[i]
	}
	return nil
}

// again sends a delivery's event once more under the same GUID.
func (h *Hook) again(d *Delivery) {
	h.sim.sendAt(&parcel{deliveries: []*Delivery{{
		ID: h.sim.id(), GUID: d.GUID, Event: d.Event, Action: d.Action, Redelivery: true,
		Payload: d.Payload, Repo: d.Repo, Installation: d.Installation, hook: h,
	}}})
}

// guid is a random name for an event.
func (s *Sim) guid() string {
	a, b := s.random.Uint64(), s.random.Uint64()
	return fmt.Sprintf("%08x-%04x-11f0-%04x-%012x", a>>32, a&0xffff, b>>48, b&0xffffffffffff)
}

// emit tells hooks of one event of the repository.
func (r *Repo) emit(event, action string, payload fields) {
	b := r.newBatch()
	b.add(event, action, func() fields { return payload })
	b.send()
}

func (r *Repo) newBatch() *batch {
	b := &batch{repo: r, events: map[*Hook][]*Delivery{}}
	for _, h := range r.sim.hooks {
		if h.concerns(r) {
			b.hooks = append(b.hooks, h)
		}
	}
	return b
}

// concerns tells whether a hook hears of a repository.
func (h *Hook) concerns(r *Repo) bool {
	c := h.config
	switch {
	case c.App != nil:
		return r.sim.installation(c.App, r) != nil
	case c.Org != "":
		return strings.EqualFold(c.Org, r.owner.Login)
	default:
		return h.repo == r
	}
}

// add adds an event; its payload is made only if somebody wants it.
func (b *batch) add(event, action string, payload func() fields) {
	guid := ""
	for _, h := range b.hooks {
		if len(h.config.Events) > 0 && !slices.Contains(h.config.Events, event) {
			continue
		}
		if guid == "" {
			guid = b.repo.sim.guid()
		}
		body := b.repo.envelope(h, payload())
		if action != "" {
			body["action"] = action
		}
		if d := h.delivery(b.repo, guid, event, action, body); len(d.Payload) <= maxPayload {
			b.events[h] = append(b.events[h], d)
		}
	}
}

// delivery is an event on its way to the hook.
func (h *Hook) delivery(r *Repo, guid, event, action string, body fields) *Delivery {
	d := &Delivery{ID: h.sim.id(), GUID: guid, Event: event, Action: action, Payload: mustJSON(body), hook: h}
	if r != nil {
		d.Repo = r.id
		if i := h.sim.installation(h.config.App, r); i != nil {
			d.Installation = i.id
		}
	}
	return d
}

// send gives the events to the hooks.
func (b *batch) send() {
	for _, h := range b.hooks {
		h.give(b.events[h])
	}
}

// give sends events as the hook's policy says.
func (h *Hook) give(deliveries []*Delivery) {
	s, p := h.sim, h.policy
	if p.Hold {
		h.held = append(h.held, deliveries...)
		return
	}
	var going []*Delivery
	for _, d := range deliveries {
		if slices.Contains(p.Lose, d.Event) || s.random.Float64() < p.Drop {
			continue
		}
		going = append(going, d)
		if s.random.Float64() < p.Duplicate {
			twin := *d
			twin.ID = s.id()
			going = append(going, &twin)
		}
	}
	if p.Reorder {
		s.random.Shuffle(len(going), func(i, j int) { going[i], going[j] = going[j], going[i] })
	}
	if p.Delay == 0 {
		s.sendAt(&parcel{deliveries: going})
		return
	}
	for _, d := range going {
		late := time.Duration(s.random.Int64N(int64(p.Delay)))
		s.sendAt(&parcel{due: s.now().Add(late), deliveries: []*Delivery{d}})
	}
}

// sendAt sends a parcel when it is due.
func (s *Sim) sendAt(p *parcel) {
	switch {
	case len(p.deliveries) == 0 || s.ctx.Err() != nil:
	case p.due.After(s.now()):
		s.delayed = append(s.delayed, p)
		s.awake()
	default:
		s.running.Go(func() { s.carry(p) })
	}
}

// awake makes the sender of delayed parcels look at the clock.
func (s *Sim) awake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// sendDelayed sends what was delayed until the end.
func (s *Sim) sendDelayed() {
	for {
		s.mu.Lock()
		now, wait := s.now(), time.Hour
		s.delayed = slices.DeleteFunc(s.delayed, func(p *parcel) bool {
			if p.due.After(now) {
				wait = min(wait, p.due.Sub(now))
				return false
			}
			s.sendAt(p)
			return true
		})
		s.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// carry delivers a parcel.
func (s *Sim) carry(p *parcel) {
	for _, d := range p.deliveries {
		select {
		case s.sending <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		d.attempt()
		<-s.sending
	}
}

// attempt delivers an event, and records what came of it. Nobody tries again.
func (d *Delivery) attempt() {
	h, s := d.hook, d.hook.sim
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.HookTimeout)
	defer cancel()
	at, begin := s.Now(), time.Now()
	header, code, response := http.Header{}, 0, ""
	req, err := h.request(ctx, d)
	if err == nil {
		header = req.Header
		var answer *http.Response
		if answer, err = s.client.Do(req); err == nil {
			body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20)) // what there is of it
			err = answer.Body.Close()
			code, response = answer.StatusCode, string(body)
		}
	}
	var status string
	switch {
	case code >= 200 && code < 300:
		status = "OK"
	case code != 0:
		status = "Invalid HTTP Response: " + strconv.Itoa(code)
	case errors.Is(err, context.DeadlineExceeded):
		status = "timed out"
	default:
		status = "failed to connect to host"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.At, d.Took, d.Header, d.Code, d.Status, d.Response = at, time.Since(begin), header, code, status, response
	// They are in the order in which they began, not ended.
	i := len(h.deliveries)
	for i > 0 && h.deliveries[i-1].At.After(at) {
		i--
	}
	h.deliveries = slices.Insert(h.deliveries, i, d)
}

// request is the call of the hook.
func (h *Hook) request(ctx context.Context, d *Delivery) (*http.Request, error) {
	body, kind := d.Payload, "application/json"
	if h.config.Form {
		body, kind = []byte("payload="+url.QueryEscape(string(d.Payload))), "application/x-www-form-urlencoded"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.config.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	target, id := h.target()
	for name, value := range map[string]string{
		"Content-Type": kind, "User-Agent": "GitHub-Hookshot/" + d.GUID[:7], "Accept": "*/*",
		"X-GitHub-Event": d.Event, "X-GitHub-Delivery": d.GUID, "X-GitHub-Hook-ID": strconv.FormatInt(h.id, 10),
		"X-GitHub-Hook-Installation-Target-Type": target, "X-GitHub-Hook-Installation-Target-ID": strconv.FormatInt(id, 10),
	} {
		req.Header.Set(name, value)
	}
	if h.sim.opts.Enterprise {
		req.Header.Set("X-GitHub-Enterprise-Version", enterpriseVersion)
		req.Header.Set("X-GitHub-Enterprise-Host", h.sim.Host())
	}
	if h.config.Secret != "" {
		old, now := hmac.New(sha1.New, []byte(h.config.Secret)), hmac.New(sha256.New, []byte(h.config.Secret))
		old.Write(body)
		now.Write(body)
		req.Header.Set("X-Hub-Signature", "sha1="+hex.EncodeToString(old.Sum(nil)))
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(now.Sum(nil)))
	}
	return req, nil
}

// target is what the hook is of, and its number.
func (h *Hook) target() (kind string, id int64) {
	s := h.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c := h.config; {
	case c.App != nil:
		return "integration", c.App.id
	case c.Org != "":
		return "organization", s.owner(c.Org).ID
	default:
		return "repository", h.repo.id
	}
}

// Send sends any event to the hook: an unknown one, or what a test makes up.
func (h *Hook) Send(event string, payload any) {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	d := &Delivery{ID: h.sim.id(), GUID: h.sim.guid(), Event: event, Payload: mustJSON(payload), hook: h}
	h.sim.sendAt(&parcel{deliveries: []*Delivery{d}})
}

// mustJSON encodes what is known to be possible to encode.
func mustJSON(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("github: encode %T: %v", v, err))
	}
	return body
}
