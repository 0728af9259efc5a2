package config_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tagship/tagship/daemon/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// duration reads the forms of time.ParseDuration.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New(`expected a duration such as 30s, got "` + string(text) + `"`)
	}
	*d = duration(parsed)
	return nil
}

func (duration) ConfigType() string { return "a duration such as 30s" }

// command is a text or a list of texts.
type command []string

func (c *command) UnmarshalText(text []byte) error {
	*c = command{string(text)}
	return nil
}

type nats struct {
	URL   string        `yaml:"url" default:"nats://127.0.0.1:4222" doc:"Where the queue is."`
	Creds config.Secret `yaml:"creds" doc:"Credentials of this service."`
}

type app struct {
	Repo     string   `yaml:"repo" required:"true" doc:"Where the source is."`
	Tags     string   `yaml:"tags" default:"*" doc:"Which tags count."`
	Interval duration `yaml:"interval" default:"30s" doc:"How often to look."`
	Run      command  `yaml:"run"`
	Promote  *promote `yaml:"promote"`
}

type promote struct {
	From string   `yaml:"from" default:"build"`
	Soak duration `yaml:"soak" default:"0s"`
}

func (a app) Check() error {
	var errs []error
	if a.Promote != nil && a.Promote.From == "prod" {
		errs = append(errs, config.FieldError("promote.from", errors.New("prod is the last environment")))
	}
	if strings.HasPrefix(a.Repo, "ftp:") {
		errs = append(errs, config.FieldError("repo", errors.New(a.Repo+" is no repository that git can read")))
	}
	if a.Tags == "" {
		errs = append(errs, errors.New("one of tags and versions is needed"))
	}
	return errors.Join(errs...)
}

type service struct {
	GitHub *struct {
		Token         config.Secret `yaml:"token" required:"true" doc:"A token that can read."`
		WebhookSecret config.Secret `yaml:"webhook_secret"`
	} `yaml:"github"`
	Apps     map[string]app    `yaml:"apps" key:"app" doc:"What to watch."`
	Executor string            `yaml:"executor" default:"auto" enum:"docker,host,auto" doc:"Where builds run."`
	Port     uint16            `yaml:"port" default:"8080"`
	Ratio    float64           `yaml:"ratio" default:"0.5"`
	Debug    bool              `yaml:"debug"`
	Cache    []string          `yaml:"cache" default:"[/go/pkg/mod, /root/.cache]"`
	Sizes    []int             `yaml:"sizes"`
	Env      map[string]string `yaml:"env" key:"variable"`
	Listen   netip.AddrPort    `yaml:"listen" default:"127.0.0.1:9000"`
	Limits   struct {
		CPUs   int   `yaml:"cpus" default:"2"`
		Memory *int8 `yaml:"memory"`
	} `yaml:"limits"`
	untold string
}

var environment = map[string]string{
	"TOKEN": "s3cr3t-token", "PORT": "9999", "BAD": "s3cr3t-port", "REPO": "ftp://user:s3cr3t-repo@host/x", "EMPTY": "",
}

func lookup(name string) (string, bool) {
	value, ok := environment[name]
	return value, ok
}

// problemsOf decodes both sections of a file and joins everything that is wrong.
func problemsOf(name string, data []byte) (nats, service, error) {
	var n nats
	var s service
	f, err := config.Parse(name, data, lookup)
	if err != nil {
		return n, s, err
	}
	return n, s, config.Join(f.Unknown("nats", "tagwatch"), f.Section("nats", &n), f.Section("tagwatch", &s))
}

func TestProblems(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("find test files: %v, %d found", err, len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = problemsOf(file, data)
			if err == nil {
				t.Fatal("no problem was found")
			}
			var problems config.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("the error is no Problems: %v", err)
			}
			if strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("a secret is shown:\n%v", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "tagwatch:\n", "tagwatch: {}\n", "# nothing\n", "x-mine: {a: 1}\n", "\ufefftagwatch:\r\n"} {
		n, s, err := problemsOf("tagship.yaml", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if n.URL != "nats://127.0.0.1:4222" || s.Executor != "auto" || s.Port != 8080 || s.Ratio != 0.5 || s.Limits.CPUs != 2 ||
			s.GitHub != nil || s.Limits.Memory != nil || s.untold != "" || s.Listen.Port() != 9000 {
			t.Errorf("%q: wrong defaults: %+v %+v", text, n, s)
		}
		if diff := cmp.Diff([]string{"/go/pkg/mod", "/root/.cache"}, s.Cache); diff != "" {
			t.Errorf("%q: cache (-want +got):\n%s", text, diff)
		}
	}
}

func TestPresetWins(t *testing.T) {
	t.Parallel()
	s := service{Port: 1}
	s.Limits.Memory = new(int8)
	if err := config.Decode("x", nil, &s, nil); err != nil {
		t.Fatal(err)
	}
	if s.Port != 1 || s.Limits.CPUs != 2 || s.Limits.Memory == nil {
		t.Errorf("got %+v", s)
	}
}

func TestReferencesNeedNoQuotesInFlowStyle(t *testing.T) {
	t.Parallel()
	const text = `nats: {url: nats://${TOKEN}:${PORT}, creds: ${TOKEN}}
tagwatch: {cache: [${PORT}, a${EMPTY}b, $${PORT}, "}${PORT}{"], env: {A: ${PORT}}} # ${ {
`
	n, s, err := problemsOf("tagship.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if n.URL != "nats://s3cr3t-token:9999" || n.Creds.Reveal() != "s3cr3t-token" || s.Env["A"] != "9999" {
		t.Errorf("got %+v %v", n, s.Env)
	}
	if diff := cmp.Diff([]string{"9999", "ab", "${PORT}", "}9999{"}, s.Cache); diff != "" {
		t.Errorf("cache (-want +got):\n%s", diff)
	}
}

const good = `
x-app: &base
  tags: "v*"
  interval: 1m
nats: {url: nats://queue:4222, creds: ${TOKEN}}
tagwatch:
  github: {token: "${TOKEN}", webhook_secret: a-$${b}-${PORT}}
  apps:
    web: {<<: *base, repo: github.com/acme/web, run: [a, b]}
    agent.core:
      <<: [{tags: one}, *base]
      repo: /srv/git/agent.git
      run: go build ./...
      promote:
    api: {repo: x, promote: null}
  executor: docker
  port: ${PORT}
  ratio: 1e-1
  debug: True
  sizes: [0x10, 0o17, -3]
  env: {version: 1.10, on: yes, multi: "a\tb"}
  limits: {memory: 127}
`

func TestSection(t *testing.T) {
	t.Parallel()
	n, s, err := problemsOf("tagship.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if n.Creds.Reveal() != "s3cr3t-token" || s.GitHub.Token.Reveal() != "s3cr3t-token" {
		t.Error("the token was not expanded")
	}
	if got := s.GitHub.WebhookSecret.Reveal(); got != "a-${b}-9999" {
		t.Errorf("webhook_secret is %q", got)
	}
	minute, half := duration(time.Minute), duration(30*time.Second)
	want := map[string]app{
		"web":        {Repo: "github.com/acme/web", Tags: "v*", Interval: minute, Run: command{"a", "b"}},
		"agent.core": {Repo: "/srv/git/agent.git", Tags: "one", Interval: minute, Run: command{"go build ./..."}, Promote: &promote{From: "build"}},
		"api":        {Repo: "x", Tags: "*", Interval: half},
	}
	if diff := cmp.Diff(want, s.Apps); diff != "" {
		t.Errorf("apps (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"version": "1.10", "on": "yes", "multi": "a\tb"}, s.Env); diff != "" {
		t.Errorf("env (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{16, 15, -3}, s.Sizes); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
	if s.Port != 9999 || !s.Debug || s.Ratio != 0.1 || *s.Limits.Memory != 127 {
		t.Errorf("got %+v", s)
	}
}

func TestWithoutLookupTextIsLiteral(t *testing.T) {
	t.Parallel()
	var a app
	if err := config.Decode(".tagship.yaml", []byte("repo: ${file:/etc/passwd}\nrun: echo ${HOME} $${HOME} ${x:-y}\ntags: \"${\"\n"), &a, nil); err != nil {
		t.Fatal(err)
	}
	want := app{Repo: "${file:/etc/passwd}", Run: command{"echo ${HOME} $${HOME} ${x:-y}"}, Tags: "${", Interval: duration(30 * time.Second)}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoadReadsFilesBesideTheConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "tagship.yaml")
	for name, text := range map[string]string{
		"tagship.yaml": "nats:\n  creds: ${file:nats.creds}\n  url: nats://${file:" + dir + "/host}:${PORT}\n",
		"nats.creds":   "line\nline\n\n",
		"host":         "queue\r\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := config.Load(path, lookup)
	if err != nil {
		t.Fatal(err)
	}
	var n nats
	if err := f.Section("nats", &n); err != nil {
		t.Fatal(err)
	}
	if n.Creds.Reveal() != "line\nline\n" || n.URL != "nats://queue:9999" {
		t.Errorf("got %q and %q", n.Creds.Reveal(), n.URL)
	}
	if _, err := config.Load(filepath.Join(dir, "absent.yaml"), lookup); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file gives %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	type tree struct {
		Any map[string]map[string][]string `yaml:"any"`
		A0  []string                       `yaml:"a0"`
		A1  [][]string                     `yaml:"a1"`
		A2  [][][]string                   `yaml:"a2"`
		A3  [][][][]string                 `yaml:"a3"`
		A4  [][][][][]string               `yaml:"a4"`
		A5  [][][][][][]string             `yaml:"a5"`
	}
	nothing := func(string) (string, bool) { return "", false }
	var merges strings.Builder
	merges.WriteString("x: &a {")
	for i := range 1000 {
		fmt.Fprintf(&merges, "k%d: {},", i)
	}
	merges.WriteString("}\nany:\n  <<: [" + strings.Repeat("*a,", 1000) + "]\n")
	tests := map[string]struct{ text, want string }{
		"size":       {strings.Repeat("#", 1<<20+1), "larger than 1048576 bytes"},
		"keys":       {strings.Repeat("a:\n", 300_000), "more than 100000"},
		"brackets":   {strings.Repeat("[", 40_000), "nested deeper than 64 levels"},
		"braces":     {strings.Repeat("{a: ", 10_000), "nested deeper than 64 levels"},
		"dashes":     {strings.Repeat("- ", 40_000), "nested deeper than 64 levels"},
		"questions":  {strings.Repeat("? ", 40_000), "nested deeper than 64 levels"},
		"tags":       {"a: " + strings.Repeat("!a ", 30_000), "nested deeper than 64 levels"},
		"tag lines":  {"a:\n" + strings.Repeat(" !a\n", 30_000) + " x", "nested deeper"},
		"anchors":    {"a: " + strings.Repeat("&a ", 20_000), "nested deeper than 64 levels"},
		"indents":    {indents(500), "nested deeper than 64 levels"},
		"merges":     {merges.String(), "aliases expand this to more than 100000 values"},
		"itself":     {"any: &a {m: *a}\n", "*a stands for nothing"},
		"encoding":   {"any: \xff\n", "byte 0xff is not UTF-8"},
		"character":  {"any: \x00\n", "character U+0000 is not text"},
		"two":        {"any: {}\n---\nany: {}\n", "a second document begins here"},
		"no map":     {"- any\n", "expected a map of keys, got a list"},
		"plain text": {"any\n", `got "any"`},
		"key":        {"{[a]: b}\n", "invalid YAML"},
		"problems":   {strings.Repeat("b:\n", 1000), "x.yaml:101:1: from here on there are 900 more problems"},
		"aliases":    {bomb(6), "aliases expand this to more than 100000 values"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := config.Decode("x.yaml", []byte(test.text), &tree{}, nothing)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %.300v, want %q", err, test.want)
			}
		})
	}
	err := config.Decode("x.yaml", []byte(strings.Repeat("a:\n", 30_000)), &tree{}, nil)
	if want := "more than 20000"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("of what other people wrote: got %.300v, want %q", err, want)
	}
}

// bomb is a document of n lists, each of ten times the one before.
func bomb(n int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [" + strings.Repeat("v,", 10) + "]\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10))
	}
	return b.String()
}

func indents(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestIntoMustBePointer(t *testing.T) {
	t.Parallel()
	if err := config.Decode("x", nil, app{}, nil); err == nil {
		t.Error("a struct was accepted")
	}
	if err := config.Decode("x", nil, (*app)(nil), nil); err == nil {
		t.Error("a nil pointer was accepted")
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	a := config.Problems{{File: "f", Line: 9, Column: 1, Path: "b", Message: "late"}}
	b := config.Problems{{File: "f", Line: 2, Column: 1, Path: "a", Message: "early"}}
	other := errors.New("other")
	if config.Join(nil, nil) != nil {
		t.Error("nothing joined to something")
	}
	if got, want := config.Join(a, nil, b).Error(), "f:2:1: a: early\nf:9:1: b: late"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	err := config.Join(a, other, b)
	problem, ok := errors.AsType[config.Problem](err)
	if !ok || !errors.Is(err, other) || problem.Message != "early" {
		t.Errorf("got %v", err)
	}
}
