// Package command turns the commands of a recipe into programs to execute.
//
// A toolchain made of nothing but a compiler has no shell, and needs none for
// "go build -o out/web ./cmd/web": a simple command (POSIX Shell Command
// Language, section 2.9.1) is expanded here and executed as it stands.
// Everything beyond that is the business of /bin/sh.
package command

import (
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// Shell is the program that runs what is not a simple command.
const Shell = "/bin/sh"

// Program is one process to execute.
type Program struct {
	Args []string
	Env  []string // assignments before the command, NAME=value, on top of the build's environment
}

// Parse reads one command. If it is simple, its words are expanded with env and
// shell is false; otherwise the program is /bin/sh -c with the command as it is.
// An error says where the command breaks the shell's grammar.
func Parse(command string, env map[string]string) (program Program, shell bool, err error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(command), "")
	if err != nil {
		return Program{}, false, fmt.Errorf("command %q is not valid: %w", command, err)
	}
	viaShell := Program{Args: []string{Shell, "-c", command}}
	call, ok := simple(file)
	if !ok {
		return viaShell, true, nil
	}
	program, ok = expandCall(call, env)
	if !ok || len(program.Args) == 0 || interp.IsBuiltin(program.Args[0]) {
		return viaShell, true, nil
	}
	return program, false, nil
}

// Sequence is one program that runs commands one after the other, each in a
// shell of its own, and stops at the first that fails.
func Sequence(commands []string) Program {
	const loop = `for command; do printf '+ %s\n' "$command"; ` + Shell + ` -c "$command" || exit; done`
	return Program{Args: append([]string{Shell, "-c", loop, "build"}, commands...)}
}

func simple(file *syntax.File) (*syntax.CallExpr, bool) {
	if len(file.Stmts) != 1 {
		return nil, false
	}
	stmt := file.Stmts[0]
	if stmt.Negated || stmt.Background || stmt.Coprocess || stmt.Disown || len(stmt.Redirs) > 0 {
		return nil, false
	}
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 {
		return nil, false
	}
	for _, assign := range call.Assigns {
		if assign.Append || assign.Index != nil || assign.Array != nil || !plain(assign.Value) {
			return nil, false
		}
	}
	for _, word := range call.Args {
		if !plain(word) {
			return nil, false
		}
	}
	return call, true
}

// plain reports whether a word holds nothing but text, quotes and variables by name.
func plain(word *syntax.Word) bool {
	if word == nil {
		return true
	}
	ok := true
	syntax.Walk(word, func(node syntax.Node) bool {
		switch node := node.(type) {
		case nil, *syntax.Word, *syntax.SglQuoted, *syntax.DblQuoted:
		case *syntax.Lit:
		case *syntax.ParamExp:
			ok = ok && node.Param != nil && syntax.ValidName(node.Param.Value) && !node.Length && node.Exp == nil
		default:
			ok = false
		}
		return ok
	})
	for _, part := range word.Parts {
		if lit, isLit := part.(*syntax.Lit); isLit {
			// Patterns and braces outside of quotes mean files that only the shell in the toolchain sees.
			ok = ok && !strings.ContainsAny(lit.Value, "*?[{~")
		}
	}
	return ok
}

// expandCall expands the words of a command; false means that only a shell can.
func expandCall(call *syntax.CallExpr, env map[string]string) (program Program, ok bool) {
	config := &expand.Config{Env: expand.FuncEnviron(func(name string) string { return env[name] })}
	for _, assign := range call.Assigns {
		value := ""
		if assign.Value != nil {
			var err error
			if value, err = expand.Literal(config, assign.Value); err != nil {
				return Program{}, false
			}
		}
		program.Env = append(program.Env, assign.Name.Value+"="+value)
	}
	args, err := expand.Fields(config, call.Args...)
	program.Args = args
	return program, err == nil
}
