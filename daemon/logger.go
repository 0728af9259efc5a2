package daemon

import (
	"fmt"
	"io"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
)

// NewLogger makes the logger of a process. Level is debug, info, warn or error;
// format is json, console, or auto for console on a terminal and json elsewhere.
func NewLogger(level, format string, to io.Writer) (*zap.Logger, error) {
	parsed, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level %q: expected debug, info, warn or error", level)
	}
	encoder, err := encoderFor(format, to)
	if err != nil {
		return nil, err
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(to)), parsed)), nil
}

func encoderFor(format string, to io.Writer) (zapcore.Encoder, error) {
	terminal := IsTerminal(to)
	switch {
	case format == "json", format == "auto" && !terminal:
		cfg := zap.NewProductionEncoderConfig()
		cfg.TimeKey, cfg.EncodeTime, cfg.EncodeDuration = "time", zapcore.RFC3339NanoTimeEncoder, zapcore.StringDurationEncoder
		return zapcore.NewJSONEncoder(cfg), nil
	case format == "console", format == "auto":
		cfg := zap.NewDevelopmentEncoderConfig()
		cfg.EncodeTime, cfg.EncodeDuration = zapcore.TimeEncoderOfLayout("15:04:05.000"), zapcore.StringDurationEncoder
		if terminal {
			cfg.EncodeLevel = zapcore.CapitalColorLevelEncoder
		}
		return zapcore.NewConsoleEncoder(cfg), nil
	}
	return nil, fmt.Errorf("--log-format %q: expected json, console or auto", format)
}

// IsTerminal reports whether what is written to w appears on a terminal, and
// colours are not switched off (https://no-color.org).
func IsTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(file.Fd()))
}
