package github

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

// Marks say what a listing was, so that a later one can be found to be the same.
// Each names the repository, so that a mark is never taken for another's. They
// are kept between processes: a form that changes needs another first word.
//
//	whole ID DIGEST              GraphQL, every tag in one page: the digest of them all
//	first ID TOTAL DIGEST TIME   GraphQL, several pages: how many tags there are, the digest
//	                             of the first page, and when all pages were last read
//	etag ID CREDENTIAL ETAG      REST: what GitHub calls the answer, for that credential

// wholeMark is the mark of a listing that has one page.
func wholeMark(id string, tags []watch.Tag) string {
	return "whole " + id + " " + digestOf(tags)
}

// firstMark is what the first of several pages says about a listing.
type firstMark struct {
	id     string
	total  int
	digest string
	read   time.Time // when every page was read
}

// relist is the longest time between two readings of every page. The first page
// does not show that an older tag was moved.
const relist = time.Hour

func (m firstMark) String() string {
	return fmt.Sprintf("first %s %d %s %d", m.id, m.total, m.digest, m.read.Unix())
}

// parseFirstMark reads what [firstMark.String] writes. Any other text is no mark.
func parseFirstMark(text string) (firstMark, bool) {
	words := strings.Split(text, " ")
	if len(words) != 5 || words[0] != "first" {
		return firstMark{}, false
	}
	total, err := strconv.Atoi(words[2])
	if err != nil {
		return firstMark{}, false
	}
	read, err := strconv.ParseInt(words[4], 10, 64)
	if err != nil {
		return firstMark{}, false
	}
	return firstMark{id: words[1], total: total, digest: words[3], read: time.Unix(read, 0)}, true
}

// same tells whether two first pages are the same, whenever they were read.
func (m firstMark) same(other firstMark) bool {
	return m.id == other.id && m.total == other.total && m.digest == other.digest
}

// due tells whether every page is to be read again. That is after half of
// [relist] to all of it, by the mark's own digest, so that those that were read
// together are not read together again.
func (m firstMark) due(now time.Time) bool {
	sum := sha256.Sum256([]byte(m.String()))
	early := time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(relist/2))
	age := now.Sub(m.read)
	return age < -time.Minute || age >= relist-early
}

// etagMark is what GitHub calls an answer to a conditional request.
type etagMark struct {
	id         string
	credential string // whose answer it is: another credential's answers have other names
	etag       string
}

func (m etagMark) String() string {
	return "etag " + m.id + " " + m.credential + " " + m.etag
}

// parseETagMark reads what [etagMark.String] writes. Any other text is no mark.
func parseETagMark(text string) (etagMark, bool) {
	words := strings.SplitN(text, " ", 4)
	if len(words) != 4 || words[0] != "etag" || words[3] == "" {
		return etagMark{}, false
	}
	return etagMark{id: words[1], credential: words[2], etag: words[3]}, true
}

// digestOf stands for a set of tags, whatever their order.
func digestOf(tags []watch.Tag) string {
	sorted := slices.SortedFunc(slices.Values(tags), func(a, b watch.Tag) int {
		return cmp.Compare(a.Name, b.Name)
	})
	sum := sha256.New()
	for _, tag := range sorted {
		_, _ = io.WriteString(sum, tag.Name+"\x00"+tag.Object+"\x00"+tag.Commit+"\n") // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}
