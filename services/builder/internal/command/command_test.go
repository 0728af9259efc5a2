package command_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tagship/tagship/services/builder/internal/command"
)

func TestParse(t *testing.T) {
	t.Parallel()
	env := map[string]string{"TAGSHIP_VERSION": "v1.2.3", "HOME": "/root", "FLAGS": "-a -b"}
	for line, want := range map[string]command.Program{
		`go build -o out/web ./cmd/web`:                    {Args: []string{"go", "build", "-o", "out/web", "./cmd/web"}},
		`go build -ldflags "-X main.v=$TAGSHIP_VERSION" .`: {Args: []string{"go", "build", "-ldflags", "-X main.v=v1.2.3", "."}},
		`CGO_ENABLED=0 GOCACHE="$HOME/.cache" go build .`:  {Args: []string{"go", "build", "."}, Env: []string{"CGO_ENABLED=0", "GOCACHE=/root/.cache"}},
		`make ${FLAGS} '$FLAGS' "" \$x`:                    {Args: []string{"make", "-a", "-b", "$FLAGS", "", "$x"}},
		`cp a\ b $NOT_SET c`:                               {Args: []string{"cp", "a b", "c"}},
		`make "*.go"`:                                      {Args: []string{"make", "*.go"}},
		"go build \\\n  -o out/web .":                      {Args: []string{"go", "build", "-o", "out/web", "."}},
	} {
		program, shell, err := command.Parse(line, env)
		if err != nil || shell {
			t.Errorf("%s: shell %v, error %v, expected it to be executed as it stands", line, shell, err)
		}
		if diff := cmp.Diff(want, program); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", line, diff)
		}
	}
}

func TestParseLeavesToTheShell(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		`a && b`, `a; b`, `a | b`, `a > out`, `! a`, `a &`, `cd web`, `echo hi`, `echo $(date)`, "echo `date`", `(a)`,
		`rm *.o`, `ls ~/x`, `make x{a,b}`, `make ${V:-1}`, `make ${#V}`, `make $1`, `make $?`, `make $((1+1))`, `V=1`, `if a; then b; fi`, `f() { a; }`, `$NOT_SET`,
		`[ -f x ]`, `exec go build`,
	} {
		program, shell, err := command.Parse(line, nil)
		if err != nil || !shell {
			t.Errorf("%s: %q, error %v, expected it to be left to the shell", line, program.Args, err)
		}
		if diff := cmp.Diff([]string{"/bin/sh", "-c", line}, program.Args); shell && diff != "" {
			t.Errorf("%s: (-want +got)\n%s", line, diff)
		}
	}
}

func TestParseRefusesBrokenCommands(t *testing.T) {
	t.Parallel()
	for _, line := range []string{`go build "`, `if a; then`, `a )`, `a ||`} {
		if program, _, err := command.Parse(line, nil); err == nil || !strings.Contains(err.Error(), "is not valid") {
			t.Errorf("%s: %q, error %v, expected it to be refused", line, program.Args, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`CGO_ENABLED=0 go build -ldflags "-X main.v=$TAGSHIP_VERSION" ./...`)
	f.Add(`a "${b}" 'c' \d; e`)
	f.Fuzz(func(t *testing.T, line string) {
		program, _, err := command.Parse(line, map[string]string{"b": "x y"})
		if err == nil && len(program.Args) == 0 {
			t.Errorf("%q gives no program", line)
		}
	})
}
