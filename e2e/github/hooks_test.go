package github_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	client "github.com/google/go-github/v57/github"

	"github.com/tagship/tagship/e2e/github"
)

const secret = "It's a Secret to Everybody"

// watch makes a repository with a commit and a hook that was pinged.
func watch(t *testing.T, sim *github.Sim) (*github.Repo, *github.Object, *github.Hook, *receiver) {
	t.Helper()
	r := sim.Repo("acme/web")
	c := r.Commit(github.Files{"main.go": "package main"})
	in := receive(t)
	h := sim.Hook(github.HookConfig{URL: in.url, Secret: secret, Repo: "acme/web"})
	if ping := in.next(t, 1)[0]; ping.event != "ping" || ping.payload["repository"] == nil {
		t.Fatalf("the first event is %s %v, want a ping", ping.event, ping.payload)
	}
	return r, c, h, in
}

// await waits until so many attempts came to an end.
func await(t *testing.T, h *github.Hook, n int) []github.Delivery {
	t.Helper()
	eventually(t, "deliveries end", func() bool { return len(h.Deliveries()) >= n })
	return h.Deliveries()
}

func Test01CreateAndPushAreIndependent(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r, c, h, in := watch(t, sim)
	r.Tag("v1.0.0", c)
	calls := in.next(t, 2)
	if got := events(calls); !slices.Equal(got, []string{"create v1.0.0", "push refs/tags/v1.0.0"}) {
		t.Errorf("events: %v", got)
	}
	if calls[0].guid == calls[1].guid || calls[0].guid == "" {
		t.Errorf("GUIDs %s and %s, want different ones", calls[0].guid, calls[1].guid)
	}

	h.Deliver(github.Policy{Lose: []string{"create"}, Duplicate: 1})
	r.Tag("v1.0.1", c)
	calls = in.next(t, 2)
	if calls[0].event != "push" || calls[1].event != "push" || calls[0].guid != calls[1].guid {
		t.Errorf("events: %v, want the same push twice", events(calls))
	}

	h.Deliver(github.Policy{Drop: 1})
	r.Tag("v1.0.2", c)
	h.Deliver(github.Policy{Hold: true})
	r.Tag("v1.0.3", c)
	if held := h.Held(); len(held) != 2 {
		t.Errorf("%d events are held, want 2", len(held))
	}
	h.Release()
	if got := events(in.next(t, 2)); !slices.Equal(got, []string{"create v1.0.3", "push refs/tags/v1.0.3"}) {
		t.Errorf("events: %v", got)
	}

	// Events that are late come when the clock says so.
	h.Deliver(github.Policy{Delay: 5 * time.Minute})
	r.Tag("v1.0.4", c)
	sim.Advance(5 * time.Minute)
	late := events(in.next(t, 2))
	slices.Sort(late)
	if !slices.Equal(late, []string{"create v1.0.4", "push refs/tags/v1.0.4"}) {
		t.Errorf("events: %v", late)
	}

	// In 20 pushes the order is the other one at least once.
	h.Deliver(github.Policy{Reorder: true})
	orders := map[string]bool{}
	for i := range 20 {
		r.Tag("v2."+string(rune('a'+i)), c)
		orders[in.next(t, 2)[0].event] = true
	}
	if !orders["create"] || !orders["push"] {
		t.Errorf("only %v came first", orders)
	}
}

func Test02MoreThanThreeTagsAreSilent(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r, c, _, in := watch(t, sim)
	r.Push(github.Ref{Name: "v1", Object: c}, github.Ref{Name: "v2", Object: c}, github.Ref{Name: "v3", Object: c})
	if got := events(in.next(t, 6)); !slices.Contains(got, "push refs/tags/v3") {
		t.Errorf("events: %v", got)
	}
	branch := github.Ref{Name: "refs/heads/next", Object: c}
	r.Push(github.Ref{Name: "v4", Object: c}, github.Ref{Name: "v5", Object: c}, github.Ref{Name: "v6", Object: c}, github.Ref{Name: "v7", Object: c}, branch)
	if got := events(in.next(t, 2)); !slices.Equal(got, []string{"create next", "push refs/heads/next"}) {
		t.Errorf("events: %v, want those of the branch alone", got)
	}
	r.DeleteTag("v1", "v2", "v3", "v4")
	r.DeleteTag("v5")
	if got := events(in.next(t, 2)); !slices.Equal(got, []string{"delete v5", "push refs/tags/v5"}) {
		t.Errorf("events: %v, want those of v5 alone", got)
	}
	if got := r.Tags(); len(got) != 2 {
		t.Errorf("tags: %v", got)
	}
}

func Test03AnnotatedTagInPush(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r, c, _, in := watch(t, sim)
	tag := r.TagAnnotated("v1.0.0", c)
	nested := r.TagNested("v1.1.0", c)
	r.TagBlob("data", "nothing to build")
	calls := in.next(t, 6)
	parsed := map[string]*client.PushEvent{}
	for _, one := range calls {
		event, err := client.ParseWebHook(one.event, one.body)
		if err != nil {
			t.Fatal(err)
		}
		switch e := event.(type) {
		case *client.CreateEvent:
			if e.GetRefType() != "tag" || strings.Contains(e.GetRef(), "/") || bytes.Contains(one.body, []byte(tag.ID)) {
				t.Errorf("create: %s", one.body)
			}
		case *client.PushEvent:
			parsed[e.GetRef()] = e
			if e.GetRepo().GetID() != r.ID() || e.GetRepo().PushedAt.IsZero() {
				t.Errorf("push: repository %v", e.GetRepo())
			}
		}
	}
	for ref, after := range map[string]string{"refs/tags/v1.0.0": tag.ID, "refs/tags/v1.1.0": nested.ID} {
		if e := parsed[ref]; e.GetAfter() != after || e.GetHeadCommit().GetID() != c.ID || !e.GetCreated() {
			t.Errorf("%s: after %s, head commit %s", ref, e.GetAfter(), e.GetHeadCommit().GetID())
		}
	}
	if e := parsed["refs/tags/data"]; e.HeadCommit != nil {
		t.Errorf("a blob has head commit %v", e.HeadCommit)
	}
}

func Test04DeleteAndMove(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r, c, _, in := watch(t, sim)
	r.Tag("v1", c)
	in.next(t, 2)
	ahead := r.Commit(github.Files{"main.go": "package main // 2"})
	in.next(t, 1)

	r.MoveTag("v1", ahead)
	r.MoveTag("v1", c)
	r.DeleteTag("v1")
	r.Tag("v1", ahead)
	zero := strings.Repeat("0", 40)
	type push struct {
		event, before, after     string
		created, deleted, forced bool
	}
	var got []push
	for _, one := range in.next(t, 6) {
		p := push{event: one.event}
		p.before, _ = one.payload["before"].(string)
		p.after, _ = one.payload["after"].(string)
		p.created, _ = one.payload["created"].(bool)
		p.deleted, _ = one.payload["deleted"].(bool)
		p.forced, _ = one.payload["forced"].(bool)
		got = append(got, p)
	}
	want := []push{
		{event: "push", before: c.ID, after: ahead.ID},
		{event: "push", before: ahead.ID, after: c.ID, forced: true},
		{event: "delete"},
		{event: "push", before: c.ID, after: zero, deleted: true},
		{event: "create"},
		{event: "push", before: zero, after: ahead.ID, created: true},
	}
	// Every push is delivered on its own, so that they may overtake each other.
	for _, p := range want {
		if !slices.Contains(got, p) {
			t.Errorf("there is no %+v in %+v", p, got)
		}
	}
}

func Test05Releases(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r, c, _, in := watch(t, sim)
	r.DraftRelease(github.Release{Tag: "v1.0.0"})
	draft := in.next(t, 1)[0]
	if draft.payload["action"] != "created" || dig(t, draft.payload, "release", "draft") != true || len(r.Tags()) != 0 {
		t.Errorf("draft: %v, tags %v", draft.payload, r.Tags())
	}
	r.PublishRelease(github.Release{Tag: "v1.0.0"})
	names := func(calls []call) []string {
		var list []string
		for _, one := range calls {
			action, _ := one.payload["action"].(string)
			list = append(list, one.event+" "+action)
		}
		slices.Sort(list)
		return list
	}
	if got := names(in.next(t, 5)); !slices.Equal(got, []string{"create ", "push ", "release created", "release published", "release released"}) {
		t.Errorf("events: %q", got)
	}
	if r.Tags()["v1.0.0"] != c {
		t.Errorf("the tag is %v, want the commit of the branch", r.Tags()["v1.0.0"])
	}
	r.PublishRelease(github.Release{Tag: "v1.1.0-rc.1", Target: c, Prerelease: true, Silent: true})
	if got := names(in.next(t, 3)); !slices.Equal(got, []string{"release created", "release prereleased", "release published"}) {
		t.Errorf("events: %q", got)
	}
	if r.Tags()["v1.1.0-rc.1"] != c {
		t.Error("a release made no tag")
	}
}

func Test06RedeliveryIsByHand(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{HookTimeout: 50 * time.Millisecond})
	alice := connect(t, sim, sim.PersonalToken("alice").Value())
	r, c, h, in := watch(t, sim)
	refusals := map[string]http.HandlerFunc{
		"Invalid HTTP Response: 500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"timed out":                  func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() },
		"failed to connect to host":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	h.Deliver(github.Policy{Lose: []string{"create"}})
	n := 1 // the ping
	for status, answer := range refusals {
		in.answers(answer)
		r.Tag("v"+strings.Fields(status)[0], c)
		n++
		if d := await(t, h, n)[n-1]; d.Status != status {
			t.Errorf("status %q, want %q", d.Status, status)
		}
	}
	in.next(t, 3)
	in.answers(func(http.ResponseWriter, *http.Request) {})

	var listed []*client.HookDelivery
	opts := &client.ListCursorOptions{PerPage: 3}
	for {
		page, resp, err := alice.Repositories.ListHookDeliveries(t.Context(), "acme", "web", h.ID(), opts)
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, page...)
		if resp.Cursor == "" {
			break
		}
		opts.Cursor = resp.Cursor
	}
	if len(listed) != n || listed[0].GetID() != h.Deliveries()[n-1].ID {
		t.Fatalf("%d deliveries are listed, want %d, newest first", len(listed), n)
	}
	failed := listed[0]
	_, _, err := alice.Repositories.RedeliverHookDelivery(t.Context(), "acme", "web", h.ID(), failed.GetID())
	var accepted *client.AcceptedError
	if !errors.As(err, &accepted) {
		t.Errorf("redelivery: %v, want it accepted", err)
	}
	if again := in.next(t, 1)[0]; again.guid != failed.GetGUID() {
		t.Errorf("GUID %s, want the same as before: %s", again.guid, failed.GetGUID())
	}
	last := await(t, h, n+1)[n]
	if !last.Redelivery || last.ID == failed.GetID() || last.Status != "OK" {
		t.Errorf("redelivery: %+v", last)
	}
	whole, _, err := alice.Repositories.GetHookDelivery(t.Context(), "acme", "web", h.ID(), last.ID)
	if err != nil {
		t.Fatal(err)
	}
	if event, err := whole.ParseRequestPayload(); err != nil || reflect.TypeOf(event) != reflect.TypeFor[*client.PushEvent]() {
		t.Errorf("payload of the delivery: %T %v", event, err)
	}
	sim.Advance(73 * time.Hour)
	if page, _, err := alice.Repositories.ListHookDeliveries(t.Context(), "acme", "web", h.ID(), nil); err != nil || len(page) != 0 {
		t.Errorf("after three days: %v %v", page, err)
	}
}

func Test07SameEventTwoHooks(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	app, err := sim.App()
	if err != nil {
		t.Fatal(err)
	}
	installation := app.Install("acme")
	r, c, first, in := watch(t, sim)
	second := sim.Hook(github.HookConfig{URL: in.url, App: app, Events: []string{"push"}})
	in.next(t, 1)
	r.Tag("v1.0.0", c)
	pushes := map[string]call{}
	for _, one := range in.next(t, 3) {
		if one.event == "push" {
			pushes[one.header.Get("X-GitHub-Hook-Installation-Target-Type")] = one
		}
	}
	ofRepo, ofApp := pushes["repository"], pushes["integration"]
	if ofRepo.guid == "" || ofRepo.guid != ofApp.guid {
		t.Errorf("GUIDs %q and %q, want the same", ofRepo.guid, ofApp.guid)
	}
	if ofRepo.header.Get("X-GitHub-Hook-ID") == ofApp.header.Get("X-GitHub-Hook-ID") || first.ID() == second.ID() {
		t.Error("both hooks have one number")
	}
	await(t, second, 2)
	listed, _, err := connect(t, sim, signJWT(t, app, time.Now())).Apps.ListHookDeliveries(t.Context(), nil)
	if err != nil || len(listed) != 2 || listed[0].GetGUID() != ofApp.guid || listed[0].GetInstallationID() != installation.ID() {
		t.Errorf("deliveries of the App: %v %v", listed, err)
	}
	if id, _ := dig(t, ofApp.payload, "installation", "id").(float64); int64(id) != installation.ID() || ofRepo.payload["installation"] != nil {
		t.Errorf("installations: %v and %v", ofRepo.payload["installation"], ofApp.payload["installation"])
	}
}

func Test08Signatures(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{Enterprise: true})
	r := sim.Repo("acme/web")
	c := r.Commit(github.Files{"a": "b"})
	for _, form := range []bool{false, true} {
		in := receive(t)
		h := sim.Hook(github.HookConfig{URL: in.url, Secret: secret, Org: "acme", Form: form})
		ping := in.next(t, 1)[0]
		if ping.payload["repository"] != nil || ping.payload["organization"] == nil {
			t.Errorf("ping of an organisation: %v", ping.payload)
		}
		name := "v1.0.0-\u00fc\u4e16\u754c" + strings.Repeat("+form", map[bool]int{true: 1}[form])
		r.Tag(name, c)
		h.Send("sub_issues", map[string]string{"action": "sub_issue_added"})
		for _, one := range in.next(t, 3) {
			req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(one.body))
			req.Header = one.header
			payload, err := client.ValidatePayload(req, []byte(secret))
			if err != nil {
				t.Errorf("%s: %v", one.event, err)
			}
			if !bytes.Contains(payload, []byte(name)) && one.event != "sub_issues" {
				t.Errorf("%s: there is no %s in %s", one.event, name, payload)
			}
			if err := client.ValidateSignature(one.header.Get("X-Hub-Signature"), one.body, []byte(secret)); err != nil {
				t.Errorf("SHA-1: %v", err)
			}
			if one.header.Get("X-GitHub-Enterprise-Host") != sim.Host() || one.header.Get("X-GitHub-Enterprise-Version") == "" {
				t.Errorf("headers: %v", one.header)
			}
			if _, isForm := parseForm(one.body); isForm != form {
				t.Errorf("the body is a form: %t, want %t", isForm, form)
			}
		}
	}
}

func parseForm(body []byte) (url.Values, bool) {
	form, err := url.ParseQuery(string(body))
	return form, err == nil && form.Get("payload") != ""
}

func Test09TooBigToSend(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r, c, h, in := watch(t, sim)
	h.Deliver(github.Policy{Lose: []string{"create", "delete"}})
	r.Tag(strings.Repeat("x", 13<<20), c) // its name is in the payload twice
	r.Tag("v1.0.0", c)
	if got := events(in.next(t, 1)); !slices.Equal(got, []string{"push refs/tags/v1.0.0"}) {
		t.Errorf("events: %.200v", got)
	}
	if all := await(t, h, 2); len(all) != 2 {
		t.Errorf("%d deliveries are listed, want the ping and one push", len(all))
	}
}

// Organisations' hooks are listed, and their deliveries sent once more by hand.
func TestHooksOfOrganisation(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	sim.Repo("globex/api").Star()
	api := connect(t, sim, sim.PersonalToken("alice").Value()).Organizations
	in := receive(t)
	h := sim.Hook(github.HookConfig{URL: in.url, Org: "acme", Events: []string{"star", "create"}})
	guid := in.next(t, 1)[0].guid
	ping := await(t, h, 1)[0]
	hooks, _, err := api.ListHooks(t.Context(), "acme", nil)
	if err != nil || len(hooks) != 1 || hooks[0].GetID() != h.ID() || hooks[0].Config["url"] != in.url {
		t.Errorf("hooks: %v %v", hooks, err)
	}
	if hooks, _, err := api.ListHooks(t.Context(), "globex", nil); err != nil || len(hooks) != 0 {
		t.Errorf("hooks of another: %v %v", hooks, err)
	}
	if err := h.Redeliver(ping.ID); err != nil {
		t.Fatal(err)
	}
	if again := in.next(t, 1)[0]; again.guid != guid || again.header.Get("X-Hub-Signature-256") != "" {
		t.Errorf("GUID %s, want %s, unsigned without a secret", again.guid, guid)
	}
	if err := h.Redeliver(1); err == nil {
		t.Error("a delivery that never was is sent once more")
	}
	await(t, h, 2)
	if listed, _, err := api.ListHookDeliveries(t.Context(), "acme", h.ID(), nil); err != nil || len(listed) != 2 {
		t.Errorf("deliveries: %v %v", listed, err)
	}
	sim.Repo("acme/web").Star()
	if star := in.next(t, 1)[0]; star.event != "star" || dig(t, star.payload, "organization", "login") != "acme" {
		t.Errorf("event: %s %v", star.event, star.payload)
	}
}

// What a push is about reaches the hook of its repository by whatever name it goes.
func TestHookFollowsRename(t *testing.T) {
	t.Parallel()
	sim := start(t, github.Options{})
	r, c, _, in := watch(t, sim)
	r.Rename("site")
	in.next(t, 1)
	other := sim.Reuse("acme/web")
	other.Tag("v9", other.Commit(github.Files{"a": "b"}))
	r.Tag("v1", c)
	if got := events(in.next(t, 2)); !slices.Equal(got, []string{"create v1", "push refs/tags/v1"}) {
		t.Errorf("events: %v", got)
	}
}
