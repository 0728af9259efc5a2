package cdnpush

import (
	"strings"
	"testing"

	"github.com/tagship/tagship/daemon/config"
)

func decode(text string) (Config, error) {
	var c Config
	err := config.Decode("cdnpush.yaml", []byte(text), &c, func(string) (string, bool) { return "", false })
	return c, err
}

func TestConfig(t *testing.T) {
	t.Parallel()
	c, err := decode(`
registry_user: ann
registry_password: s3cret
channels:
  beta:   {store: {folder: {path: /srv/dl, listen: ":8080", url: "https://dl.example.org"}}, promote: {from: build}}
  stable: {store: {folder: {path: /srv/dl/, listen: ":8080", url: "https://dl.example.org"}}, promote: {from: beta, soak: 1h, apps: [agent]}}
  lts:    {store: {folder: {path: /srv/lts, url: "https://lts.example.org/files"}}}
`)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Complete(); err != nil {
		t.Error(err)
	}
	if c.Slots != 2 || c.GiveUp.String() != "1h0m0s" || c.Channels["stable"].Promote.Soak.String() != "1h0m0s" {
		t.Errorf("decoded to %+v", c)
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := decode(`
slots: 0
registry_password: s3cret
channels:
  build: {}
  a:  {store: {folder: {path: /srv/a, listen: "127.0.0.1:8080"}}, promote: {from: b}}
  b:  {store: {folder: {path: /srv/b, listen: "127.0.0.1:8080"}}, promote: {from: a}}
  c:  {store: {folder: {listen: "8080"}}, promote: {from: nowhere}}
  d:  {store: {folder: {listen: ":8080"}}, promote: {}}
  e:  {store: {folder: {url: dl.example.org}}, promote: {from: build, apps: [Web]}}
  f/g: {}
  h: {store: {s3: {}}}
`)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"slots", "registry_user", "channels.build", "channels.b.store.folder.listen", "channel a serves another folder",
		"channels.a.promote.from", "channels.b.promote.from", "leads back", "channels.c.store.folder.listen", "channels.c.promote.from", "nowhere",
		"channels.d.store.folder.listen", "channels.d.promote.from", "channels.e.store.folder.url", "channels.e.promote.apps[0]", "channels.f/g", "channels.h.store.s3",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a password is in:\n%v", err)
	}
}

func TestFillInAndComplete(t *testing.T) {
	t.Parallel()
	c, err := decode(`
channels:
  beta: {promote: {from: build}}
  stable: {store: {folder: {path: /srv/stable}}}
  lts: {store: {folder: {url: "https://lts.example.org"}}}
`)
	if err != nil {
		t.Fatal(err)
	}
	incomplete := c.Complete()
	for _, want := range []string{"cdnpush.channels.beta has no store", "cdnpush.channels.stable.store.folder has neither listen nor url", "cdnpush.channels.lts.store.folder.path is missing"} {
		if incomplete == nil || !strings.Contains(incomplete.Error(), want) {
			t.Errorf("%q is not in: %v", want, incomplete)
		}
	}
	c.FillIn("/data/cdn", "127.0.0.1:8081")
	if err := c.Complete(); err != nil {
		t.Error(err)
	}
	for channel, want := range map[string]Folder{
		"beta":   {Path: "/data/cdn", Listen: "127.0.0.1:8081"},
		"stable": {Path: "/srv/stable", Listen: "127.0.0.1:8081"},
		"lts":    {Path: "/data/cdn", URL: "https://lts.example.org"},
	} {
		if got := *c.Channels[channel].Store.Folder; got != want {
			t.Errorf("%s is %+v, want %+v", channel, got, want)
		}
	}
}
