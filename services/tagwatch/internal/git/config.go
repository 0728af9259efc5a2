package git

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The variables through which the credential helper is told what to answer.
const (
	variableUser     = "TAGSHIP_GIT_USER"
	variablePassword = "TAGSHIP_GIT_PASSWORD"
)

// configText is the only configuration that git reads. There is no secret in it.
func (r *repository) configText() string {
	var b strings.Builder
	section := func(name string, lines ...string) {
		fmt.Fprintf(&b, "[%s]\n", name)
		for _, line := range lines {
			fmt.Fprintf(&b, "\t%s\n", line)
		}
	}
	section("core", "hooksPath = /dev/null", `askPass = ""`)
	section("protocol", "version = 2")
	// A server that sends next to nothing for this long is as good as silent.
	section("http", "lowSpeedLimit = 1000", "lowSpeedTime = 60")
	section("gc", "autoDetach = false", "pruneExpire = now")
	section("fetch", "fsckObjects = false", "writeCommitGraph = false")
	// Permissions in an archive must not depend on this process.
	section("tar", "umask = 0022")
	section("init", "defaultBranch = none")
	if r.address.local {
		// Whoever configured the path meant it, whichever user owns it.
		section("safe", "directory = *")
	}
	if command := r.settings.sshCommand(); command != "" {
		section("core", "sshCommand = "+quoteValue(command))
	}
	if r.settings.CredentialHelper != "" {
		section("credential", "helper = "+quoteValue(r.settings.CredentialHelper))
	}
	if r.address.user != "" || r.address.password != "" {
		// Only for this host: git asks for a redirect's own.
		section(fmt.Sprintf(`credential "%s"`, r.address.host), "helper =", "helper = "+quoteValue(
			`!f() { if test "$1" = get; then printf 'username=%s\npassword=%s\n' "$`+variableUser+`" "$`+variablePassword+`"; fi; }; f`))
	}
	return b.String()
}

func (s Settings) sshCommand() string {
	command := []string{"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"}
	if s.SSHKey != "" {
		command = append(command, "-o", "IdentitiesOnly=yes", "-i", quoteShell(s.SSHKey))
	}
	if s.KnownHosts != "" {
		command = append(command, "-o", quoteShell("UserKnownHostsFile="+quoteOption(s.KnownHosts)))
	}
	return strings.Join(command, " ")
}

// quoteValue writes a value as git-config(1) reads it.
func quoteValue(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// quoteShell writes one word of a POSIX shell.
func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quoteOption writes a path as ssh_config(5) reads it.
func quoteOption(s string) string { return `"` + s + `"` }

func (r *repository) configFile() string { return filepath.Join(r.folder, "config") }

// writeConfig makes the repository's folder and its configuration file.
func (r *repository) writeConfig() error {
	if err := os.MkdirAll(r.folder, 0o700); err != nil {
		return fmt.Errorf("make the folder of %s: %w", r.address, err)
	}
	if err := os.WriteFile(r.configFile(), []byte(r.configText()), 0o600); err != nil {
		return fmt.Errorf("write the git configuration for %s: %w", r.address, err)
	}
	return nil
}
