package config_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tagship/tagship/daemon/config"
)

func TestSecretIsNeverShown(t *testing.T) {
	t.Parallel()
	const text = "hunter2"
	secret := config.Secret(text)
	holder := struct {
		Token config.Secret
		Map   map[string]config.Secret
	}{secret, map[string]config.Secret{"key": secret}}
	shown := map[string]string{
		"Error": fmt.Errorf("x: %v", secret).Error(), "Sprint": fmt.Sprint(secret, holder, &holder, []config.Secret{secret}),
		"String": secret.String(), "GoString": secret.GoString(),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T %[1]v"} {
		shown[verb] = fmt.Sprintf(verb, secret) + fmt.Sprintf(verb, holder)
	}
	asJSON, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	shown["json"], shown["yaml"] = string(asJSON), string(asYAML)
	core, logs := observer.New(zapcore.DebugLevel)
	zap.New(core).Sugar().Infow("message", "secret", secret, "holder", holder)
	zap.New(core).Info("message", zap.Any("secret", secret), zap.Any("holder", holder), zap.Stringer("s", secret), zap.Reflect("r", secret))
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	for i, entry := range logs.All() {
		line, err := encoder.EncodeEntry(entry.Entry, entry.Context)
		if err != nil {
			t.Fatal(err)
		}
		shown[fmt.Sprintf("zap %d", i)] = line.String()
	}
	for way, got := range shown {
		if strings.Contains(got, text) || strings.Contains(got, fmt.Sprintf("%x", text)) || strings.Contains(got, fmt.Sprintf("%X", text)) {
			t.Errorf("%s shows the secret: %s", way, got)
		}
		if !strings.Contains(got, "redacted") {
			t.Errorf("%s does not say that it is redacted: %s", way, got)
		}
	}
	if secret.Reveal() != text {
		t.Error("Reveal does not reveal")
	}
}
