package rancher

import (
	"maps"
	"slices"
)

// Project is an environment of Rancher.
type Project struct {
	sim      *Sim
	id, name string
	key      Key
	stacks   []*Stack
	services []*Service
}

// Stack is a group of services.
type Stack struct {
	project  *Project
	id, name string
}

// Config is what a service is made from.
type Config struct {
	Scale                  int // 1 if 0
	LaunchConfig           map[string]any
	SecondaryLaunchConfigs []map[string]any // sidekicks, each with its name
	RetainIP               bool
	Inactive               bool // it was not started
}

// Project finds a project, or makes it.
func (s *Sim) Project(name string) *Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.projects {
		if p.name == name {
			return p
		}
	}
	p := &Project{sim: s, id: s.id("a"), name: name, key: Key{Access: "key-" + name, Secret: "secret-" + name}}
	s.projects = append(s.projects, p)
	return p
}

// ID is the project's id, such as 1a5.
func (p *Project) ID() string { return p.id }

// Key is a key for this environment alone. It works with the project's path and without.
func (p *Project) Key() Key { return p.key }

// Stack finds a stack, or makes it.
func (p *Project) Stack(name string) *Stack {
	p.sim.mu.Lock()
	defer p.sim.mu.Unlock()
	return p.stack(name)
}

func (p *Project) stack(name string) *Stack {
	for _, st := range p.stacks {
		if st.name == name {
			return st
		}
	}
	st := &Stack{project: p, id: p.sim.id("st"), name: name}
	p.stacks = append(p.stacks, st)
	return st
}

// ID is the stack's id, such as 1st3.
func (st *Stack) ID() string { return st.id }

// Service makes a service that runs already, unless it is inactive.
func (st *Stack) Service(name string, config Config) *Service {
	s := st.project.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	v := st.add(name, config)
	if config.Inactive {
		v.state = "inactive"
		return v
	}
	v.state, v.idle = "active", false
	for _, l := range v.launches {
		for range v.want(l) {
			c := v.start(l)
			c.state, c.health = "running", "healthy"
			if l.config["healthCheck"] == nil {
				c.health = ""
			}
		}
	}
	return v
}

// add makes a service that has no containers yet.
func (st *Stack) add(name string, config Config) *Service {
	s := st.project.sim
	v := &Service{
		sim: s, stack: st, id: s.id("s"), name: name, uuid: s.uuid(), created: s.now,
		idle: true, scale: max(1, config.Scale), retainIP: config.RetainIP,
		launches: []*launch{{config: known(config.LaunchConfig)}},
	}
	for _, c := range config.SecondaryLaunchConfigs {
		n, _ := c["name"].(string)
		v.launches = append(v.launches, &launch{name: n, config: known(c)})
	}
	for _, l := range v.launches {
		l.config["version"] = "0"
		l.config["imageUuid"] = s.normal(l.image())
	}
	st.project.services = append(st.project.services, v)
	return v
}

// known is a copy of a launch config without what the schema does not know, which
// the server drops.
func known(config map[string]any) map[string]any {
	config = maps.Clone(config)
	fields := launchConfigFields()
	maps.DeleteFunc(config, func(name string, _ any) bool { return !slices.Contains(fields, name) })
	if config == nil {
		config = map[string]any{}
	}
	return config
}

// launchConfigFields are the fields that a client may set.
func launchConfigFields() []string {
	return []string{
		"blkioDeviceOptions", "blkioWeight", "build", "capAdd", "capDrop", "cgroupParent", "command", "count",
		"cpuCount", "cpuPercent", "cpuPeriod", "cpuQuota", "cpuSet", "cpuSetMems", "cpuShares", "dataVolumeMounts",
		"dataVolumes", "dataVolumesFrom", "dataVolumesFromLaunchConfigs", "description", "devices", "diskQuota",
		"disks", "dns", "dnsOpt", "dnsSearch", "domainName", "entryPoint", "environment", "expose", "extraHosts",
		"groupAdd", "healthCheck", "healthCmd", "healthInterval", "healthRetries", "healthTimeout", "hostname",
		"imageUuid", "ioMaximumBandwidth", "ioMaximumIOps", "ip", "ip6", "ipcMode", "isolation", "kernelMemory",
		"kind", "labels", "logConfig", "lxcConf", "memory", "memoryMb", "memoryReservation", "memorySwap",
		"memorySwappiness", "milliCpuReservation", "name", "netAlias", "networkIds", "networkLaunchConfig",
		"networkMode", "oomKillDisable", "oomScoreAdj", "pidMode", "pidsLimit", "ports", "privileged",
		"publishAllPorts", "readOnly", "registryCredentialId", "requestedHostId", "requestedIpAddress",
		"restartPolicy", "securityOpt", "shmSize", "startOnCreate", "stdinOpen", "stopSignal", "storageOpt",
		"sysctls", "tmpfs", "tty", "ulimits", "user", "userdata", "usernsMode", "uts", "vcpu", "version",
		"volumeDriver", "workingDir",
	}
}
