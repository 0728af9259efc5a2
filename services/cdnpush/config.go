package cdnpush

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/services/cdnpush/internal/publish"
)

// Config is the section cdnpush of tagship.yaml.
type Config struct {
	Channels         map[string]Channel `yaml:"channels" key:"channel" doc:"Where packages are published to, by the name of the channel."`
	RegistryUser     string             `yaml:"registry_user" doc:"The user for the registry that builds leave packages in; none means anonymous."`
	RegistryPassword config.Secret      `yaml:"registry_password" doc:"The password for the registry."`
	Insecure         bool               `yaml:"insecure" doc:"Allow plain HTTP to registries beyond the local network."`
	Slots            int                `yaml:"slots" default:"2" doc:"How many versions are published at once, by request and per promoted channel."`
	GiveUp           events.Duration    `yaml:"give_up" default:"1h" doc:"How long a publication is tried again while the registry or the store fails."`

	// Serving is told the URL under which each channel is served, once it is,
	// and before the service is ready. May be nil.
	Serving func(channel, url string) `yaml:"-"`
}

// Channel is a place that packages are published to.
type Channel struct {
	Store   Store    `yaml:"store" doc:"Where the channel's files are kept."`
	Promote *Promote `yaml:"promote" doc:"What comes to the channel by itself; without it, versions come by request only."`
}

// Store is where a channel's files are kept.
type Store struct {
	Folder *Folder `yaml:"folder" doc:"A folder, served over HTTP."`
}

// Folder is a folder as a store. Several channels may share one.
type Folder struct {
	Path   string `yaml:"path" doc:"The folder. Each channel has a folder of its name in it."`
	Listen string `yaml:"listen" doc:"The address to serve the folder on, such as :8080; none if another program serves it."`
	URL    string `yaml:"url" doc:"Where the folder is reached by those who download from it. Default: http:// and the address it is served on."`
}

// Promote is what comes to a channel by itself.
type Promote struct {
	From string          `yaml:"from" required:"true" doc:"build for what is built, or the channel that versions come from."`
	Soak events.Duration `yaml:"soak" doc:"How long a version stays there first."`
	Apps []string        `yaml:"apps" doc:"The apps that are promoted. Default: all."`
}

// FillIn gives channels that lack a folder, or a way to reach it, the given ones.
func (c *Config) FillIn(path, listen string) {
	for name, channel := range c.Channels {
		var f Folder
		if channel.Store.Folder != nil {
			f = *channel.Store.Folder
		}
		if f.Path == "" {
			f.Path = path
		}
		if f.Listen == "" && f.URL == "" {
			f.Listen = listen
		}
		channel.Store.Folder = &f
		c.Channels[name] = channel
	}
}

// Complete reports what is missing in a section that nothing will fill in.
func (c *Config) Complete() error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(c.Channels)) {
		f := c.Channels[name].Store.Folder
		field := folderField(name)
		switch {
		case f == nil:
			problems = append(problems, fmt.Errorf("%s.channels.%s has no store, expected for example store: {folder: {path: /srv/packages, listen: \":8080\"}}", Name, name))
		case f.Path == "":
			problems = append(problems, fmt.Errorf("%s.%s.path is missing, expected the folder to keep packages in", Name, field))
		case f.Listen == "" && f.URL == "":
			problems = append(problems, fmt.Errorf("%s.%s has neither listen nor url, expected the address to serve the folder on, or where another program serves it", Name, field))
		}
	}
	return errors.Join(problems...)
}

// Check reports everything that is wrong with the section as a whole.
func (c *Config) Check() error {
	var problems []error
	add := func(field string, err error) {
		if err != nil {
			problems = append(problems, config.FieldError(field, err))
		}
	}
	if c.Slots < 1 || c.Slots > 100 {
		add("slots", fmt.Errorf("is %d, expected 1 to 100", c.Slots))
	}
	if c.RegistryUser == "" && c.RegistryPassword != "" {
		add("registry_user", errors.New("is missing, but there is a password"))
	}
	shared := map[string]string{} // the channel whose folder is served on an address
	for _, name := range slices.Sorted(maps.Keys(c.Channels)) {
		channel := c.Channels[name]
		add("channels."+name, checkChannel(name))
		if f := channel.Store.Folder; f != nil {
			field := folderField(name)
			add(field+".url", checkURL(f))
			add(field+".listen", checkListen(f))
			other, taken := shared[f.Listen]
			if f.Listen != "" && taken && filepath.Clean(c.Channels[other].Store.Folder.Path) != filepath.Clean(f.Path) {
				add(field+".listen", fmt.Errorf("is %s, where channel %s serves another folder: use the same path, or another port", f.Listen, other))
			}
			if !taken {
				shared[f.Listen] = name
			}
		}
		if channel.Promote != nil {
			c.checkPromote(name, *channel.Promote, add)
		}
	}
	return errors.Join(problems...)
}

func (c *Config) checkPromote(name string, promote Promote, add func(string, error)) {
	field := "channels." + name + ".promote"
	for i, app := range promote.Apps {
		add(fmt.Sprintf("%s.apps[%d]", field, i), events.CheckApp(app))
	}
	if promote.From == "" || promote.From == publish.FromBuild {
		return
	}
	if _, known := c.Channels[promote.From]; !known {
		add(field+".from", fmt.Errorf("is %q, which is neither build nor a channel", promote.From))
		return
	}
	seen := map[string]bool{}
	for from := promote.From; ; {
		if from == name {
			add(field+".from", errors.New("leads back to the channel itself"))
			return
		}
		next := c.Channels[from].Promote
		if next == nil || seen[from] {
			return
		}
		seen[from], from = true, next.From
	}
}

// promoted lists the channels that are promoted to.
func (c *Config) promoted() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.Channels)) {
		if c.Channels[name].Promote != nil {
			names = append(names, name)
		}
	}
	return names
}

func folderField(channel string) string { return "channels." + channel + ".store.folder" }

func checkChannel(name string) error {
	if name == publish.FromBuild {
		return errors.New("a channel cannot be called build: that is where versions are promoted from")
	}
	return events.CheckPlace(name)
}

func checkURL(f *Folder) error {
	if f.URL == "" {
		return nil
	}
	parsed, err := url.Parse(f.URL)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" || parsed.RawQuery != "" || parsed.Fragment != "" || parsed.User != nil {
		return errors.New("is not where files can be reached, expected for example https://packages.example.org")
	}
	return nil
}

func checkListen(f *Folder) error {
	if f.Listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(f.Listen)
	if err != nil || port == "" {
		return fmt.Errorf("%q is not an address, expected host:port such as 127.0.0.1:8080", f.Listen)
	}
	if address := net.ParseIP(host); f.URL == "" && (host == "" || address.IsUnspecified()) {
		return fmt.Errorf("%q is every address of the machine: say in url where the folder is reached", f.Listen)
	}
	return nil
}
