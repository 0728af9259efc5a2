package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tagship/tagship/events"
)

// SumsFile is the file that lists the digests of a version's packages.
const SumsFile = "SHA256SUMS"

const (
	latestJSON = "latest.json"
	latestText = "latest"
	// maxName is how long the name of a file or folder may be almost anywhere, in bytes.
	maxName = 255
)

// file is one file of a version.
type file struct {
	Object
	name    string
	content *string // nil for a package, which is in the registry
}

// files lists what a version consists of, in the order of writing. A build whose
// packages cannot be published under their names is refused.
func (pub publication) files() ([]file, error) {
	app, version := segment(pub.build.App), segment(pub.build.Version)
	for what, s := range map[string]string{"app": app, "version": version} {
		if len(s) > maxName {
			return nil, &refusal{fmt.Sprintf("the %s's name is %d bytes long in a path, expected at most %d", what, len(s), maxName)}
		}
	}
	folder := strings.Join([]string{pub.channel, app, version}, "/") + "/"
	var all []file
	var sums strings.Builder
	seen := map[string]bool{}
	for _, p := range slices.SortedFunc(slices.Values(pub.build.Packages), func(a, b events.Package) int { return strings.Compare(a.Name, b.Name) }) {
		if err := checkFile(p.Name); err != nil {
			return nil, &refusal{fmt.Sprintf("package %q: its name %s; change it in %s", p.Name, err, events.RecipeFile)}
		}
		if seen[p.Name] {
			return nil, &refusal{fmt.Sprintf("two packages are called %q; change one in %s", p.Name, events.RecipeFile)}
		}
		seen[p.Name] = true
		all = append(all, file{Object: Object{Key: folder + p.Name, Digest: p.Digest, Size: p.Size}, name: p.Name})
		fmt.Fprintf(&sums, "%s  %s\n", strings.TrimPrefix(p.Digest, "sha256:"), p.Name)
	}
	list := sums.String()
	digest := sha256.Sum256([]byte(list))
	return append(all, file{
		Object:  Object{Key: folder + SumsFile, Digest: "sha256:" + hex.EncodeToString(digest[:]), Size: int64(len(list))},
		name:    SumsFile,
		content: &list,
	}), nil
}

func (pub publication) pointerKey(name string) string {
	return strings.Join([]string{pub.channel, segment(pub.build.App), name}, "/")
}

// checkFile says why a name cannot be that of a published file: it must be safe
// in a folder and in a URL, and stand unquoted in the file of digests.
func checkFile(name string) error {
	switch {
	case name == "" || !utf8.ValidString(name):
		return fmt.Errorf("is empty or not UTF-8")
	case len(name) > maxName:
		return fmt.Errorf("is %d bytes long, expected at most %d", len(name), maxName)
	case strings.HasPrefix(name, "."):
		return fmt.Errorf("begins with a dot")
	case strings.ContainsAny(name, `/\`) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("contains a slash, a backslash or a control character")
	case name == SumsFile:
		return fmt.Errorf("is that of the list of digests")
	}
	return nil
}

// segment turns the name of an app or version into one part of a path. Two names
// never become the same part, nor one with a meaning of its own such as "..",
// a hidden file or a pointer. Usual names stay as they are; in others, bytes
// become =XX, as in events.Escape.
func segment(name string) string {
	var b strings.Builder
	reserved := name == latestText || name == latestJSON
	for i := range len(name) {
		c := name[i]
		first := i == 0 && (c == '.' || reserved)
		if !first && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._+~-", c) >= 0) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}
