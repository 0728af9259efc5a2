package bus

import (
	"context"
	"time"

	"github.com/tagship/tagship/events"
)

// origin is the message whose handling a context belongs to.
type origin struct {
	cause *events.Cause
	time  time.Time
}

type originKey struct{}

func withOrigin(ctx context.Context, o origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

func originOf(ctx context.Context) origin {
	o, _ := ctx.Value(originKey{}).(origin)
	return o
}
