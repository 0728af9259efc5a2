module github.com/tagship/tagship/services/releaser

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/tagship/tagship/events v0.0.0
	go.uber.org/zap v1.28.0
)

require go.uber.org/multierr v1.10.0 // indirect

replace github.com/tagship/tagship/events => ../../events
