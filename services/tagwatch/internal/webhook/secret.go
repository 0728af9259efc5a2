package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"
	"strings"
)

// Host is one whose webhooks are accepted.
type Host struct {
	Name string // such as github.com
	// Secrets are what deliveries may be signed with: the one in use, and while it is being replaced the next.
	Secrets []string
}

// key is a secret, and the hosts that use it: several may have the same.
type key struct {
	secret []byte
	hosts  []string
}

// newKeys collects the secrets. An empty one is left out, as anybody could sign with it.
func newKeys(hosts []Host) []key {
	var keys []key
	for _, host := range hosts {
		for _, secret := range host.Secrets {
			if secret == "" {
				continue
			}
			i := slices.IndexFunc(keys, func(k key) bool { return string(k.secret) == secret })
			if i < 0 {
				i = len(keys)
				keys = append(keys, key{secret: []byte(secret)})
			}
			keys[i].hosts = append(keys[i].hosts, host.Name)
		}
	}
	return keys
}

// seals computes the signature of a body under every key while the body arrives.
type seals struct {
	keys []key
	macs []hash.Hash
}

func newSeals(keys []key) *seals {
	s := &seals{keys: keys}
	for _, k := range keys {
		s.macs = append(s.macs, hmac.New(sha256.New, k.secret))
	}
	return s
}

// Write takes a part of the body. It never fails.
func (s *seals) Write(part []byte) (int, error) {
	for _, mac := range s.macs {
		mac.Write(part)
	}
	return len(part), nil
}

// signers are the hosts under whose secrets the body has the signature; none if
// nobody signed it. Every key is tried, so the time it takes does not tell which
// one it was.
func (s *seals) signers(signature []byte) []string {
	var hosts []string
	for i, mac := range s.macs {
		if hmac.Equal(mac.Sum(nil), signature) {
			for _, host := range s.keys[i].hosts {
				if !slices.Contains(hosts, host) {
					hosts = append(hosts, host)
				}
			}
		}
	}
	return hosts
}

// isSecret tells whether a text is one of the secrets, without telling by the
// time it takes how much of it is right, or how long a secret is.
func isSecret(keys []key, text string) bool {
	given := sha256.Sum256([]byte(text))
	found := false
	for _, k := range keys {
		known := sha256.Sum256(k.secret)
		found = hmac.Equal(known[:], given[:]) || found
	}
	return found
}

// parseSignature reads the hexadecimal form of an HMAC with SHA-256.
func parseSignature(text, prefix string) ([]byte, bool) {
	digits, found := strings.CutPrefix(text, prefix)
	if !found || len(digits) != hex.EncodedLen(sha256.Size) {
		return nil, false
	}
	signature, err := hex.DecodeString(digits)
	return signature, err == nil
}
