package events_test

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Anything may depend on the contract, so the contract depends on nothing.
func TestImportsStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		read++
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			// Only paths outside the standard library begin with a host's name.
			if host, _, _ := strings.Cut(path, "/"); strings.Contains(host, ".") || path == "C" {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
	if read == 0 {
		t.Fatal("no file was read")
	}
}
