package registry

import (
	"io"

	"github.com/sirupsen/logrus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// routeLog sends the registry's log to log. The registry offers no other way in
// than the standard logger of logrus, which nothing else in Tagship uses.
func routeLog(log *zap.Logger) {
	std := logrus.StandardLogger()
	std.SetOutput(io.Discard)
	std.ReplaceHooks(logrus.LevelHooks{})
	std.SetLevel(logrus.PanicLevel) // entries that nobody reads need not be built
	if log.Core().Enabled(zapcore.DebugLevel) {
		std.SetLevel(logrus.DebugLevel)
	}
	std.AddHook(hook{log})
}

// hook passes log entries on. Everything is debug to Tagship: what concerns a
// client, the client is told.
type hook struct{ log *zap.Logger }

func (hook) Levels() []logrus.Level { return logrus.AllLevels }

func (h hook) Fire(entry *logrus.Entry) error {
	fields := make([]zap.Field, 0, len(entry.Data)+1)
	fields = append(fields, zap.Stringer("severity", entry.Level))
	for key, value := range entry.Data {
		fields = append(fields, zap.Any(key, value))
	}
	h.log.Debug(entry.Message, fields...)
	return nil
}
