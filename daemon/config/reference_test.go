package config_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tagship/tagship/daemon/config"
)

func TestReference(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, e := range append(config.Reference("nats", &nats{}), config.Reference("tagwatch", service{})...) {
		fmt.Fprintf(&b, "%s | %s | default %q | required %t | %s | %s\n", e.Path, e.Type, e.Default, e.Required, strings.Join(e.Enum, ","), e.Doc)
	}
	golden(t, "testdata/reference.golden", b.String())
	if got := config.Reference("", promote{})[0].Path; got != "from" {
		t.Errorf("in a document without a name the path is %q", got)
	}
}

func TestReferenceOfRecursiveType(t *testing.T) {
	t.Parallel()
	type node struct {
		Name     string           `yaml:"name"`
		Children map[string]*node `yaml:"children"`
	}
	if got := len(config.Reference("tree", node{})); got != 2 {
		t.Errorf("%d entries", got)
	}
	if _, err := config.DocumentSchema(node{}); err != nil {
		t.Error(err)
	}
}

func TestJSONSchema(t *testing.T) {
	t.Parallel()
	got, err := config.JSONSchema(map[string]any{"nats": nats{}, "tagwatch": &service{}})
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(got) {
		t.Error("the schema is no JSON")
	}
	golden(t, "testdata/schema.golden", string(got))
	document, err := config.DocumentSchema(app{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/document-schema.golden", string(document))
	if _, err := config.JSONSchema(map[string]any{"x": nil}); err == nil {
		t.Error("a section without a type was accepted")
	}
	if _, err := config.DocumentSchema(struct {
		N int `yaml:"n" default:"many"`
	}{}); err == nil {
		t.Error("a wrong default was accepted")
	}
}
