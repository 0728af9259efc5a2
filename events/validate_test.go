package events_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/events"
)

// sampleOf is the sample of one kind, to be spoilt by a test.
func sampleOf[F events.Fact](t *testing.T) F {
	t.Helper()
	for _, s := range samples() {
		if f, ok := s.fact.(F); ok {
			return f
		}
	}
	t.Fatalf("no sample of %T", *new(F))
	panic("not reached")
}

// spoil makes a test of a sample with something wrong in it.
func spoil[F events.Fact](change func(F), want string) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		f := sampleOf[F](t)
		change(f)
		err := f.Validate()
		if want == "" {
			if err != nil {
				t.Error(err)
			}
			return
		}
		if err == nil || err.Error() != want {
			t.Errorf("error\n%v, want\n%s", err, want)
		}
	}
}

func TestValidateFacts(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*testing.T){
		"seen: nothing said": spoil(func(f *events.TagSeen) { *f = events.TagSeen{Meta: f.Meta} },
			"app is empty, expected the name of an app; version is empty, expected a version such as v1.2.3; tag is missing; repo is missing; "+
				"commit is missing, expected 40 or 64 hexadecimal digits; source.digest is missing, expected sha256: and 64 hexadecimal digits; "+
				"source.size is 0, expected the number of bytes; recipe.build.run is missing, expected the command that compiles the app; "+
				"recipe.image is missing, and so are packages: there would be nothing to ship"),
		"seen: SHA-256 commit":  spoil(func(f *events.TagSeen) { f.Commit = digestOf("a")[7:] }, ""),
		"seen: short commit":    spoil(func(f *events.TagSeen) { f.Commit = "0a1b2c3" }, `commit "0a1b2c3" is not a commit, expected 40 or 64 hexadecimal digits`),
		"seen: unknown app":     spoil(func(f *events.TagSeen) { f.App = events.Unknown }, `app "_" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /`),
		"seen: recipe":          spoil(func(f *events.TagSeen) { f.Recipe.Image.Layers[1].Name = "" }, "recipe.image.layers[1].name is missing"),
		"seen: recipe's deploy": spoil(func(f *events.TagSeen) { f.Recipe.Deploy.Health.Within = 0 }, "recipe.deploy.health.within is 0s, expected a duration such as 60s"),
		"seen: without object":  spoil(func(f *events.TagSeen) { f.Object, f.RepoID = "", "" }, ""),
		"seen: object":          spoil(func(f *events.TagSeen) { f.Object = "v1" }, `object "v1" is not a commit, expected 40 or 64 hexadecimal digits`),
		"deleted: nothing said": spoil(func(f *events.TagDeleted) { *f = events.TagDeleted{Meta: f.Meta} },
			"app is empty, expected the name of an app; version is empty, expected a version such as v1.2.3; tag is missing; commit is missing, expected 40 or 64 hexadecimal digits"),
		"moved: nowhere":        spoil(func(f *events.TagMoved) { f.New = f.Old }, "new is the old commit: nothing moved"),
		"moved: commits":        spoil(func(f *events.TagMoved) { f.Old, f.New = "", "x" }, `old is missing, expected 40 or 64 hexadecimal digits; new "x" is not a commit, expected 40 or 64 hexadecimal digits`),
		"moved: unknown app":    spoil(func(f *events.TagMoved) { f.App = events.Unknown }, `app "_" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /`),
		"tag refused: unknown":  spoil(func(f *events.TagRefused) { f.App, f.Version = events.Unknown, events.Unknown }, ""),
		"tag refused: why":      spoil(func(f *events.TagRefused) { f.App, f.Version, f.Reason = "", "", "" }, "app is empty, expected the name of an app; version is empty, expected a version such as v1.2.3; reason is missing"),
		"looked: none new":      spoil(func(f *events.TagLooked) { f.New = nil }, ""),
		"looked: bad version":   spoil(func(f *events.TagLooked) { f.New[1] = "" }, "new[1] is empty, expected a version such as v1.2.3"),
		"looked: unknown app":   spoil(func(f *events.TagLooked) { f.App = events.Unknown }, `app "_" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /`),
		"looked: cause":         spoil(func(f *events.TagLooked) { f.Cause.Seq = 0 }, "cause is incomplete, expected stream and seq"),
		"looked: without cause": spoil(func(f *events.TagLooked) { f.Cause = nil }, ""),

		"build started: executor":  spoil(func(f *events.BuildStarted) { f.Executor = "" }, "executor is missing"),
		"build failed: why":        spoil(func(f *events.BuildFailed) { f.Reason = "" }, "reason is missing"),
		"build failed: app":        spoil(func(f *events.BuildFailed) { f.App = events.Unknown }, `app "_" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /`),
		"build refused: unknown":   spoil(func(f *events.BuildRefused) { f.App = events.Unknown }, ""),
		"build refused: wrong app": spoil(func(f *events.BuildRefused) { f.App = "A" }, `app "A" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /`),

		"build done: packages only": spoil(func(f *events.BuildDone) { f.Image, f.Deploy = nil, nil }, ""),
		"build done: image only":    spoil(func(f *events.BuildDone) { f.PackageSet, f.Packages = nil, nil }, ""),
		"build done: nothing":       spoil(func(f *events.BuildDone) { f.Image, f.Deploy, f.PackageSet, f.Packages = nil, nil, nil, nil }, "image is missing, and so are packages: nothing was built"),
		"build done: no set":        spoil(func(f *events.BuildDone) { f.PackageSet = nil }, "package_set and packages go together"),
		"build done: set of none":   spoil(func(f *events.BuildDone) { f.Packages = nil }, "package_set and packages go together"),
		"build done: deploy what":   spoil(func(f *events.BuildDone) { f.Image = nil }, "deploy needs an image"),
		"build done: deploy":        spoil(func(f *events.BuildDone) { f.Deploy.Instances = 0 }, "deploy.instances is 0, expected 1 to 1000"),
		"build done: tag_seq":       spoil(func(f *events.BuildDone) { f.TagSeq = 0 }, "tag_seq is missing, expected the sequence of the tag.seen fact"),
		"build done: took":          spoil(func(f *events.BuildDone) { f.Took = -1 }, "took is -1ns, expected a duration that is not negative"),
		"build done: image":         spoil(func(f *events.BuildDone) { *f.Image = events.Image{Digest: "latest"} }, `image.repository is missing; image.digest "latest" is not a digest, expected sha256: and 64 hexadecimal digits`),
		"build done: package":       spoil(func(f *events.BuildDone) { f.Packages[0] = events.Package{Name: "../x", Size: -1} }, `packages[0].name "../x" is not a file's name, expected one such as agent_1.0.0_amd64.deb; packages[0].digest is missing, expected sha256: and 64 hexadecimal digits; packages[0].size is -1, expected the number of bytes`),
		"build done: package twice": spoil(func(f *events.BuildDone) { f.Packages = append(f.Packages, f.Packages[0]) }, `packages[1].name "agent_1.2.3_amd64.deb" is the name of an earlier package too`),

		"wanted: release":         spoil(func(f *events.ReleaseWanted) { f.Release = events.Release{Env: "p d"} }, `env "p d" is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit; app is empty, expected the name of an app; version is empty, expected a version such as v1.2.3; digest is missing, expected sha256: and 64 hexadecimal digits`),
		"wanted: tag_seq":         spoil(func(f *events.ReleaseWanted) { f.TagSeq = 0 }, "tag_seq is missing, expected the sequence of the tag.seen fact"),
		"wanted: by request":      spoil(func(f *events.ReleaseWanted) { f.Promoted = "" }, ""),
		"wanted: unknown app":     spoil(func(f *events.ReleaseWanted) { f.App = events.Unknown }, `app "_" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /`),
		"release started: id":     spoil(func(f *events.ReleaseStarted) { f.ReleaseID = "" }, "release_id is missing"),
		"release done: nothing":   spoil(func(f *events.ReleaseDone) { *f = events.ReleaseDone{Meta: f.Meta, Release: f.Release} }, "release_id is missing; instances is 0, expected how many run; tag_seq is missing, expected the sequence of the tag.seen fact"),
		"release done: took":      spoil(func(f *events.ReleaseDone) { f.Took = -1 }, "took is -1ns, expected a duration that is not negative"),
		"release failed: nothing": spoil(func(f *events.ReleaseFailed) { f.ReleaseID, f.Reason, f.Running = "", "", "" }, "release_id is missing; reason is missing"),
		"release refused: env":    spoil(func(f *events.ReleaseRefused) { f.Env = "" }, "env is missing"),
		"release refused: bytes":  spoil(func(f *events.ReleaseRefused) { f.Env = "\xff" }, "env is not valid UTF-8"),
		"release refused: names":  spoil(func(f *events.ReleaseRefused) { f.App, f.Version, f.Reason = "A", "v 1", "" }, `app "A" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /; version "v 1" contains white space or a control character; reason is missing`),

		"cdn started: nothing": spoil(func(f *events.CDNStarted) { *f = events.CDNStarted{} }, "id is missing; by is missing; at is missing, expected a time as in RFC 3339; channel is empty, expected a name such as dev or stable; app is empty, expected the name of an app; version is empty, expected a version such as v1.2.3"),
		"cdn done: nothing":    spoil(func(f *events.CDNDone) { f.Files, f.TagSeq, f.Took = nil, 0, -1 }, "files is empty, expected what was published; tag_seq is missing, expected the sequence of the tag.seen fact; took is -1ns, expected a duration that is not negative"),
		"cdn done: file":       spoil(func(f *events.CDNDone) { f.Files[0] = events.Download{Size: -1} }, "files[0].url is missing; files[0].digest is missing, expected sha256: and 64 hexadecimal digits; files[0].size is -1, expected the number of bytes"),
		"cdn failed: why":      spoil(func(f *events.CDNFailed) { f.Reason = "" }, "reason is missing"),
		"cdn failed: channel":  spoil(func(f *events.CDNFailed) { f.Channel = "a/b" }, `channel "a/b" is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit`),
		"cdn refused: nothing": spoil(func(f *events.CDNRefused) { f.Channel, f.App, f.Version, f.Reason = "", "", "", "" }, "channel is missing; app is empty, expected the name of an app; version is empty, expected a version such as v1.2.3; reason is missing"),
	}
	for name, test := range tests {
		t.Run(name, test)
	}
}

// Only a refusal may leave open which app it concerns.
func TestUnknownAppOnlyInRefusals(t *testing.T) {
	t.Parallel()
	app := regexp.MustCompile(`"app":"[^"]*"`)
	for _, s := range samples() {
		body := app.ReplaceAll(readGolden(t, s.file()), []byte(`"app":"_"`))
		_, err := events.Decode(s.subject, body)
		complains := err != nil && strings.Contains(err.Error(), `app "_" is not an app's name`)
		if refusal := strings.HasSuffix(string(s.fact.Kind()), ".refused"); complains == refusal {
			t.Errorf("%s: error %v", s.fact.Kind(), err)
		}
	}
}

// A caller can tell the fields apart, and what is wrong with each.
func TestFieldErrors(t *testing.T) {
	t.Parallel()
	f := sampleOf[*events.TagSeen](t)
	f.Tag, f.Recipe.Build.Run = "", events.Commands{"make", " "}
	err := f.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T holds no list of errors", err)
	}
	var got []string
	for _, problem := range joined.Unwrap() {
		var field *events.FieldError
		if !errors.As(problem, &field) {
			t.Fatalf("%T is no FieldError", problem)
		}
		got = append(got, field.Field()+": "+errors.Unwrap(field).Error())
	}
	if diff := cmp.Diff([]string{"tag: is missing", "recipe.build.run[1]: is empty"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err.Error() != "tag is missing; recipe.build.run[1] is empty" {
		t.Errorf("reads %q", err)
	}
}

func TestImageRef(t *testing.T) {
	t.Parallel()
	i := events.Image{Repository: "registry.internal:5000/web", Digest: digestOf("a")}
	if got, want := i.Ref(), "registry.internal:5000/web@"+digestOf("a"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
