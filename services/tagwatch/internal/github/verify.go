package github

import (
	"context"
	"fmt"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// Verify checks the signature of a tag, see [watch.Verifier]: that GitHub vouches
// for it, and that it was made for a tag of this name. A signed tag object may be
// put under any other name by whoever may push.
func (h *Host) Verify(ctx context.Context, repo watch.Repo, tag watch.Tag) error {
	if tag.Object == tag.Commit {
		return &watch.UnfitError{Reason: "the tag has no signature, for it is not annotated; make it with git tag -s"}
	}
	c, err := h.client(ctx, owner(repo))
	if err != nil {
		return err
	}
	object, err := c.tagObject(ctx, repo, tag.Object)
	if err != nil {
		return fmt.Errorf("check the signature of %s: %w", tag.Name, err)
	}
	signature := object.GetVerification()
	if reason, transient := unverified(signature.GetVerified(), signature.GetReason()); transient {
		return fmt.Errorf("check the signature of %s: %s", tag.Name, reason)
	} else if reason != "" {
		return &watch.UnfitError{Reason: reason}
	}
	if object.GetTag() != tag.Name {
		return &watch.UnfitError{Reason: fmt.Sprintf("the signature is that of the tag %.300q, put under another name; sign this one with git tag -s", object.GetTag())}
	}
	return nil
}

// unverified says why GitHub does not vouch for a signature, and whether that may
// pass; empty if it vouches.
func unverified(verified bool, code string) (reason string, transient bool) {
	switch code {
	case "valid":
		if verified {
			return "", false
		}
		return "GitHub calls the signature valid and does not vouch for it", true
	case "gpgverify_error", "gpgverify_unavailable":
		return "GitHub cannot check signatures now (" + code + ")", true
	case "":
		return "GitHub says nothing about the signature", true
	case "unsigned":
		return "the tag is not signed; make it with git tag -s", false
	case "unknown_key":
		return "the tag is signed with a key that no account at GitHub has; add the key to the account of who signs", false
	case "expired_key":
		return "the tag is signed with a key that has expired", false
	case "not_signing_key":
		return "the tag is signed with a key that is not for signing", false
	case "no_user":
		return "the tag's e-mail address belongs to no account at GitHub", false
	case "unverified_email":
		return "the tag's e-mail address is not verified at GitHub", false
	case "bad_email":
		return "the tag's e-mail address is not one of the key that it is signed with", false
	case "unknown_signature_type":
		return "the tag's signature is of a kind that GitHub does not know", false
	case "malformed_signature":
		return "the tag's signature cannot be read", false
	case "invalid":
		return "the tag's signature is wrong: what is signed is something else", false
	}
	return fmt.Sprintf("GitHub does not vouch for the tag's signature: %.100q", code), false
}
