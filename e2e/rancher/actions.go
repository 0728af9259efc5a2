package rancher

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// act takes an action on a service.
func (v *Service) act(action string, body map[string]any) error {
	if !isAction(action) {
		return invalid("InvalidAction", "action")
	}
	leads, allowed := actions(v.state)[action]
	if !allowed {
		return invalid("ActionNotAvailable", "action")
	}
	switch action {
	case "update":
		return v.update(body)
	case "upgrade":
		if err := v.replace(body); err != nil {
			return err
		}
	case "rollback":
		v.idle = false
		for _, l := range v.launches {
			if l.previous != nil {
				l.config, l.previous = l.previous, nil
			}
		}
	case "activate", "finishupgrade":
		v.idle = false
	case "deactivate":
		v.idle = true
	case "restart":
		for _, c := range v.containers {
			if c.wanted {
				c.up(v.sim)
			}
		}
	}
	v.enter(leads)
	return nil
}

// update is a PUT: what cannot be changed is ignored, a launch config among it.
// In the middle of something it ends that, whether it is done or not.
func (v *Service) update(body map[string]any) error {
	if _, allowed := actions(v.state)["update"]; !allowed {
		return &apiError{status: http.StatusConflict, code: "Conflict", message: "Conflict"}
	}
	if scale, is := number(body["scale"]); is {
		v.scale = scale
	}
	if metadata, is := body["metadata"].(map[string]any); is {
		v.metadata = metadata
	}
	switch v.state {
	case "active", "inactive":
		v.enter("updating-" + v.state)
	default:
		v.edited = v.sim.now.Add(v.sim.opts.Step)
	}
	return nil
}

// replace begins an upgrade: the launch configs are replaced whole, and at once.
func (v *Service) replace(body map[string]any) error {
	strategy, _ := body["inServiceStrategy"].(map[string]any)
	if strategy == nil {
		return invalid("MissingRequired", "Upgrade strategy needs to be set")
	}
	strategy = maps.Clone(strategy)
	primary, _ := strategy["launchConfig"].(map[string]any)
	list, _ := strategy["secondaryLaunchConfigs"].([]any)
	if primary == nil && len(list) == 0 {
		return invalid("InvalidOption", "LaunchConfig/secondaryLaunchConfigs need to be specified for inService strategy")
	}
	starts, _ := strategy["startFirst"].(bool)
	if starts && v.retainIP {
		return invalid("InvalidOption", "StartFirst option can't be used for service with retainIp")
	}
	batch, err := atLeast(strategy, "batchSize", 1, 1)
	if err != nil {
		return err
	}
	interval, err := atLeast(strategy, "intervalMillis", 2000, 100)
	if err != nil {
		return err
	}
	configs := map[string]map[string]any{}
	if primary != nil {
		configs[""] = primary
	}
	for _, one := range list {
		config, _ := one.(map[string]any)
		name, _ := config["name"].(string)
		if !slices.ContainsFunc(v.launches, func(l *launch) bool { return l.name == name && name != "" }) {
			return invalid("InvalidReference", "secondaryLaunchConfigs")
		}
		configs[name] = config
	}
	for name, config := range configs {
		config = known(config)
		image, _ := config["imageUuid"].(string)
		if err := v.sim.checkImage(image, name != ""); err != nil {
			return err
		}
		config["imageUuid"] = v.sim.normal(image)
		configs[name] = config
	}

	var before []any
	for _, l := range v.launches {
		if l.name != "" {
			before = append(before, l.config)
		}
		l.previous = nil
		config, is := configs[l.name]
		if !is {
			continue
		}
		config["version"] = v.sim.uuid()
		l.previous, l.config = l.config, config
		l.batch, l.pause, l.starts = batch, time.Duration(interval)*time.Millisecond, starts
		l.nextBatch = time.Time{}
		if l.name == "" {
			strategy["launchConfig"], strategy["previousLaunchConfig"] = l.config, l.previous
		}
	}
	strategy["previousSecondaryLaunchConfigs"] = before
	strategy["batchSize"], strategy["intervalMillis"], strategy["startFirst"] = batch, interval, starts
	v.upgrade = map[string]any{"inServiceStrategy": strategy, "toServiceStrategy": nil}
	return nil
}

// atLeast is a number of a strategy, or what it is if it is not given.
func atLeast(strategy map[string]any, name string, otherwise, least int) (int, error) {
	if strategy[name] == nil {
		return otherwise, nil
	}
	n, is := number(strategy[name])
	if !is {
		return 0, invalid("InvalidType", name)
	}
	if n < least {
		return 0, invalid("MinLimitExceeded", name)
	}
	return n, nil
}

// number is a whole number of JSON, or of a test.
func number(value any) (int, bool) {
	switch n := value.(type) {
	case float64:
		return int(n), n == float64(int(n))
	case int:
		return n, true
	}
	return 0, false
}

// checkImage tells whether an image can be had.
func (s *Sim) checkImage(uuid string, sidekick bool) error {
	if sidekick && strings.HasSuffix(uuid, "rancher/none") {
		return nil
	}
	name, is := strings.CutPrefix(uuid, "docker:")
	if !is || name == "" {
		return invalid("InvalidReference", "imageUuid")
	}
	if len(s.opts.Whitelist) > 0 && !slices.Contains(s.opts.Whitelist, registry(strings.TrimPrefix(s.normal(uuid), "docker:"))) {
		return invalid("InvalidOption", "The provided registry is not whitelisted")
	}
	return nil
}

// normal is an image as it is stored: with the default registry, if it names none.
func (s *Sim) normal(uuid string) string {
	name, is := strings.CutPrefix(uuid, "docker:")
	if !is || s.opts.Registry == "" || registry(name) != "" || name == "rancher/none" {
		return uuid
	}
	return "docker:" + s.opts.Registry + "/" + name
}

// registry is the host in an image's name; empty if there is none.
func registry(name string) string {
	host, _, more := strings.Cut(name, "/")
	if more && (strings.ContainsAny(host, ".:") || host == "localhost") {
		return host
	}
	return ""
}
