package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// verifier passes content on and, where it would end, fails instead if it was not
// the content that was expected.
type verifier struct {
	from io.Reader
	want Object
	read int64
	hash hash.Hash
}

func verify(r io.Reader, want Object) io.Reader {
	return &verifier{from: r, want: want, hash: sha256.New()}
}

func (v *verifier) Read(b []byte) (int, error) {
	n, err := v.from.Read(b)
	v.hash.Write(b[:n])
	v.read += int64(n)
	if v.read > v.want.Size {
		return n, fmt.Errorf("read %s: it is longer than the %d bytes the build made", v.want.Key, v.want.Size)
	}
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if v.read < v.want.Size {
		return n, fmt.Errorf("read %s: it ends after %d of %d bytes", v.want.Key, v.read, v.want.Size)
	}
	if got := "sha256:" + hex.EncodeToString(v.hash.Sum(nil)); got != v.want.Digest {
		return n, fmt.Errorf("read %s: it has the digest %s, the build made %s", v.want.Key, got, v.want.Digest)
	}
	return n, io.EOF
}
