package events_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tagship/tagship/events"
)

// asked is what a request says, and what it is.
type asked struct {
	kind                    events.Kind
	place, app, version, by string
}

func askedBy(r *events.Request) asked {
	return asked{r.Kind(), r.Place(), r.App, r.Version, r.By}
}

func TestParseRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, subject, body string
		want                asked
	}{
		{"JSON", "release.prod", `{"app":"web","version":"v1.2.3","by":"ann"}`, asked{events.ReleaseRequested, "prod", "web", "v1.2.3", "ann"}},
		{"JSON with space", "cdn.beta", "\n { \"version\" : \"v1\",\t\"app\":\"web\" } \r\n", asked{events.CDNRequested, "beta", "web", "v1", ""}},
		{"JSON with escapes", "cdn.beta", `{"app":"\u0077eb","version":"v\u00e9"}`, asked{events.CDNRequested, "beta", "web", "vé", ""}},
		{"shorthand", "release.prod", "web@v1.2.3", asked{events.ReleaseRequested, "prod", "web", "v1.2.3", ""}},
		{"shorthand with newline", "release.prod", " web@v1.2.3\n", asked{events.ReleaseRequested, "prod", "web", "v1.2.3", ""}},
		{"shorthand with @ in the version", "release.prod", "web@v1@rc", asked{events.ReleaseRequested, "prod", "web", "v1@rc", ""}},
		{"app with a slash", "cdn.beta", "team/web@v1", asked{events.CDNRequested, "beta", "team/web", "v1", ""}},
		{"escaped place", "release.prod=2Eeu", "web@v1", asked{events.ReleaseRequested, "prod.eu", "web", "v1", ""}},

		{"build", "build.web", `{"app":"web","version":"v1"}`, asked{events.BuildRequested, "", "web", "v1", ""}},
		{"build, app from subject", "build.team=2Fweb", `{"version":"v1"}`, asked{events.BuildRequested, "", "team/web", "v1", ""}},
		{"build, shorthand without app", "build.web", "@v1", asked{events.BuildRequested, "", "web", "v1", ""}},

		{"look, nothing said", "tag.web", "", asked{events.TagRequested, "", "web", "", ""}},
		{"look, white space said", "tag.web", " \n", asked{events.TagRequested, "", "web", "", ""}},
		{"look, empty object", "tag.web", "{}", asked{events.TagRequested, "", "web", "", ""}},
		{"look, by", "tag.web", `{"by":"ann"}`, asked{events.TagRequested, "", "web", "", "ann"}},
		{"look for a version", "tag.web", "web@v1", asked{events.TagRequested, "", "web", "v1", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := events.ParseRequest(tt.subject, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if got := askedBy(r); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if r.Subject() != tt.subject {
				t.Errorf("subject %s", r.Subject())
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	t.Parallel()
	const u = events.Unknown
	release := func(app, version, by string) asked {
		return asked{events.ReleaseRequested, "prod", app, version, by}
	}
	build := func(app, version string) asked { return asked{events.BuildRequested, "", app, version, ""} }
	tests := []struct {
		name, subject, body string
		understood          asked
		err                 string // after "malformed message: request on <subject>: "
	}{
		{"unknown key", "release.prod", `{"app":"web","version":"v1","env":"prod"}`, release("web", "v1", ""),
			"env is not a field of a request, expected app, version and by"},
		{"key in other case", "release.prod", `{"App":"web","version":"v1"}`, release(u, "v1", ""),
			"App is not a field of a request, expected app, version and by; app is empty, expected the name of an app"},
		{"unprintable key", "release.prod", `{"app":"web","version":"v1","a\nb":1,"":2}`, release("web", "v1", ""),
			`"a\nb" is not a field of a request, expected app, version and by; "" is not a field of a request, expected app, version and by`},
		{"long key", "release.prod", `{"app":"web","version":"v1","` + strings.Repeat("k", 100) + `":1}`, release("web", "v1", ""),
			`"` + strings.Repeat("k", 60) + `"… is not a field of a request, expected app, version and by`},
		{"duplicate key", "release.prod", `{"app":"web","version":"v1","version":"v2"}`, release("web", "v1", ""),
			"version is given twice"},
		{"duplicate key, escaped", "release.prod", `{"app":"web","\u0061pp":"api","version":"v1"}`, release("web", "v1", ""),
			"app is given twice"},
		{"duplicate unknown key", "release.prod", `{"app":"web","version":"v1","x":1,"x":2}`, release("web", "v1", ""),
			"x is not a field of a request, expected app, version and by; x is given twice"},
		{"missing version", "release.prod", `{"app":"web"}`, release("web", u, ""),
			"version is empty, expected a version such as v1.2.3"},
		{"missing app", "release.prod", `{"version":"v1","by":"ann"}`, release(u, "v1", "ann"),
			"app is empty, expected the name of an app"},
		{"missing everything", "release.prod", `{}`, release(u, u, ""),
			"app is empty, expected the name of an app; version is empty, expected a version such as v1.2.3"},
		{"shorthand without app", "release.prod", `@v1`, release(u, "v1", ""),
			"app is empty, expected the name of an app"},
		{"number", "release.prod", `{"app":"web","version":1.2}`, release("web", u, ""), "version is a number, expected a string"},
		{"null", "release.prod", `{"app":"web","version":null}`, release("web", u, ""), "version is null, expected a string"},
		{"object", "release.prod", `{"app":{"name":"web"},"version":"v1"}`, release(u, "v1", ""), "app is an object, expected a string"},
		{"array", "release.prod", `{"app":["web"],"version":"v1"}`, release(u, "v1", ""), "app is an array, expected a string"},
		{"boolean", "release.prod", `{"app":"web","version":"v1","by":true}`, release("web", "v1", ""), "by is a boolean, expected a string"},
		{"several types", "release.prod", `{"version":false,"app":7}`, release(u, u, ""),
			"version is a boolean, expected a string; app is a number, expected a string"},
		{"app of wrong form", "release.prod", `Web@v1`, release(u, "v1", ""),
			`app "Web" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /`},
		{"app called unknown", "release.prod", `_@v1`, release(u, "v1", ""),
			`app "_" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /`},
		{"version with space", "release.prod", `web@v1 --wait`, release("web", u, ""),
			`version "v1 --wait" contains white space or a control character`},
		{"version too long", "release.prod", "web@" + strings.Repeat("v", 256), release("web", u, ""),
			"version is 256 bytes long, expected at most 255"},
		{"by too long", "release.prod", `{"app":"web","version":"v1","by":"` + strings.Repeat("a", 256) + `"}`, release("web", "v1", ""),
			"by is 256 bytes long, expected at most 255"},
		{"by of two lines", "release.prod", `{"app":"web","version":"v1","by":"a\nb"}`, release("web", "v1", ""),
			`by "a\nb" contains a control character`},

		{"empty", "release.prod", "", release(u, u, ""),
			`the body is empty, expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`},
		{"garbage", "release.prod", "please", release(u, u, ""),
			`the body is "please", expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`},
		{"garbage, long", "release.prod", strings.Repeat("é", 100), release(u, u, ""),
			`the body is "` + strings.Repeat("é", 30) + `"…, expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`},
		{"JSON array", "release.prod", `["web","v1"]`, release(u, u, ""),
			`the body is "[\"web\",\"v1\"]", expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`},
		{"shorthand without version", "release.prod", "web@", release(u, u, ""),
			`the body is "web@", expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`},
		{"trailing data", "release.prod", `{"app":"web","version":"v1"} {"app":"api"}`, release(u, u, ""),
			"the body goes on after the JSON object"},
		{"trailing garbage", "release.prod", `{"app":"web","version":"v1"}!`, release(u, u, ""),
			"the body goes on after the JSON object"},
		{"cut off", "release.prod", `{"app":"web","ver`, release(u, u, ""), "the JSON ends too early"},
		{"comma at the end", "release.prod", `{"app":"web",}`, release(u, u, ""),
			"the body is not JSON at byte 14: invalid character '}' looking for beginning of object key string"},
		{"YAML", "release.prod", `{app: web}`, release(u, u, ""),
			"the body is not JSON at byte 2: invalid character 'a' looking for beginning of object key string"},
		{"deep", "release.prod", `{"app":` + strings.Repeat("[", 8000), release(u, u, ""), "the JSON ends too early"},
		{"oversize", "release.prod", `{"app":"web","version":"` + strings.Repeat("v", events.MaxRequest) + `"}`, release(u, u, ""),
			"the body is 8218 bytes long, expected at most 8192"},
		{"invalid UTF-8", "release.prod", "web@v1\xff", release(u, u, ""), "the body is not valid UTF-8"},

		{"app differs from subject", "build.web", "api@v1", build("web", "v1"), `app is "api", but the subject says "web"`},
		{"app differs and no version", "build.web", `{"app":"api"}`, build("web", u),
			`app is "api", but the subject says "web"; version is empty, expected a version such as v1.2.3`},
		{"app of wrong type", "build.web", `{"app":1,"version":"v1"}`, build("web", "v1"), "app is a number, expected a string"},
		{"build without version", "build.web", "{}", build("web", u), "version is empty, expected a version such as v1.2.3"},
		{"build without body", "build.web", "", build("web", u),
			`the body is empty, expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`},
		{"build with garbage", "build.web", "\x00", build("web", u),
			`the body is "\x00", expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`},
		{"look with garbage", "tag.web", "now", asked{events.TagRequested, "", "web", u, ""},
			`the body is "now", expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`},
		{"app not escaped", "build.team/web", "team/web@v1", build("team/web", "v1"),
			`app is written "team/web" in the subject, expected "team=2Fweb"`},
		{"app in subject of wrong form", "build.Web", "@v1", build(u, "v1"),
			`app "Web" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /`},

		{"place that cannot be", "release.pr=20od", "web@v1", asked{events.ReleaseRequested, "pr od", "web", "v1", ""},
			`env "pr od" is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit`},
		{"place not escaped", "release.pröd", "web@v1", asked{events.ReleaseRequested, "pröd", "web", "v1", ""},
			`env "pröd" is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit`},
		{"wildcard", "cdn.*", "web@v1", asked{events.CDNRequested, "*", "web", "v1", ""},
			`channel "*" is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit`},
		{"place badly escaped", "cdn.b=2eta", "web@v1", asked{events.CDNRequested, "b=2eta", "web", "v1", ""},
			`channel "b=2eta" is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit`},
		{"place escaped for nothing", "cdn.=62eta", "web@v1", asked{events.CDNRequested, "=62eta", "web", "v1", ""},
			`channel "=62eta" is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit`},
		{"place of many bytes", "cdn." + strings.Repeat("b", 65), "web", asked{events.CDNRequested, strings.Repeat("b", 65), u, u, ""},
			`the body is "web", expected for example {"app":"web","version":"v1.2.3"} or web@v1.2.3`},
		{"place of too many bytes", "cdn." + strings.Repeat("b", 256), "web@v1", asked{events.CDNRequested, u, "web", "v1", ""},
			"channel is 256 bytes long, expected at most 64"},
		{"place of no text", "release.=FF", "web@v1", asked{events.ReleaseRequested, u, "web", "v1", ""},
			`env "\xff" is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit`},
		{"place missing", "release.", "web@v1", asked{events.ReleaseRequested, u, "web", "v1", ""},
			"env is empty, expected a name such as dev or stable"},
		{"place and body wrong", "release.a=20b", `{"app":"Web"}`, asked{events.ReleaseRequested, "a b", u, u, ""},
			`env "a b" is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit; ` +
				`app "Web" is not an app's name, expected lower-case letters and digits, separated by one of . _ - /; ` +
				`version is empty, expected a version such as v1.2.3`},

		{"a fact's subject", "build.done.web.v1", "web@v1", asked{"", "", u, u, ""}, "is no request's subject, expected for example build.web or release.prod"},
		{"a hook's subject", "hook.web", "web@v1", asked{"", "", u, u, ""}, "is no request's subject, expected for example build.web or release.prod"},
		{"no subject of Tagship", "deploy.web", "web@v1", asked{"", "", u, u, ""}, `subject "deploy.web" is of no kind that Tagship knows`},
		{"no subject at all", "", "web@v1", asked{"", "", u, u, ""}, `subject "" is of no kind that Tagship knows`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := events.ParseRequest(tt.subject, []byte(tt.body))
			if !errors.Is(err, events.ErrMalformed) {
				t.Fatalf("error %v does not wrap ErrMalformed", err)
			}
			if got, want := err.Error(), "malformed message: request on "+tt.subject+": "+tt.err; got != want {
				t.Errorf("error\n%s, want\n%s", got, want)
			}
			if got := askedBy(r); got != tt.understood {
				t.Errorf("understood %+v, want %+v", got, tt.understood)
			}
		})
	}
}

// Whatever comes in on a request's subject, a fact can be published that refuses it.
func TestEveryRequestCanBeRefused(t *testing.T) {
	t.Parallel()
	bodies := []string{"", "web@v1", `{"app":"web"}`, "\xff", "{", `{"version":"v1"}`, "Web@v 1"}
	subjects := []string{
		"tag.web", "tag.Web", "tag.=FF", "tag.", "build.web", "build.a/b",
		"release.prod", "release.=FF", "release.", "release.*", "release." + strings.Repeat("p", 3000),
		"cdn.beta", "cdn.=", "cdn.=41", "cdn.a b",
	}
	for _, subject := range subjects {
		for _, body := range bodies {
			r, err := events.ParseRequest(subject, []byte(body))
			if err == nil {
				continue
			}
			checkRefusable(t, r, err)
		}
	}
}

func checkRefusable(t *testing.T, r *events.Request, cause error) {
	t.Helper()
	fact := refusal(r, cause.Error())
	if err := events.Identify(fact, &events.Cause{Stream: r.Kind().Stream(), Seq: 1}, "test", at); err != nil {
		t.Fatal(err)
	}
	body, err := events.Encode(fact)
	if err != nil {
		t.Fatalf("refusing %+v: %v", askedBy(r), err)
	}
	if _, err := events.Decode(fact.Subject(), body); err != nil {
		t.Fatalf("refusing %+v: %v", askedBy(r), err)
	}
}

func refusal(r *events.Request, reason string) events.Fact {
	switch r.Kind() {
	case events.TagRequested:
		return &events.TagRefused{App: r.App, Version: r.Version, Reason: reason}
	case events.BuildRequested:
		return &events.BuildRefused{App: r.App, Version: r.Version, Reason: reason}
	case events.ReleaseRequested:
		return &events.ReleaseRefused{Env: r.Place(), App: r.App, Version: r.Version, Reason: reason}
	default:
		return &events.CDNRefused{Channel: r.Place(), App: r.App, Version: r.Version, Reason: reason}
	}
}

func TestEncodeRequestRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		request *events.Request
		err     string
	}{
		{events.NewRequest(events.ReleaseRequested, "", "web", "v1", ""), "encode request on release: env is empty, expected a name such as dev or stable"},
		{events.NewRequest(events.CDNRequested, "beta", "", "v1", ""), "encode request on cdn: app is empty, expected the name of an app"},
		{events.NewRequest(events.BuildRequested, "", "web", "", ""), "encode request on build: version is empty, expected a version such as v1.2.3"},
		{events.NewRequest(events.TagRequested, "", "web", "", "a\xff"), "encode request on tag: by is not valid UTF-8"},
	}
	for _, tt := range tests {
		if _, err := events.EncodeRequest(tt.request); err == nil || err.Error() != tt.err {
			t.Errorf("error %v, want %s", err, tt.err)
		}
	}
}

func TestEncodeRequestLeavesOutWhatIsEmpty(t *testing.T) {
	t.Parallel()
	body, err := events.EncodeRequest(events.NewRequest(events.TagRequested, "", "web", "", ""))
	if err != nil || string(body) != `{"app":"web"}` {
		t.Errorf("got %s, %v", body, err)
	}
}
