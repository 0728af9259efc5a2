package daemon

import "runtime/debug"

// Version is the version of the running program: the module's where it was
// built from a tag, else 0.0.0 with the commit.
func Version() string {
	const none = "0.0.0"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return none
	}
	if v := info.Main.Version; len(v) > 1 && v[0] == 'v' {
		return v[1:]
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return none + "+" + s.Value[:12]
		}
	}
	return none
}
