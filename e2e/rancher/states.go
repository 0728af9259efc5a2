package rancher

import "slices"

// after is the state that one ends in; empty for those that last.
func after(state string) string {
	switch state {
	case "registering", "updating-inactive", "deactivating":
		return "inactive"
	case "activating", "updating-active", "finishing-upgrade", "rolling-back", "restarting":
		return "active"
	case "upgrading":
		return "upgraded"
	case "canceling-upgrade":
		return "canceled-upgrade"
	case "removing":
		return "removed"
	}
	return ""
}

// actions are the actions that states allow, with the state that each leads to.
func actions(state string) map[string]string {
	allowed := map[string]string{}
	for _, a := range []struct {
		name, leads string
		from        []string
	}{
		{"activate", "activating", []string{"inactive"}},
		{"deactivate", "deactivating", []string{"restarting", "active", "activating", "updating-inactive", "updating-active"}},
		{"restart", "restarting", []string{"active"}},
		{"upgrade", "upgrading", []string{"active", "activating", "inactive", "updating-active"}},
		{"finishupgrade", "finishing-upgrade", []string{"upgraded"}},
		{"rollback", "rolling-back", []string{"upgrading", "upgraded", "canceled-upgrade"}},
		{"cancelupgrade", "canceling-upgrade", []string{"upgrading", "finishing-upgrade"}},
		{"continueupgrade", "upgrading", []string{"canceled-upgrade"}},
		{"update", "", []string{
			"inactive", "active", "updating-active", "finishing-upgrade", "activating", "canceling-upgrade",
			"upgrading", "rolling-back",
		}},
		{"remove", "removing", []string{
			"inactive", "registering", "active", "activating", "updating-inactive", "updating-active", "upgrading",
			"canceling-upgrade", "rolling-back", "deactivating", "canceled-upgrade", "upgraded", "finishing-upgrade",
			"restarting",
		}},
	} {
		if slices.Contains(a.from, state) {
			allowed[a.name] = a.leads
		}
	}
	return allowed
}

// isAction tells whether services know an action; it is answered with ActionNotAvailable where they are not allowed.
func isAction(name string) bool {
	return slices.Contains([]string{
		"activate", "addservicelink", "cancelupgrade", "continueupgrade", "create", "deactivate", "finishupgrade",
		"remove", "removeservicelink", "restart", "rollback", "setservicelinks", "update", "upgrade",
	}, name)
}
