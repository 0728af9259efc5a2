package events

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on names, in bytes. An escaped name is up to three times as long, and a
// subject must stay well below the 4,096 bytes of a NATS protocol line.
const (
	MaxApp     = 128
	MaxVersion = 255
	MaxPlace   = 64
)

// Unknown stands in a subject for an app, version or place that a request did
// not say clearly enough. No app and no place may be called that.
const Unknown = "_"

var (
	appName   = regexp.MustCompile(`^[a-z0-9]+([._/-][a-z0-9]+)*$`)
	placeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

// CheckApp says what is wrong with the name of an app. An app's name is also its
// repository's name in the registry, hence the narrow alphabet (OCI distribution
// specification 1.1, "Pulling manifests").
func CheckApp(s string) error {
	switch {
	case s == "":
		return errors.New("is empty, expected the name of an app")
	case len(s) > MaxApp:
		return fmt.Errorf("is %d bytes long, expected at most %d", len(s), MaxApp)
	case !appName.MatchString(s):
		return fmt.Errorf("%q is not an app's name, expected lower-case letters and digits, separated by one of . _ - /", s)
	}
	return nil
}

// CheckVersion says what is wrong with the name of a version. Whatever git
// allows in a tag is allowed here.
func CheckVersion(s string) error {
	switch {
	case s == "":
		return errors.New("is empty, expected a version such as v1.2.3")
	case len(s) > MaxVersion:
		return fmt.Errorf("is %d bytes long, expected at most %d", len(s), MaxVersion)
	case !utf8.ValidString(s):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		return fmt.Errorf("%q contains white space or a control character", s)
	}
	return nil
}

// CheckPlace says what is wrong with the name of an environment or a channel.
func CheckPlace(s string) error {
	switch {
	case s == "":
		return errors.New("is empty, expected a name such as dev or stable")
	case len(s) > MaxPlace:
		return fmt.Errorf("is %d bytes long, expected at most %d", len(s), MaxPlace)
	case !placeName.MatchString(s):
		return fmt.Errorf("%q is not a name, expected letters, digits, '.', '_' and '-', beginning with a letter or digit", s)
	}
	return nil
}

// checkAskedPlace says whether a refusal can repeat the place that was asked
// for: people ask for anything, and are answered under the name they gave, as
// long as a subject and JSON can hold it.
func checkAskedPlace(s string) error {
	switch {
	case s == "":
		return errors.New("is missing")
	case len(s) > MaxVersion:
		return fmt.Errorf("is %d bytes long, expected at most %d", len(s), MaxVersion)
	case !utf8.ValidString(s):
		return errors.New("is not valid UTF-8")
	}
	return nil
}

// orUnknown lets a refusal leave open what the request did not say.
func orUnknown(name string, check func(string) error) error {
	if name == Unknown {
		return nil
	}
	return check(name)
}

// checkCommit says what is wrong with an object name of SHA-1 or SHA-256 (git,
// hash-function-transition).
func checkCommit(s string) error {
	switch {
	case s == "":
		return errors.New("is missing, expected 40 or 64 hexadecimal digits")
	case len(s) != 40 && len(s) != 64, !isHex(s):
		return fmt.Errorf("%q is not a commit, expected 40 or 64 hexadecimal digits", s)
	}
	return nil
}

// CheckDigest says what is wrong with a content digest.
func CheckDigest(s string) error {
	switch {
	case s == "":
		return errors.New("is missing, expected sha256: and 64 hexadecimal digits")
	case !isDigest(s):
		return fmt.Errorf("%q is not a digest, expected sha256: and 64 hexadecimal digits", s)
	}
	return nil
}

func isDigest(s string) bool {
	hex, found := strings.CutPrefix(s, "sha256:")
	return found && len(hex) == 64 && isHex(hex)
}

// isHex does without a regular expression, for it looks at every message.
func isHex(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
}
