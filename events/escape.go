package events

import (
	"fmt"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// Escape turns any text into one token that is valid in a subject, a key of a
// key-value bucket and a consumer's name: each byte outside [A-Za-z0-9_-]
// becomes =XX, its value in upper-case hexadecimal (the form of RFC 2045,
// section 6.7). "v1.2.3" becomes "v1=2E2=2E3".
func Escape(s string) string {
	escaped := 0
	for i := range len(s) {
		if !plain(s[i]) {
			escaped++
		}
	}
	if escaped == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2*escaped)
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'=', upperHex[c>>4], upperHex[c&15]})
		}
	}
	return b.String()
}

// Unescape is the inverse of [Escape]. It accepts exactly what Escape produces,
// so that two different tokens never mean the same text.
func Unescape(token string) (string, error) {
	var b strings.Builder
	b.Grow(len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if plain(c) {
			b.WriteByte(c)
			continue
		}
		if c != '=' || i+2 >= len(token) {
			return "", fmt.Errorf("token %q: byte %d is %q, expected a letter, digit, '_', '-' or =XX", token, i, c)
		}
		hi, lo := strings.IndexByte(upperHex, token[i+1]), strings.IndexByte(upperHex, token[i+2])
		if hi < 0 || lo < 0 || plain(byte(hi<<4|lo)) {
			return "", fmt.Errorf("token %q: %q at byte %d is not an escaped byte", token, token[i:i+3], i)
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), nil
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}
