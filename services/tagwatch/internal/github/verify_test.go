package github

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	s, host := newHub(t, ListGraphQL, zoo())
	signed := watch.Tag{Name: "v1.1.0", Object: oid(1), Commit: oid(2)}
	type answer = map[string]any
	verified := func(ok bool, reason string) answer {
		return answer{"sha": oid(1), "tag": "v1.1.0", "object": answer{"sha": oid(2), "type": "commit"},
			"verification": answer{"verified": ok, "reason": reason}}
	}
	with := func(a answer, key string, value any) answer { a[key] = value; return a }
	const (
		vouched = iota
		unfit
		unknown // for now
	)
	for name, test := range map[string]struct {
		tag    watch.Tag
		answer answer
		want   int
		says   string
	}{
		"valid":                {signed, verified(true, "valid"), vouched, ""},
		"lightweight":          {watch.Tag{Name: "v1.1.0", Object: oid(2), Commit: oid(2)}, nil, unfit, "git tag -s"},
		"unsigned":             {signed, verified(false, "unsigned"), unfit, "git tag -s"},
		"unknown key":          {signed, verified(false, "unknown_key"), unfit, "key"},
		"expired key":          {signed, verified(false, "expired_key"), unfit, "expired"},
		"wrong":                {signed, verified(false, "invalid"), unfit, "wrong"},
		"a new reason":         {signed, verified(false, "moon_phase"), unfit, "moon_phase"},
		"no service":           {signed, verified(false, "gpgverify_unavailable"), unknown, "gpgverify_unavailable"},
		"a failing service":    {signed, verified(false, "gpgverify_error"), unknown, "gpgverify_error"},
		"valid, not verified":  {signed, verified(false, "valid"), unknown, ""},
		"verified, not valid":  {signed, verified(true, "invalid"), unfit, ""},
		"nothing said":         {signed, with(verified(false, ""), "verification", nil), unknown, ""},
		"another object":       {signed, with(verified(true, "valid"), "sha", oid(9)), unknown, ""},
		"made for another tag": {signed, with(verified(true, "valid"), "tag", "v0.1.0"), unfit, "v0.1.0"},
		"gone meanwhile":       {signed, nil, unknown, ""},
	} {
		s.rest = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/git/tags/"+oid(1)) {
				return false
			}
			if test.answer == nil {
				notFound(w)
			} else {
				writeJSON(w, test.answer)
			}
			return true
		}
		err := host.Verify(t.Context(), watch.Repo{Name: "acme/zoo"}, test.tag)
		got := unknown
		if err == nil {
			got = vouched
		} else if errors.As(err, new(*watch.UnfitError)) {
			got = unfit
		}
		if got != test.want || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
