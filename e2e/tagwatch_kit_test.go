package e2e_test

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/tagship/tagship/e2e/github"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"github.com/tagship/tagship/events/eventstest"
)

// watching is tagwatch as processes of its own, with NATS and a GitHub beside them.
type watching struct {
	pipeline
	hub      *github.Sim
	token    *github.Token // which tagwatch has, unless it is a GitHub App
	server   *eventstest.Server
	config   string
	settings watchSettings
	listen   map[string]string // where a replica listens, such as that of tagwatch-1
	replicas map[string]*program
}

// fields is a section of the configuration.
type fields = map[string]any

// watchSettings say how tagwatch is configured.
type watchSettings struct {
	// github is how the GitHub is reached, beside its addresses and a token. Plain
	// git is used if it is nil.
	github fields
	// apps have the name of a repository, such as acme/web, as repo.
	apps     map[string]fields
	interval string             // 10m if empty: then sweeps find nothing, and hooks have to
	server   *eventstest.Server // one without users if it is nil
	nats     fields             // more settings of nats
	admin    string             // where the test connects to the server, if not as tagwatch does
}

// The secret of the hooks, and that which replaces it.
const (
	hookSecret = "It's a Secret to Everybody"
	nextSecret = "and this one is the next"
)

// watchedRecipe is that of repositories whose versions nobody builds.
const watchedRecipe = "build: {run: make}\npackages:\n  - {file: out/web.tar.gz}\n"

// noReports turns reports off, which have a budget of their own that is soon spent.
func noReports() fields { return fields{"statuses": false, "deployments": false} }

// sources are the files of a commit with a recipe.
func sources(more github.Files) github.Files {
	files := github.Files{".tagship.yaml": watchedRecipe, "Makefile": "all:\n\ttrue\n"}
	maps.Copy(files, more)
	return files
}

// newHub starts a GitHub: github.com, or an Enterprise server.
func newHub(t *testing.T, opts github.Options) *github.Sim {
	t.Helper()
	hub, err := github.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	return hub
}

// newWatching makes all that tagwatch needs to watch a GitHub, and starts no replica of it.
func newWatching(t *testing.T, hub *github.Sim, settings watchSettings) *watching {
	t.Helper()
	dir := t.TempDir()
	w := &watching{
		pipeline: pipeline{t: t, dir: dir, data: filepath.Join(dir, "data")},
		hub:      hub, token: hub.PersonalToken("robot"),
		server:   settings.server,
		config:   filepath.Join(dir, "tagship.yaml"),
		settings: settings,
		listen:   map[string]string{}, replicas: map[string]*program{},
	}
	if w.server == nil {
		w.server = eventstest.NewServer(t, func(o *server.Options) { o.Port = freePort(t) })
	}
	w.configure()
	w.connect(cmp.Or(settings.admin, w.server.URL()))
	return w
}

// configure writes the configuration, which JSON is good enough for.
func (w *watching) configure() {
	w.t.Helper()
	s := w.settings
	apps := fields{}
	for name, app := range s.apps {
		app = maps.Clone(app)
		if s.github == nil {
			app["repo"] = fmt.Sprintf("%s%s.git", w.hub.Git(), app["repo"])
		} else {
			app["repo"] = fmt.Sprintf("%s/%s", w.host(), app["repo"])
		}
		apps[name] = app
	}
	tagwatch := fields{"interval": s.interval, "apps": apps}
	if s.interval == "" {
		tagwatch["interval"] = "10m"
	}
	if s.github != nil {
		host := fields{"api": w.hub.API(), "archive_hosts": []string{w.hub.Archives()}, "webhook_secrets": []string{hookSecret}}
		if s.github["app"] == nil {
			host["token"] = "${HUB_TOKEN}"
		}
		if authorities := w.hub.CA(); authorities != nil {
			host["ca"] = filepath.Join(w.dir, "ca.pem")
			if err := os.WriteFile(filepath.Join(w.dir, "ca.pem"), authorities, 0o600); err != nil {
				w.t.Fatal(err)
			}
		}
		maps.Copy(host, s.github)
		if w.host() == publicHost {
			tagwatch["github"] = host
		} else {
			tagwatch["enterprise"] = fields{w.host(): host}
		}
	}
	nats := fields{"url": w.server.URL(), "ack_wait": "3s", "grace": "5s"}
	maps.Copy(nats, s.nats)
	text, err := json.MarshalIndent(fields{"nats": nats, "tagwatch": tagwatch}, "", "  ")
	if err == nil {
		err = os.WriteFile(w.config, text, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// publicHost is what the GitHub is called that is no Enterprise server.
const publicHost = "github.com"

// host is what the GitHub is called.
func (w *watching) host() string {
	if strings.HasSuffix(w.hub.API(), "/api/v3/") {
		return w.hub.Host()
	}
	return publicHost
}

// start starts a replica, such as tagwatch-1, and waits until it takes webhooks.
func (w *watching) start(replica string, env ...string) *program {
	w.t.Helper()
	p := w.launch(replica, env...)
	w.ready(replica)
	return p
}

// launch starts a replica without waiting for it.
func (w *watching) launch(replica string, env ...string) *program {
	w.t.Helper()
	if w.listen[replica] == "" {
		w.listen[replica] = fmt.Sprintf("127.0.0.1:%d", freePort(w.t))
	}
	env = append([]string{"HUB_TOKEN=" + w.token.Value()}, env...)
	p := start(w.t, w.dir, env, "tagwatch", "--config", w.config, "--data", filepath.Join(w.data, replica),
		"--listen", w.listen[replica], "--log-format", "json")
	w.replicas[replica] = p
	return p
}

func (w *watching) ready(replica string) {
	w.t.Helper()
	eventstest.Eventually(w.t, func() error {
		if p := w.replicas[replica]; !p.running() {
			w.t.Fatalf("%s ended:\n%s", replica, p.output.tail())
		}
		_, err := get(w.t, "http://"+w.listen[replica]+"/readyz")
		return err
	})
}

// startWatched starts one replica, and waits until every app was looked at.
func (w *watching) startWatched() *program {
	w.t.Helper()
	p := w.start("tagwatch-1")
	for app := range w.settings.apps {
		w.watched(app)
	}
	return p
}

// webhooks is where a replica takes webhooks.
func (w *watching) webhooks(replica string) string {
	return "http://" + w.listen[replica] + "/webhooks/github"
}

// hook makes a webhook of an organisation that calls a replica.
func (w *watching) hook(replica, org string) *github.Hook {
	w.t.Helper()
	return w.hub.Hook(github.HookConfig{URL: w.webhooks(replica), Secret: hookSecret, Org: org})
}

// look asks for a look at an app, and waits for the answer.
func (w *watching) look(app string) {
	w.t.Helper()
	subject := events.KindTagLooked.Subject(app)
	before := len(w.record.Facts(subject))
	w.publish(events.TagRequested.Subject(app), "")
	w.record.WaitFor(subject, "an answer", func(facts []events.Recorded) bool { return len(facts) > before })
}

// seen waits until a version is seen.
func (w *watching) seen(app, version string) *events.TagSeen {
	w.t.Helper()
	return w.record.Wait(events.KindTagSeen.Subject(app, version)).(*events.TagSeen)
}

// seenOnce waits until versions of an app are seen, and checks that each is once and no other is.
func (w *watching) seenOnce(app string, versions ...string) {
	w.t.Helper()
	for _, version := range versions {
		w.seen(app, version)
	}
	w.settled()
	if all := w.record.Facts("tag.seen." + events.Escape(app) + ".*"); len(all) != len(versions) {
		w.t.Errorf("%d versions of %s were seen, expected the %d of %q", len(all), app, len(versions), versions)
	}
}

// none checks that nothing was stated on any of the subjects.
func (w *watching) none(filters ...string) {
	w.t.Helper()
	for _, filter := range filters {
		for _, f := range w.record.Facts(filter) {
			w.t.Errorf("%s was stated: %+v", f.Fact.Subject(), f.Fact)
		}
	}
}

// appStatus is what people are told of an app.
type appStatus struct {
	Repo, Configured, Error string
}

// hostStatus is what people are told of a host.
type hostStatus struct {
	Leader, Error string
	Next          time.Time
	Sweep         struct{ Repositories, Requests, Points int }
	Budgets       []hostBudget
}

type hostBudget struct {
	Credential, Resource, Reason string
	Limit, Remaining             int
	Reset, Blocked               time.Time
}

// statusOf waits until an app's status is as wanted.
func (w *watching) statusOf(app, wanted string, ok func(appStatus) bool) {
	w.t.Helper()
	awaitStatus(w, "app", app, wanted, ok)
}

// hostStatus waits until the host's status is as wanted, and returns it.
func (w *watching) hostStatus(wanted string, ok func(hostStatus) bool) hostStatus {
	w.t.Helper()
	return awaitStatus(w, "host", w.host(), wanted, ok)
}

func awaitStatus[S any](w *watching, what, name, wanted string, ok func(S) bool) (status S) {
	w.t.Helper()
	eventstest.Eventually(w.t, func() error {
		value, _, err := w.bus.Table(bus.TableWatch).Get(w.t.Context(), what+"."+events.Escape(name))
		if err != nil {
			return err
		}
		var now S // fields that are absent have no value of before
		if err := json.Unmarshal(value, &now); err != nil {
			return err
		}
		if !ok(now) {
			return fmt.Errorf("the status of %s is %s, expected %s", name, value, wanted)
		}
		status = now
		return nil
	})
	return status
}

// fails waits until an app's status has an error with all the words.
func (w *watching) fails(app string, words ...string) {
	w.t.Helper()
	w.statusOf(app, fmt.Sprintf("an error with %q", words), func(s appStatus) bool {
		for _, word := range words {
			if !strings.Contains(s.Error, word) {
				return false
			}
		}
		return s.Error != ""
	})
}

// goesWell waits until an app's status has no error.
func (w *watching) goesWell(app string) {
	w.t.Helper()
	w.statusOf(app, "no error", func(s appStatus) bool { return s.Error == "" })
}

// staged is the source of a version as builders get it: contents by path.
func (w *watching) staged(source events.Source) map[string]string {
	w.t.Helper()
	content, err := w.unpack(source)
	if err != nil {
		w.t.Fatalf("read the source %s: %v", source.Digest, err)
	}
	return content
}

func (w *watching) unpack(source events.Source) (files map[string]string, err error) {
	archive, err := w.bus.GetSource(w.t.Context(), source.Digest)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	zip, err := gzip.NewReader(archive)
	if err != nil {
		return nil, err
	}
	files = map[string]string{}
	for r := tar.NewReader(zip); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		switch {
		case header.Typeflag == tar.TypeSymlink:
			files[header.Name] = github.Symlink(header.Linkname)
		case header.Typeflag == tar.TypeReg && header.Mode&0o100 != 0:
			files[header.Name] = github.Executable(string(text))
		case header.Typeflag == tar.TypeReg:
			files[header.Name] = string(text)
		}
	}
}

// noSecrets checks that secrets were seen by the API alone: they are in no fact,
// in nothing that was written, and nobody else was sent them.
func (w *watching) noSecrets(secrets ...string) {
	w.t.Helper()
	if sent := w.hub.TokensSeen(github.HostArchives); len(sent) > 0 {
		w.t.Errorf("the host of archives was sent %d secrets", len(sent))
	}
	for _, f := range w.record.Facts("tag.>") {
		body, err := events.Encode(f.Fact)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, secret := range secrets {
			if strings.Contains(string(body), secret) {
				w.t.Errorf("a secret is in the fact %s", f.Fact.Subject())
			}
		}
	}
	for replica, p := range w.replicas {
		for _, secret := range secrets {
			if strings.Contains(p.output.String(), secret) {
				w.t.Errorf("a secret is in what %s wrote", replica)
			}
		}
	}
}

// post sends a webhook's call that a test makes up.
func (w *watching) post(replica string, body io.Reader, header map[string]string) (status int, answer string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.webhooks(replica), body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// within waits until something is so, which it has to be in a time. It returns
// how long it took.
func within(t *testing.T, most time.Duration, what string, so func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	eventstest.Eventually(t, func() error {
		if !so() {
			return fmt.Errorf("%s: not so yet", what)
		}
		return nil
	})
	took := time.Since(began)
	if took > most {
		t.Errorf("%s took %s, expected at most %s", what, took.Round(time.Millisecond), most)
	}
	return took
}
