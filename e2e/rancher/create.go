package rancher

import (
	"net/http"
	"slices"
)

// create makes a stack or a service.
func (c *call) create(kind string) (int, any, error) {
	name, _ := c.body["name"].(string)
	switch {
	case kind != "stack" && kind != "service":
		return 0, nil, notAllowed()
	case name == "":
		return 0, nil, invalid("MissingRequired", "name")
	case kind == "service":
		v, err := c.createService(name)
		if err != nil {
			return 0, nil, err
		}
		return http.StatusCreated, c.showService(v), nil
	case slices.ContainsFunc(c.project.stacks, func(st *Stack) bool { return st.name == name }):
		return 0, nil, invalid("NotUnique", "name")
	}
	return http.StatusCreated, c.showStack(c.project.stack(name)), nil
}

// createService makes a service that is registering, and starts it then if that is asked for.
func (c *call) createService(name string) (*Service, error) {
	stack := slices.IndexFunc(c.project.stacks, func(st *Stack) bool { return st.id == c.body["stackId"] })
	if stack < 0 {
		return nil, invalid("InvalidReference", "stackId")
	}
	st := c.project.stacks[stack]
	if slices.ContainsFunc(c.project.services, func(v *Service) bool {
		return v.stack == st && v.name == name && v.removed.IsZero()
	}) {
		return nil, invalid("NotUnique", "name")
	}
	config := Config{}
	config.LaunchConfig, _ = c.body["launchConfig"].(map[string]any)
	if config.LaunchConfig == nil {
		return nil, invalid("MissingRequired", "launchConfig")
	}
	config.Scale, _ = number(c.body["scale"])
	config.RetainIP, _ = c.body["retainIp"].(bool)
	sidekicks, _ := c.body["secondaryLaunchConfigs"].([]any)
	for _, one := range sidekicks {
		sidekick, _ := one.(map[string]any)
		config.SecondaryLaunchConfigs = append(config.SecondaryLaunchConfigs, sidekick)
	}
	for _, l := range append(config.SecondaryLaunchConfigs, config.LaunchConfig) {
		image, _ := l["imageUuid"].(string)
		if err := c.sim.checkImage(image, false); err != nil {
			return nil, err
		}
	}
	v := st.add(name, config)
	v.metadata, _ = c.body["metadata"].(map[string]any)
	v.starts, _ = c.body["startOnCreate"].(bool)
	v.enter("registering")
	return v, nil
}
