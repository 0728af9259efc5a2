package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tagship/tagship/daemon/config"
)

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(good))
	f.Add([]byte("tagwatch: &a {<<: *a, apps: {? x : y}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "${file:") {
			t.Skip("reads files of this machine")
		}
		_, _, err := problemsOf("fuzz.yaml", data)
		if err == nil {
			return
		}
		var problems config.Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("the error is no Problems: %v", err)
		}
		for _, p := range problems {
			if p.File == "" || p.Message == "" || p.Line < 0 || p.Line > strings.Count(string(data), "\n")+2 {
				t.Errorf("a problem without its parts: %+v", p)
			}
		}
	})
}
