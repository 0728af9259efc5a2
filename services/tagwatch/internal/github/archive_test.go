package github

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tagship/tagship/services/tagwatch/internal/watch"
)

const archivedCommit = "0123456789abcdef0123456789abcdef01234567"

// tarEntry is an entry of a tar, with its content.
type tarEntry struct {
	tar.Header
	text string
}

func commitEntry(commit string) tarEntry {
	return tarEntry{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": commit}}, ""}
}

func fileEntry(name, text string, mode int64) tarEntry {
	return tarEntry{tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: mode,
		Uname: "root", Gname: "root", ModTime: time.Unix(1767323045, 0),
	}, text}
}

func folderEntry(name string) tarEntry {
	return tarEntry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o775, Uname: "root", Gname: "root", ModTime: time.Unix(1767323045, 0)}, ""}
}

// tarball packs entries as GitHub does, at a level of compression.
func tarball(tb testing.TB, level int, entries ...tarEntry) []byte {
	tb.Helper()
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		tb.Fatal(err)
	}
	archive := tar.NewWriter(zip)
	for _, e := range entries {
		if err := archive.WriteHeader(&e.Header); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(archive, e.text); err != nil {
			tb.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// someSource is a source as GitHub packs it.
func someSource(folder string) []tarEntry {
	long := folder + strings.Repeat("a/", 70) + "\u4e16\u754c.txt"
	return []tarEntry{
		commitEntry(archivedCommit), folderEntry(folder),
		fileEntry(folder+".tagship.yaml", "build: {run: make}\n", 0o664),
		folderEntry(folder + "bin"), fileEntry(folder+"bin/run", "#!/bin/sh\n", 0o775),
		{tar.Header{Typeflag: tar.TypeSymlink, Name: folder + "link", Linkname: "bin/run", Mode: 0o777}, ""},
		fileEntry(long, strings.Repeat("text ", 1000), 0o664),
		fileEntry(folder+"odd \xff", "", 0o664),
	}
}

// archiveServer is a host of archives, and an archiver that may download from it.
type archiveServer struct {
	*archiver
	address *url.URL
	links   int // how many were asked for
}

func serveArchives(t *testing.T, answer http.HandlerFunc, change ...func(*archiverOptions)) *archiveServer {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL + "/acme/web/legacy.tar.gz/" + archivedCommit + "?token=s3cret")
	if err != nil {
		t.Fatal(err)
	}
	o := archiverOptions{
		Transport: server.Client().Transport, UserAgent: "tagship", Hosts: []string{address.Host}, Plain: true,
		Spool: t.TempDir(), MaxBytes: 1 << 20, Timeout: time.Minute,
	}
	for _, c := range change {
		c(&o)
	}
	s := &archiveServer{archiver: newArchiver(o), address: address}
	t.Cleanup(func() {
		if left, err := os.ReadDir(o.Spool); err != nil || len(left) != 0 {
			t.Errorf("%d files are left of the archives, %v", len(left), err)
		}
	})
	return s
}

func (s *archiveServer) fetch(ctx context.Context) (*watch.Archive, error) {
	return s.archiver.fetch(ctx, func(context.Context) (*url.URL, error) {
		s.links++
		return s.address, nil
	}, archivedCommit)
}

// sendsBody answers with the same bytes each time.
func sendsBody(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-gzip")
		_, _ = w.Write(body) // the client may have had enough
	}
}

// listArchive reads an archive, as lines of what is in it.
func listArchive(t *testing.T, a *watch.Archive) []string {
	t.Helper()
	sum := sha256.New()
	content, err := io.ReadAll(io.TeeReader(a, sum))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("sha256:%x", sum.Sum(nil)); got != a.Digest || int64(len(content)) != a.Size {
		t.Errorf("it has %d bytes with digest %s, said to be %d with %s", len(content), got, a.Size, a.Digest)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for files := tar.NewReader(zip); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			lines = append(lines, "commit "+h.PAXRecords["comment"])
			continue
		}
		lines = append(lines, fmt.Sprintf("%c %o %s%s %d %q%q %s", h.Typeflag, h.Mode, h.Uname, h.Gname, h.Size, h.Name, h.Linkname, h.ModTime.UTC().Format(time.DateTime)))
	}
}

func TestArchiveIsRepacked(t *testing.T) {
	t.Parallel()
	want := []string{
		"commit " + archivedCommit,
		`0 644  19 ".tagship.yaml""" 2026-01-02 03:04:05`,
		`5 755  0 "bin/""" 2026-01-02 03:04:05`,
		`0 755  10 "bin/run""" 2026-01-02 03:04:05`,
		`2 777  0 "link""bin/run" 1970-01-01 00:00:00`,
		`0 644  5000 "` + strings.Repeat("a/", 70) + "\u4e16\u754c" + `.txt""" 2026-01-02 03:04:05`,
		`0 644  0 "odd \xff""" 2026-01-02 03:04:05`,
	}
	var digests []string
	// Neither the compression nor the name of the repository makes a difference.
	for _, body := range [][]byte{
		tarball(t, gzip.BestSpeed, someSource("acme-web-0123456/")...),
		tarball(t, gzip.BestCompression, someSource("renamed-to-something-else-0123456/")...),
	} {
		a, err := serveArchives(t, sendsBody(body)).fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, a.Digest)
		if diff := cmp.Diff(want, listArchive(t, a)); diff != "" {
			t.Errorf("the archive has (-want +got):\n%s", diff)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("two downloads of a commit have the digests %s", digests)
	}
}

// TestArchiveOfGit repacks what git itself makes, as GitHub does.
func TestArchiveOfGit(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org",
			"GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %s: %v", args, err)
		}
		return string(out)
	}
	git("init", "--quiet")
	deep := strings.Repeat("folder/", 40) + strings.Repeat("n", 200)
	for name, mode := range map[string]os.FileMode{"a": 0o600, "run": 0o700, "odd \xff": 0o600, deep: 0o600} {
		if err := os.MkdirAll(filepath.Join(folder, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(strings.Repeat("../", 50)+"etc/passwd", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	git("add", "--all")
	git("commit", "--quiet", "--message", "first")
	commit := strings.TrimSpace(git("rev-parse", "HEAD"))
	s := serveArchives(t, sendsBody([]byte(git("archive", "--format=tar.gz", "--prefix=acme-web-"+commit[:7]+"/", commit))))
	a, err := s.archiver.fetch(t.Context(), func(context.Context) (*url.URL, error) { return s.address, nil }, commit)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"commit " + commit, `0 644  1 "a""" 2026-01-02 03:04:05`}
	for i := range 40 {
		want = append(want, fmt.Sprintf(`5 755  0 %q"" 2026-01-02 03:04:05`, strings.Repeat("folder/", i+1)))
	}
	want = append(want,
		fmt.Sprintf(`0 644  480 %q"" 2026-01-02 03:04:05`, deep),
		fmt.Sprintf(`2 777  0 "link"%q 2026-01-02 03:04:05`, strings.Repeat("../", 50)+"etc/passwd"),
		`0 644  5 "odd \xff""" 2026-01-02 03:04:05`, `0 755  3 "run""" 2026-01-02 03:04:05`)
	if diff := cmp.Diff(want, listArchive(t, a)); diff != "" {
		t.Errorf("the archive has (-want +got):\n%s", diff)
	}
}

func TestArchiveIsRefused(t *testing.T) {
	t.Parallel()
	good := someSource("acme-web-0123456/")
	whole := tarball(t, gzip.BestSpeed, good...)
	random := make([]byte, 2<<20)
	fill(rand.New(rand.NewPCG(1, 2)), random)
	for name, test := range map[string]struct {
		body []byte
		want string
	}{
		"a page":               {[]byte("<html>Sign in</html>" + strings.Repeat(" ", 1000)), "sends is no archive"},
		"nothing":              {nil, "broke off"},
		"cut":                  {whole[:len(whole)/2], "broke off"},
		"cut in the checksum":  {whole[:len(whole)-3], "broke off"},
		"damaged":              {append(bytes.Clone(whole[:len(whole)-8]), make([]byte, 8)...), "checksum"},
		"a tar that is cut":    {zipped(t, unzipped(t, whole)[:3000]), "broke off"},
		"no tar":               {zipped(t, bytes.Repeat([]byte("text"), 1000)), "invalid tar header"},
		"another commit":       {tarball(t, 1, append([]tarEntry{commitEntry(strings.Repeat("f", 40))}, good[1:]...)...), "is of commit \"ffff"},
		"no commit":            {tarball(t, 1, good[1:]...), "does not say that it is of commit"},
		"the commit told late": {tarball(t, 1, good[1], good[0]), "does not say that it is of commit"},
		"two commits":          {tarball(t, 1, good[0], good[1], commitEntry("x")), "is of commit \"x\""},
		"no folder":            {tarball(t, 1, good[0], fileEntry("README", "x", 0o644)), `has "README" outside`},
		"a file for a folder":  {tarball(t, 1, good[0], fileEntry("a/.", "x", 0o644)), "outside"},
		"the root":             {tarball(t, 1, good[0], fileEntry("/etc/passwd", "x", 0o644)), "outside"},
		"above":                {tarball(t, 1, good[0], fileEntry("../x", "x", 0o644)), "outside"},
		"beside the folder":    {tarball(t, 1, append(good, fileEntry("x", "x", 0o644))...), `has "x" outside`},
		"two folders":          {tarball(t, 1, append(good, folderEntry("acme-api-89abcde/"))...), `the folders "acme-web-0123456" and "acme-api-89abcde"`},
		"nothing in it":        {tarball(t, 1, good[0]), "is empty"},
		"a device":             {tarball(t, 1, append(good, tarEntry{tar.Header{Typeflag: tar.TypeFifo, Name: "acme-web-0123456/pipe"}, ""})...), "tar type"},
		"too large unpacked":   {zipped(t, announced(t, watch.MaxUnpacked+1)), "longer than 8589934592 bytes when unpacked"},
		"too large":            {tarball(t, 1, append(good, fileEntry("acme-web-0123456/big", string(random), 0o644))...), "longer than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveArchives(t, sendsBody(test.body))
			_, err := s.fetch(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, expected an error with %q", err, test.want)
			}
			if unfit := new(watch.UnfitError); errors.As(err, &unfit) != strings.HasPrefix(name, "too large") {
				t.Errorf("%v: that the commit is unfit is %t", err, unfit.Reason != "")
			}
			want := 1
			switch {
			case errors.Is(err, errCut):
				want = archiveTries
			case errors.Is(err, errStale):
				want = 2
			}
			if s.links != want {
				t.Errorf("%d tries, expected %d", s.links, want)
			}
			if errors.Is(err, errCut) != (test.want == "broke off") || errors.Is(err, errStale) != strings.Contains(name, "commit") || isGarbled(err) {
				t.Errorf("%v is of another kind", err)
			}
		})
	}
}

// announced is a tar whose only file is said to have so many bytes, none of which come.
func announced(t *testing.T, size int64) []byte {
	t.Helper()
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	big := fileEntry("acme-web-0123456/big", "", 0o644)
	big.Size = size
	for _, e := range []tarEntry{commitEntry(archivedCommit), big} {
		if err := archive.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func fill(from *rand.Rand, p []byte) {
	for i := range p {
		p[i] = byte(from.Uint32())
	}
}

func unzipped(t *testing.T, body []byte) []byte {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func zipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	if _, err := zip.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestArchiveDownloadIsBegunAgain(t *testing.T) {
	t.Parallel()
	whole := tarball(t, gzip.BestSpeed, someSource("acme-web-0123456/")...)
	cut := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
		_, _ = w.Write(whole[:len(whole)/2]) // the rest never comes
		panic(http.ErrAbortHandler)
	}
	answer := func(status int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { http.Error(w, "no", status) }
	}
	for name, test := range map[string]struct {
		before []func(http.ResponseWriter) // the answers before the good one
		want   string                      // in the error; empty if it is fetched after all
		links  int
	}{
		"cut once":           {[]func(http.ResponseWriter){cut}, "", 2},
		"cut twice":          {[]func(http.ResponseWriter){cut, cut}, "", 3},
		"cut each time":      {[]func(http.ResponseWriter){cut, cut, cut}, "broke off", 3},
		"expired":            {[]func(http.ResponseWriter){answer(404)}, "", 2},
		"forbidden":          {[]func(http.ResponseWriter){answer(403)}, "", 2},
		"not there":          {[]func(http.ResponseWriter){answer(404), answer(404)}, "answers 404", 2},
		"expired, then cut":  {[]func(http.ResponseWriter){answer(404), cut}, "", 3},
		"a fault":            {[]func(http.ResponseWriter){answer(502)}, "answers 502", 1},
		"too many downloads": {[]func(http.ResponseWriter){answer(429)}, "gives no more archives for now", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := test.before
			s := serveArchives(t, func(w http.ResponseWriter, r *http.Request) {
				if len(answers) == 0 {
					sendsBody(whole)(w, r)
					return
				}
				next := answers[0]
				answers = answers[1:]
				next(w)
			})
			a, err := s.fetch(t.Context())
			if err == nil {
				listArchive(t, a)
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, expected an error with %q", err, test.want)
			}
			if s.links != test.links {
				t.Errorf("%d links were asked for, expected %d", s.links, test.links)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error repeats the token of the link: %v", err)
			}
			if limit := new(watch.LimitError); errors.As(err, &limit) && time.Until(limit.Until) < 50*time.Second {
				t.Errorf("it may be asked again at %s, expected a minute from now", limit.Until)
			}
		})
	}
}

func TestArchiveLimitHoldsForAll(t *testing.T) {
	t.Parallel()
	asked := 0
	s := serveArchives(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	for range 2 {
		_, err := s.fetch(t.Context())
		limit := new(watch.LimitError)
		if !errors.As(err, &limit) || time.Until(limit.Until) < 110*time.Second || time.Until(limit.Until) > 2*time.Minute {
			t.Errorf("got %v, expected a limit of two minutes", err)
		}
	}
	if asked != 1 || s.links != 1 {
		t.Errorf("%d archives and %d links were asked for, expected one", asked, s.links)
	}
}

func TestArchiveComesFromKnownHostsOnly(t *testing.T) {
	t.Parallel()
	var asked []http.Header
	body := tarball(t, gzip.BestSpeed, someSource("acme-web-0123456/")...)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header)
		sendsBody(body)(w, r)
	}))
	t.Cleanup(other.Close)
	otherHost := strings.TrimPrefix(other.URL, "http://")
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/store/"+archivedCommit, http.StatusFound)
	}
	trusting := func(o *archiverOptions) { o.Hosts = append(o.Hosts, otherHost) }

	a, err := serveArchives(t, redirect, trusting).fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listArchive(t, a)
	for _, header := range asked {
		// The link has a token in it.
		if header.Get("Referer") != "" || header.Get("Authorization") != "" || header.Get("User-Agent") != "tagship" {
			t.Errorf("the other host is sent %v", header)
		}
	}
	asked = nil
	for name, test := range map[string]struct {
		served *archiveServer
		want   string
	}{
		"redirect to another host":  {serveArchives(t, redirect), "is to come from " + otherHost + "; if that is right, add it to archive_hosts"},
		"link to another host":      {serveArchives(t, redirect, func(o *archiverOptions) { o.Hosts = []string{"codeload.github.com"} }), "add it to archive_hosts"},
		"http where there is https": {serveArchives(t, redirect, func(o *archiverOptions) { o.Plain = false }), "expected https"},
		"redirect without end":      {serveArchives(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }), "more than 5 times"},
		"redirect to another program": {serveArchives(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}), "by file, expected https"},
	} {
		_, err := test.served.fetch(t.Context())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, expected an error with %q", name, err, test.want)
		}
		if test.served.links != 1 {
			t.Errorf("%s: tried %d times, expected once", name, test.served.links)
		}
	}
	if len(asked) != 0 {
		t.Errorf("the other host was asked %d times", len(asked))
	}
}

func TestArchiveHosts(t *testing.T) {
	t.Parallel()
	secure := newArchiver(archiverOptions{Hosts: []string{"Codeload.GitHub.com", "ghe.example.org:8443"}})
	plain := newArchiver(archiverOptions{Hosts: []string{"ghe.example.org"}, Plain: true})
	for _, test := range []struct {
		archiver *archiver
		address  string
		fine     bool
	}{
		{secure, "https://codeload.github.com/x", true},
		{secure, "https://CODELOAD.github.com:443/x", true},
		{secure, "https://codeload.github.com:8443/x", false},
		{secure, "http://codeload.github.com/x", false},
		{secure, "https://codeload.github.com.example.org/x", false},
		{secure, "https://codeload.github.com@example.org/x", false},
		{secure, "https://ghe.example.org:8443/x", true},
		{secure, "https://ghe.example.org/x", false},
		{plain, "http://ghe.example.org/x", true},
		{plain, "https://ghe.example.org/x", true},
		{plain, "ftp://ghe.example.org/x", false},
	} {
		address, err := url.Parse(test.address)
		if err != nil {
			t.Fatal(err)
		}
		if err := test.archiver.check(address); (err == nil) != test.fine {
			t.Errorf("%s: got %v, expected it to be fine: %t", test.address, err, test.fine)
		}
	}
}

func TestArchiveTimesOut(t *testing.T) {
	t.Parallel()
	s := serveArchives(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte{0x1f, 0x8b})
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}, func(o *archiverOptions) { o.Timeout = 100 * time.Millisecond })
	if _, err := s.fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "took longer than 100ms") {
		t.Errorf("got %v, expected a timeout", err)
	}
	stop := errors.New("the program ends")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := s.fetch(ended); !errors.Is(err, stop) {
		t.Errorf("got %v, expected what ended it", err)
	}
}

func TestArchiveLinkFails(t *testing.T) {
	t.Parallel()
	s := serveArchives(t, sendsBody(nil))
	gone := &watch.GoneError{Reason: "acme/web is not there"}
	_, err := s.archiver.fetch(t.Context(), func(context.Context) (*url.URL, error) { return nil, gone }, archivedCommit)
	if !errors.Is(err, gone) {
		t.Errorf("got %v, expected what asking for the link says", err)
	}
}

// TestLargeArchive sends a source that is many times what may be held of it.
func TestLargeArchive(t *testing.T) {
	const size = 128 << 20
	const most = 32 << 20
	var peak uint64
	var base runtime.MemStats
	block := make([]byte, 1<<20)
	fill(rand.New(rand.NewPCG(3, 4)), block)
	s := serveArchives(t, func(w http.ResponseWriter, _ *http.Request) {
		zip, err := gzip.NewWriterLevel(w, gzip.NoCompression)
		if err != nil {
			t.Error(err)
			return
		}
		archive := tar.NewWriter(zip)
		for _, e := range []tarEntry{commitEntry(archivedCommit), {tar.Header{Typeflag: tar.TypeReg, Name: "acme-web-0123456/big", Size: size}, ""}} {
			if err := archive.WriteHeader(&e.Header); err != nil {
				t.Error(err)
				return
			}
		}
		for range size / len(block) {
			if _, err := archive.Write(block); err != nil {
				t.Error(err)
				return
			}
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapInuse)
		}
		if err := errors.Join(archive.Close(), zip.Close()); err != nil {
			t.Error(err)
		}
	}, func(o *archiverOptions) { o.MaxBytes = 2 * size })
	runtime.GC()
	runtime.ReadMemStats(&base)
	a, err := s.fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a.Size < size/2 {
		t.Errorf("the archive has %d bytes", a.Size)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if extra := int64(peak) - int64(base.HeapInuse); extra > most {
		t.Errorf("%d bytes were in use for it, expected at most %d", extra, most)
	} else {
		t.Logf("%d KiB were in use for it", extra>>10)
	}
}

func FuzzTranscode(f *testing.F) {
	for _, entries := range [][]tarEntry{someSource("acme-web-0123456/"), someSource("acme-web-0123456/")[:2], {commitEntry("x")}} {
		var out bytes.Buffer
		archive := tar.NewWriter(&out)
		for _, e := range entries {
			if err := archive.WriteHeader(&e.Header); err != nil {
				f.Fatal(err)
			}
			if _, err := io.WriteString(archive, strings.Repeat("x", int(e.Size))); err != nil {
				f.Fatal(err)
			}
		}
		if err := archive.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(out.Bytes())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var first, second bytes.Buffer
		if err := transcode(&first, bytes.NewReader(text), archivedCommit); err != nil {
			return
		}
		if err := transcode(&second, bytes.NewReader(text), archivedCommit); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("the second time it is another: %v", err)
		}
		for files := tar.NewReader(&first); ; {
			h, err := files.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("what was written cannot be read: %v", err)
			}
			if h.Uname != "" || h.Uid != 0 || h.Typeflag == tar.TypeReg && h.Mode&^0o111 != 0o644 {
				t.Fatalf("%q has owner %q and mode %o", h.Name, h.Uname, h.Mode)
			}
		}
	})
}
