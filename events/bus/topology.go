package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tagship/tagship/events"
)

// Topology is what streams, buckets and consumers are to be like: a laptop's
// (the zero value) or a cluster's.
type Topology struct {
	// Replicas of every stream and bucket. Default 1; a cluster uses 3.
	Replicas int
	// Memory keeps everything in memory: for tests.
	Memory bool
	// LogsAge and LogsBytes bound the stream LOGS. Default 14 days, 1 GiB.
	LogsAge   time.Duration
	LogsBytes int64
	// SourcesAge is how long staged sources are kept. Default 30 days.
	SourcesAge time.Duration
	// AckWait is how long a message stays with a worker that gives no sign of
	// life, before another gets it. A working one gives a sign every quarter of
	// it. Default 60 s.
	AckWait time.Duration
	// Fixed says that somebody else creates and changes streams, buckets and
	// consumers ("tagship setup"); the bus then only checks that they are there.
	Fixed bool
}

func (t Topology) withDefaults() Topology {
	if t.Replicas == 0 {
		t.Replicas = 1
	}
	if t.LogsAge == 0 {
		t.LogsAge = 14 * 24 * time.Hour
	}
	if t.LogsBytes == 0 {
		t.LogsBytes = 1 << 30
	}
	if t.SourcesAge == 0 {
		t.SourcesAge = 30 * 24 * time.Hour
	}
	if t.AckWait == 0 {
		t.AckWait = 60 * time.Second
	}
	return t
}

// Names of the buckets: tables of keys and values, and the store of sources.
const (
	TableLeases   = "leases"   // who may change what; see Hold
	TableAttempts = "attempts" // messages that were not settled at the first attempt
	TableDead     = "dead"     // dead letters that were replayed or dropped
	TableWatch    = "watch"    // what tagwatch knows of repositories
	TableReports  = "reports"  // what was reported to hosts
	bucketSources = "sources"
)

// maxMessage bounds a message's size below the server's default limit of 1 MiB,
// so that a dead letter has room for its headers.
const maxMessage = 512 << 10

// hooksAge and hooksBytes bound the stream HOOKS. What a hint hints at is found
// without it too, only later.
const (
	hooksAge   = 72 * time.Hour
	hooksBytes = 256 << 20
)

func (t Topology) storage() jetstream.StorageType {
	if t.Memory {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

func (t Topology) streams() []jetstream.StreamConfig {
	record := func(name, subjects, description string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: []string{subjects}, Description: description,
			Retention: jetstream.LimitsPolicy, Storage: t.storage(), Replicas: t.Replicas,
			DenyDelete: true, DenyPurge: true, MaxMsgSize: maxMessage,
		}
	}
	dead := record(events.StreamDead, "dead.>", "messages given up on")
	dead.MaxMsgSize = 2 * maxMessage
	return []jetstream.StreamConfig{
		record(events.StreamTags, "tag.>", "versions, and requests to look for them"),
		record(events.StreamBuilds, "build.>", "builds, and requests to build"),
		record(events.StreamReleases, "release.>", "releases, and requests to release"),
		record(events.StreamCDN, "cdn.>", "publications, and requests to publish"),
		dead,
		{
			Name: events.StreamLogs, Subjects: []string{"log.>"}, Description: "output of the steps",
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: t.storage(), Replicas: t.Replicas,
			MaxAge: t.LogsAge, MaxBytes: t.LogsBytes, MaxMsgSize: maxMessage, AllowDirect: true,
		},
		{
			Name: events.StreamHooks, Subjects: []string{events.HookReceived.All()}, Description: "hints to look, the newest about each tag",
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: t.storage(), Replicas: t.Replicas,
			MaxMsgsPerSubject: 1, MaxAge: hooksAge, MaxBytes: hooksBytes, MaxMsgSize: maxMessage,
		},
	}
}

func (t Topology) tables() []jetstream.KeyValueConfig {
	table := func(name, description string, ttl time.Duration) jetstream.KeyValueConfig {
		return jetstream.KeyValueConfig{Bucket: name, Description: description, History: 1, TTL: ttl, Storage: t.storage(), Replicas: t.Replicas}
	}
	leases := table(TableLeases, "who may change what", 0)
	leases.LimitMarkerTTL = time.Minute
	return []jetstream.KeyValueConfig{
		leases,
		table(TableAttempts, "messages that were not settled at the first attempt", 30*24*time.Hour),
		table(TableDead, "dead letters that were replayed or dropped", 0),
		table(TableWatch, "what tagwatch knows of repositories", 0),
		table(TableReports, "what was reported to hosts", 90*24*time.Hour),
	}
}

func (t Topology) sources() jetstream.ObjectStoreConfig {
	return jetstream.ObjectStoreConfig{Bucket: bucketSources, Description: "source code by digest", TTL: t.SourcesAge, Storage: t.storage(), Replicas: t.Replicas}
}

// Consumer is a durable place in a stream, shared by all replicas of a service.
type Consumer struct {
	Name    string
	Stream  string
	Filters []string
	// New begins with what is stored after the consumer was created, rather than
	// with the first message of the stream. NATS cannot change it later.
	New bool
	// MaxInFlight bounds how many messages all replicas together may hold,
	// waiting for their next attempt included. Default 1000.
	MaxInFlight int
}

func (c Consumer) config(t Topology) jetstream.ConsumerConfig {
	inFlight := c.MaxInFlight
	if inFlight == 0 {
		inFlight = 1000
	}
	cfg := jetstream.ConsumerConfig{
		Durable: c.Name, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: t.AckWait, MaxDeliver: -1, MaxAckPending: inFlight,
		// Read by "nats server check consumer".
		Metadata: map[string]string{
			"io.nats.monitor.unprocessed-critical":     "1000",
			"io.nats.monitor.outstanding-ack-critical": fmt.Sprint(inFlight),
		},
	}
	if c.New {
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	// One filter goes into the subject of the request to create the consumer,
	// where permissions can see it (ADR-34).
	if len(c.Filters) == 1 {
		cfg.FilterSubject = c.Filters[0]
	} else {
		cfg.FilterSubjects = c.Filters
	}
	return cfg
}

// Ensure makes streams and buckets what the topology says, and creates the given
// consumers. It may run many times and in many services at once. What NATS
// cannot change is refused with an error that says what differs.
func (b *Bus) Ensure(ctx context.Context, consumers ...Consumer) error {
	t := b.opts.Topology
	for _, want := range t.streams() {
		if err := b.ensureStream(ctx, want); err != nil {
			return err
		}
	}
	for _, want := range t.tables() {
		if err := b.ensureBucket(ctx, "KV_"+want.Bucket, want.TTL, func(ctx context.Context) error {
			_, err := b.js.CreateOrUpdateKeyValue(ctx, want)
			return err
		}); err != nil {
			return err
		}
	}
	sources := t.sources()
	if err := b.ensureBucket(ctx, "OBJ_"+bucketSources, sources.TTL, func(ctx context.Context) error {
		_, err := b.js.CreateOrUpdateObjectStore(ctx, sources)
		return err
	}); err != nil {
		return err
	}
	for _, c := range consumers {
		if _, err := b.consumer(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bus) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	return b.askWithRetry(ctx, askAbout(want.Name), func(ctx context.Context) error {
		if b.opts.Topology.Fixed {
			_, err := b.js.Stream(ctx, want.Name)
			return missing(err, "stream", want.Name)
		}
		_, err := b.js.CreateStream(ctx, want)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return attempt(err, "create stream %s", want.Name)
		}
		stream, err := b.js.Stream(ctx, want.Name)
		if err != nil {
			return fmt.Errorf("look up stream %s: %w", want.Name, err)
		}
		have := stream.CachedInfo().Config
		if differs := unchangeable(have, want); len(differs) > 0 {
			return events.Permanent(fmt.Errorf("stream %s has %s, which NATS cannot change: set the nats section of tagship.yaml to what is there, or move the data with 'nats stream backup' and 'restore'",
				want.Name, strings.Join(differs, " and ")))
		}
		if !outdated(have, want) {
			return nil
		}
		_, err = b.js.UpdateStream(ctx, want)
		return attempt(err, "update stream %s", want.Name)
	})
}

// ensureBucket creates or updates a bucket, which is a stream underneath.
func (b *Bus) ensureBucket(ctx context.Context, stream string, age time.Duration, create func(context.Context) error) error {
	return b.askWithRetry(ctx, askAbout(stream), func(ctx context.Context) error {
		existing, err := b.js.Stream(ctx, stream)
		if b.opts.Topology.Fixed {
			return missing(err, "bucket", stream)
		}
		if err == nil {
			if have := existing.CachedInfo().Config; have.Storage != b.opts.Topology.storage() {
				return events.Permanent(fmt.Errorf("bucket %s has storage %s, expected %s, which NATS cannot change: set the nats section of tagship.yaml to what is there",
					stream, have.Storage, b.opts.Topology.storage()))
			} else if have.Replicas == b.opts.Topology.Replicas && have.MaxAge == age {
				return nil
			}
		}
		return attempt(create(ctx), "create bucket %s", stream)
	})
}

// unchangeable lists the settings in which a stream differs for good.
func unchangeable(have, want jetstream.StreamConfig) []string {
	var differs []string
	if have.Storage != want.Storage {
		differs = append(differs, fmt.Sprintf("storage %s, expected %s", have.Storage, want.Storage))
	}
	if have.Retention != want.Retention {
		differs = append(differs, fmt.Sprintf("retention %s, expected %s", have.Retention, want.Retention))
	}
	if have.DenyDelete && !want.DenyDelete {
		differs = append(differs, "deletes denied")
	}
	if have.DenyPurge && !want.DenyPurge {
		differs = append(differs, "purges denied")
	}
	return differs
}

// outdated reports whether a stream differs in a setting that Tagship sets.
func outdated(have, want jetstream.StreamConfig) bool {
	return !slices.Equal(have.Subjects, want.Subjects) || have.Replicas != want.Replicas ||
		have.DenyDelete != want.DenyDelete || have.DenyPurge != want.DenyPurge ||
		have.MaxMsgSize != want.MaxMsgSize || have.MaxAge != want.MaxAge ||
		have.AllowDirect != want.AllowDirect || have.Description != want.Description ||
		(want.MaxBytes != 0 && have.MaxBytes != want.MaxBytes) ||
		(want.MaxMsgsPerSubject != 0 && have.MaxMsgsPerSubject != want.MaxMsgsPerSubject)
}

// consumer creates or updates a durable consumer, or binds to it where the topology is fixed.
func (b *Bus) consumer(ctx context.Context, c Consumer) (jetstream.Consumer, error) {
	var bound jetstream.Consumer
	err := b.askWithRetry(ctx, askAbout(c.Stream), func(ctx context.Context) (err error) {
		if b.opts.Topology.Fixed {
			bound, err = b.js.Consumer(ctx, c.Stream, c.Name)
			return missing(err, "consumer", c.Name+" of "+c.Stream)
		}
		bound, err = b.js.CreateOrUpdateConsumer(ctx, c.Stream, c.config(b.opts.Topology))
		return attempt(err, "create consumer %s of %s", c.Name, c.Stream)
	})
	return bound, err
}

func missing(err error, what, name string) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		return events.Permanent(fmt.Errorf("%s %s does not exist: run 'tagship setup' as a user who may create it", what, name))
	}
	return attempt(err, "look up %s %s", what, name)
}

func attempt(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
