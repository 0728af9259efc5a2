package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/tagship/tagship/services/builder/internal/build"
)

const (
	maxTag = 128 // distribution specification 1.1, "Pulling manifests"
	hexes  = "0123456789ABCDEF"
)

// TagOf is the tag for a version: the version itself, with each byte that a tag
// may not have as _XX. What would be longer than a tag may be ends in a hash instead.
func TagOf(version string) string {
	var b strings.Builder
	for i := range len(version) {
		c := version[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if word || i > 0 && (c == '.' || c == '-') {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'_', hexes[c>>4], hexes[c&15]})
		}
	}
	tag := b.String()
	if len(tag) <= maxTag {
		return tag
	}
	sum := sha256.Sum256([]byte(version))
	suffix := "_" + hex.EncodeToString(sum[:8])
	return tag[:maxTag-len(suffix)] + suffix
}

// tag points the version's tag at a manifest that is in the registry. A tag that
// points elsewhere is moved only if it names the same commit: then a builder that
// was killed before it could record its build left it.
func (r *Registry) tag(ctx context.Context, repository name.Repository, of build.Identity, manifest remote.Taggable, digest v1.Hash) error {
	tag := repository.Tag(TagOf(of.Version))
	there, err := remote.Get(tag, r.remote(ctx)...)
	switch {
	case notFound(err):
	case err != nil:
		return fmt.Errorf("look up tag %s: %w", tag, err)
	case there.Digest == digest:
		return nil
	default:
		found, err := v1.ParseManifest(bytes.NewReader(there.Manifest))
		if err != nil || found.Annotations[annotationRevision] != of.Commit {
			return build.Failf("tag %s is in the registry already and was not made of commit %s: remove it there, then ask for the build again", tag, of.Commit)
		}
	}
	if err := remote.Tag(tag, manifest, r.remote(ctx)...); err != nil {
		return fmt.Errorf("tag %s: %w", tag, err)
	}
	return nil
}
