package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func checksum(p []byte) []byte {
	sum := sha256.Sum256(p)
	return sum[:]
}

func unpack(tb testing.TB, p place, data []byte, opt Options) (Stats, error) {
	tb.Helper()
	stats, err := Unpack(tb.Context(), p.root, bytes.NewReader(data), opt)
	p.checkOutside(tb)
	if err != nil {
		if strings.Contains(err.Error(), "\n") {
			tb.Errorf("the error has several lines: %q", err)
		}
		if tree := p.tree(tb); len(tree) > 0 {
			tb.Errorf("after %v the root holds\n%s", err, strings.Join(tree, "\n"))
		}
	}
	return stats, err
}

// shortTree strips the descriptions of listTree, but for types and targets.
func shortTree(tb testing.TB, p place) []string {
	var short []string
	for _, line := range p.tree(tb) {
		name, rest, _ := strings.Cut(line, " ")
		_, tail, hasTail := strings.Cut(rest, ` -> `)
		switch {
		case hasTail:
			name += " -> " + tail
		case strings.HasPrefix(rest, "4"):
			name += "/"
		case strings.HasPrefix(rest, "1") && strings.IndexByte(rest, ' ') == 5: // 010600
			name += "|"
		}
		if _, same, ok := strings.Cut(line, `" = `); ok {
			name += " = " + same
		}
		short = append(short, name)
	}
	return short
}

func TestUnpackGood(t *testing.T) {
	globalHeader := item{h: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}}
	long := strings.Repeat("n", 255)
	for _, tt := range []struct {
		name  string
		items []item
		want  []string
	}{
		{"empty", nil, nil},
		{"file", []item{file("a", "hello")}, []string{"a"}},
		{"parents are made", []item{file("a/b/c", "")}, []string{"a/", "a/b/", "a/b/c"}},
		{"absolute", []item{file("/a", ""), file("//b//c", "")}, []string{"a", "b/", "b/c"}},
		{"dots", []item{directory("./"), directory("./d/."), file("./d/./f", "")}, []string{"d/", "d/f"}},
		{"root by slash", []item{directory("/"), file("f", "")}, []string{"f"}},
		{"longest name", []item{file(long, "")}, []string{long}},
		{"odd names", []item{file("a\nb", ""), file("-rf", ""), file("\xff\xfe", ""), file("...", ""), file("..a", "")},
			[]string{"-rf", "...", "..a", "a\nb", "\xff\xfe"}},
		{"whiteouts are names", []item{directory("d"), file("d/x", ""), file("d/.wh.x", ""), file("d/.wh..wh..opq", ""), file(".wh..", ""), file(".wh...", "")},
			[]string{".wh..", ".wh...", "d/", "d/.wh..wh..opq", "d/.wh.x", "d/x"}},
		{"usrmerge", []item{directory("usr/bin"), symlink("bin", "usr/bin"), file("bin/ls", "x"), symlink("lib", "/usr/lib"), directory("usr/lib"), file("lib/libc", "")},
			[]string{`bin -> "usr/bin"`, `lib -> "/usr/lib"`, "usr/", "usr/bin/", "usr/bin/ls", "usr/lib/", "usr/lib/libc"}},
		{"file twice", []item{file("a", "1"), file("a", "2")}, []string{"a"}},
		{"file, then directory", []item{file("a", "1"), directory("a"), file("a/b", "")}, []string{"a/", "a/b"}},
		{"empty directory, then file", []item{directory("a"), file("a", "1")}, []string{"a"}},
		{"directory, then symlink", []item{directory("a"), directory("b"), symlink("a", "b"), file("a/x", "")}, []string{`a -> "b"`, "b/", "b/x"}},
		{"symlink, then directory", []item{directory("b"), symlink("a", "b"), directory("a"), file("a/x", "")}, []string{"a/", "a/x", "b/"}},
		{"symlink, then file", []item{file("b", "b"), symlink("a", "b"), file("a", "a")}, []string{"a", "b"}},
		{"fifo", []item{{h: tar.Header{Name: "p", Typeflag: tar.TypeFifo, Mode: 0o600}}, {h: tar.Header{Name: "p", Typeflag: tar.TypeFifo, Mode: 0o640}}}, []string{"p|"}},
		{"parent's link goes away under it", []item{directory("d"), symlink("s", "."), file("s/a", ""), directory("t"), symlink("s/s", "d"), file("s/b", "")},
			[]string{"a", "d/", "d/b", `s -> "d"`, "t/"}},
		{"hard link", []item{file("a", "x"), hardlink("b", "a"), hardlink("c/d", "/./b")}, []string{"a", "b = a", "c/", "c/d = a"}},
		{"hard link to itself", []item{file("a", "x"), hardlink("a", "a"), hardlink("./a", "/a")}, []string{"a"}},
		{"hard link replaces", []item{file("a", "x"), file("b", "y"), hardlink("b", "a")}, []string{"a", "b = a"}},
		{"hard link to a symlink", []item{symlink("s", "/etc/passwd"), hardlink("t", "s"), file("t", "mine")}, []string{`s -> "/etc/passwd"`, "t"}},
		{"hard link through a symlink", []item{directory("d"), file("d/f", ""), symlink("s", "d"), hardlink("l", "s/f")}, []string{"d/", "d/f", "l = d/f", `s -> "d"`}},
		{"dot dot in a symlink stops at the root", []item{directory("victim"), symlink("s", "../../../../../victim"), file("s/file", "")},
			[]string{`s -> "../../../../../victim"`, "victim/", "victim/file"}},
		{"global header", []item{globalHeader, file("a", "")}, []string{"a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			if _, err := unpack(t, p, archive(t, tt.items...), Options{}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, shortTree(t, p)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	top := func(p place) string { return strings.TrimPrefix(p.top, "/") }
	deep := strings.Repeat("d/", 256)
	for _, tt := range []struct {
		name  string
		items func(p place) []item
		want  string // in the error
	}{
		{"dot dot", func(place) []item { return []item{file("../victim/file", "")} }, `".." part`},
		{"dot dot within", func(place) []item { return []item{file("a/../b", "")} }, `".." part`},
		{"dot dot directory", func(place) []item { return []item{directory("..")} }, `".." part`},
		{"dot dot link", func(place) []item { return []item{hardlink("a", "../victim/file")} }, `".." part`},
		{"root as file", func(place) []item { return []item{file(".", "")} }, "only be a directory"},
		{"root as symlink", func(place) []item { return []item{symlink("./", "/")} }, "only be a directory"},
		{"long part", func(place) []item { return []item{file(strings.Repeat("n", 256), "")} }, "length of a part of the name: over the limit of 255"},
		{"long name", func(place) []item { return []item{file(strings.Repeat("n/", 2500)+"f", "")} }, "length of the name: over the limit of 4095"},
		{"deep", func(place) []item { return []item{file(deep+"f", "")} }, "depth of the name: over the limit of 256"},
		{"long target", func(place) []item { return []item{symlink("s", strings.Repeat("n/", 2500))} }, "target: over the limit of 4095"},
		{"no target", func(place) []item { return []item{symlink("s", "")} }, "no target"},
		{"file as parent", func(place) []item { return []item{file("a", ""), file("a/b", "")} }, `parent directory "a"`},
		{"full directory, then file", func(place) []item { return []item{file("a/b", ""), file("a", "")} }, "not empty"},
		{"dangling parent", func(place) []item { return []item{symlink("s", "nowhere"), file("s/f", "")} }, "leads nowhere"},
		{"looping parent", func(place) []item { return []item{symlink("s", "s"), file("s/f", "")} }, "too many levels"},
		{"outside by a symlink", func(p place) []item { return []item{symlink("s", p.top+"/victim"), file("s/file", "evil")} }, "leads nowhere"},
		{"outside by two symlinks", func(p place) []item {
			return []item{symlink("a", "/"), symlink("b", "a/"+top(p)+"/victim"), file("b/file", "evil")}
		}, "leads nowhere"},
		{"outside by proc", func(place) []item { return []item{symlink("s", "/proc/self/cwd"), file("s/f", "")} }, "leads nowhere"},
		{"outside by dots", func(place) []item { return []item{symlink("s", "../victim"), file("s/file", "evil")} }, "leads nowhere"},
		{"hard link outside", func(p place) []item { return []item{hardlink("l", p.top+"/victim/file")} }, "has not made it before"},
		{"hard link through two symlinks", func(p place) []item {
			return []item{symlink("a", p.top), symlink("b", "a/victim"), hardlink("l", "b/file"), file("l", "evil")}
		}, "has not made it before"},
		{"hard link to later", func(place) []item { return []item{hardlink("l", "f"), file("f", "")} }, "has not made it before"},
		{"hard link to directory", func(place) []item { return []item{directory("d"), hardlink("l", "d")} }, "is a directory"},
		{"hard link to root", func(place) []item { return []item{hardlink("l", "/")} }, "is a directory"},
		{"overlay xattr", func(place) []item { return []item{directory("d").with(pax("SCHILY.xattr.user.overlay.opaque", "y"))} }, `"user.overlay.opaque" is not allowed`},
		{"trusted xattr", func(place) []item {
			return []item{file("f", "").with(pax("SCHILY.xattr.trusted.overlay.redirect", "/"))}
		}, `"trusted.overlay.redirect" is not allowed`},
		{"overlay xattr on the root", func(place) []item { return []item{directory("./").with(pax("SCHILY.xattr.user.overlay.opaque", "y"))} }, "is not allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			items := append([]item{file("first", "x"), directory("locked").with(func(h *tar.Header) { h.Mode = 0 })}, tt.items(p)...)
			_, err := unpack(t, p, archive(t, items...), Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if strings.Contains(tt.want, "over the limit") != errors.Is(err, ErrLimit) {
				t.Errorf("errors.Is(%v, ErrLimit) = %v", err, errors.Is(err, ErrLimit))
			}
		})
	}
}

// What archive/tar does not write.
func TestUnpackRefusesRaw(t *testing.T) {
	manyHoles := func() []byte {
		// Ten million entries in the map would be 40 MB: it is cut where it is too long.
		list := []byte("10000000\n" + strings.Repeat("0\n0\n", 300_000))
		records := paxRecord("GNU.sparse.major", "1") + paxRecord("GNU.sparse.minor", "0") +
			paxRecord("GNU.sparse.name", "s") + paxRecord("GNU.sparse.realsize", "10000000")
		return slices.Concat(paxHeader('x', records), rawHeader("s", '0', int64(len(list)), nil), padded(list), endMark)
	}
	good := archive(t, file("first", "x"), file("second", strings.Repeat("y", 5000)))
	for _, tt := range []struct {
		name string
		data []byte
		opt  Options
		want string
	}{
		{"nothing", nil, Options{}, "0 bytes"},
		{"text", []byte("hello\n"), Options{}, "truncated"},
		{"long text", bytes.Repeat([]byte("hello\n"), 1000), Options{}, "not a tar archive"},
		{"bzip2", []byte("BZh91AY&SY"), Options{}, "bzip2 data, which is not supported"},
		{"zip", []byte("PK\x03\x04 and so on"), Options{}, "zip data"},
		{"empty name", slices.Concat(rawHeader("", '0', 0, nil), endMark), Options{}, "name is empty"},
		{"no end", good[:len(good)-1024], Options{}, `after "second": it ends without an end mark`},
		{"cut in a header", good[:1100], Options{}, `after "first"`},
		{"cut in content", good[:4096], Options{}, `unpack "second": the archive ends inside`},
		{"cut in padding", good[:1000], Options{}, `after "first": it ends without an end mark`},
		{"damaged header", slices.Concat(good[:1024], bytes.Repeat([]byte("#"), 4096)), Options{}, `after "first": archive/tar: invalid tar header`},
		{"two archives", slices.Concat(good, good), Options{}, "data follows its end"},
		{"trailing garbage", slices.Concat(good, []byte("x")), Options{}, "data follows its end"},
		{"multi-volume", slices.Concat(rawHeader("f", 'M', 0, nil), endMark), Options{}, "another volume"},
		{"huge size", slices.Concat(rawHeader("f", '0', 0, map[int]string{124: "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"}), endMark), Options{}, "size of all files: over the limit"},
		{"huge directory", slices.Concat(rawHeader("d/", '0', 1<<32, nil), endMark), Options{Limits: Limits{Bytes: 1000}}, "size of all files: over the limit"},
		{"huge unknown", slices.Concat(rawHeader("u", 'Q', 1<<32, nil), endMark), Options{Limits: Limits{Bytes: 1000}}, "size of all files: over the limit"},
		{"huge hole", sparseArchive(t, math.MaxInt64, nil), Options{}, "size of all files: over the limit"},
		{"ten million holes", manyHoles(), Options{}, "size of an entry's headers: over the limit of 524288"},
		{"ten million holes, compressed", gzipped(t, manyHoles()), Options{Limits: Limits{HeaderBytes: 2 << 20}}, "sparse map too long"},
		{"pax bomb", slices.Concat(paxHeader('x', paxRecord("comment", strings.Repeat("x", 2<<20))), rawHeader("f", '0', 0, nil), endMark), Options{}, "headers: over the limit"},
		{"endless pax headers", bytes.Repeat(paxHeader('x', paxRecord("comment", strings.Repeat("x", 1<<19))), 8), Options{}, "headers: over the limit"},
		{"long GNU name", slices.Concat(rawHeader("././@LongLink", 'L', 1<<21, nil), bytes.Repeat([]byte("a"), 1<<21), rawHeader("f", '0', 0, nil), endMark), Options{}, "headers: over the limit"},
		{"long pax name", slices.Concat(paxHeader('x', paxRecord("path", strings.Repeat("a/", 100_000))), rawHeader("f", '0', 0, nil), endMark), Options{}, "length of the name: over the limit"},
		{"entries", bytes.Repeat(rawHeader("f", '0', 0, nil), 20), Options{Limits: Limits{Entries: 10}}, "number of entries: over the limit of 10"},
		{"entries by parents", slices.Concat(rawHeader("a/b/c/d/e/f", '0', 0, nil), endMark), Options{Limits: Limits{Entries: 3}}, "number of entries: over the limit of 3"},
		{"global headers", bytes.Repeat(paxHeader('g', paxRecord("comment", "x")), 20), Options{Limits: Limits{Entries: 10}}, "number of entries: over the limit"},
		{"trusted xattr in a global header", slices.Concat(paxHeader('g', paxRecord("SCHILY.xattr.trusted.x", "1")), endMark), Options{}, "not allowed"},
		{"zeros without end", make([]byte, maxPadding+1<<20), Options{}, "zeros after its end: over the limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			_, err := unpack(t, p, tt.data, tt.opt)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if strings.Contains(tt.want, "over the limit") != errors.Is(err, ErrLimit) {
				t.Errorf("errors.Is(%v, ErrLimit) = %v", err, errors.Is(err, ErrLimit))
			}
		})
	}
}

func TestUnpackMetadata(t *testing.T) {
	when := time.Unix(1234567890, 123456789)
	old := time.Unix(-100, 0)
	p := newPlace(t)
	at := func(m int64, when time.Time) func(*tar.Header) {
		return func(h *tar.Header) { h.Mode, h.ModTime, h.Format = m, when, tar.FormatPAX }
	}
	stats, err := unpack(t, p, archive(t,
		directory("./").with(at(0o750, when)),
		directory("d").with(at(0o755, old)),
		file("d/suid", "x").with(at(0o4755, when)),
		directory("d/ro").with(at(0o555, when)),
		file("d/ro/f", "x").with(at(0o400, old)),
		file("other", ""), // so that another directory is entered in between
		file("d/ro/g", "x").with(at(0o444, old)),
		directory("d/sticky").with(at(0o3777, when)),
		item{h: tar.Header{Name: "d/p", Typeflag: tar.TypeFifo}}.with(at(0o620, when)),
		symlink("d/l", "nowhere").with(at(0, old)),
	), Options{})
	must(t, err)
	if stats.Entries != 10 || stats.Bytes != 3 || stats.UnmappedOwners != 0 || stats.SkippedTotal != 0 {
		t.Errorf("stats %+v", stats)
	}
	check := func(name string, mode uint32, mtime time.Time) {
		t.Helper()
		var st unix.Stat_t
		must(t, unix.Lstat(p.path(name), &st))
		if st.Mode != mode || st.Mtim.Nano() != mtime.UnixNano() {
			t.Errorf("%s: mode %o time %d, want %o %d", name, st.Mode, st.Mtim.Nano(), mode, mtime.UnixNano())
		}
	}
	check(".", unix.S_IFDIR|0o750, when)
	check("d", unix.S_IFDIR|0o755, old)
	check("d/suid", unix.S_IFREG|0o4755, when)
	check("d/ro", unix.S_IFDIR|0o555, when)
	check("d/ro/f", unix.S_IFREG|0o400, old)
	check("d/sticky", unix.S_IFDIR|0o3777, when)
	check("d/p", unix.S_IFIFO|0o620, when)
	check("d/l", unix.S_IFLNK|0o777, old)
}

func TestUnpackNoSetid(t *testing.T) {
	p := newPlace(t)
	mode := func(h *tar.Header) { h.Mode = 0o7755 }
	_, err := unpack(t, p, archive(t, file("f", "").with(mode), directory("d").with(mode)), Options{NoSetid: true})
	must(t, err)
	for name, want := range map[string]uint32{"f": unix.S_IFREG | 0o1755, "d": unix.S_IFDIR | 0o7755} {
		var st unix.Stat_t
		must(t, unix.Lstat(p.path(name), &st))
		if st.Mode != want {
			t.Errorf("%s: mode %o, want %o", name, st.Mode, want)
		}
	}
}

func TestUnpackSkipsDevices(t *testing.T) {
	p := newPlace(t)
	device := func(name string, kind byte, major, minor int64) item {
		return item{h: tar.Header{Name: name, Typeflag: kind, Devmajor: major, Devminor: minor, Mode: 0o666}}
	}
	items := []item{
		device("dev/null", tar.TypeChar, 1, 3), device("whiteout", tar.TypeChar, 0, 0), device("dev/sda", tar.TypeBlock, 8, 0),
		hardlink("dev/zilch", "dev/null"), file("after", ""), directory("dev"),
	}
	for range 200 {
		items = append(items, device("again", tar.TypeBlock, 8, 0))
	}
	stats, err := unpack(t, p, archive(t, items...), Options{})
	must(t, err)
	if diff := cmp.Diff([]string{"after", "dev/"}, shortTree(t, p)); diff != "" {
		t.Error(diff)
	}
	if stats.SkippedTotal != 204 || len(stats.Skipped) != maxSkippedNames || stats.Skipped[1] != "whiteout" {
		t.Errorf("stats %+v", stats)
	}
}

func TestUnpackXattrs(t *testing.T) {
	p := newPlace(t)
	if err := unix.Setxattr(p.root.Name(), "user.probe", nil, 0); err != nil {
		t.Skipf("no extended attributes here: %v", err)
	}
	data := archive(t,
		file("f", "x").with(pax("SCHILY.xattr.user.color", "blue\x00")),
		directory("d").with(pax("SCHILY.xattr.user.overlayish", "1")),
		file("cap", "x").with(pax("SCHILY.xattr.security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")),
		file("acl", "x").with(pax("SCHILY.xattr.system.posix_acl_access", "x")),
		symlink("l", "f").with(pax("SCHILY.xattr.user.color", "red")),
	)
	stats, err := unpack(t, p, data, Options{})
	must(t, err)
	if stats.IgnoredXattrs != 3 {
		t.Errorf("%d attributes ignored, want 3", stats.IgnoredXattrs)
	}
	buf := make([]byte, 100)
	for name, want := range map[string]string{"f user.color": "blue\x00", "d user.overlayish": "1", "cap security.capability": ""} {
		path, attr, _ := strings.Cut(name, " ")
		n, err := unix.Getxattr(p.path(path), attr, buf)
		if want == "" && err == unix.ENODATA {
			continue
		}
		if err != nil || string(buf[:n]) != want {
			t.Errorf("%s = %q, %v, want %q", name, buf[:max(n, 0)], err, want)
		}
	}
	if os.Geteuid() != 0 {
		return // only the privileged give capabilities away
	}
	must(t, RemoveContents(p.root))
	_, err = unpack(t, p, data, Options{Capabilities: true})
	must(t, err)
	if n, err := unix.Getxattr(p.path("cap"), "security.capability", buf); err != nil || n != 20 {
		t.Errorf("security.capability: %d bytes, %v", n, err)
	}
}

func TestUnpackHoles(t *testing.T) {
	zeros := strings.Repeat("\x00", 1<<20)
	offsets := []int64{5000, 5001, 900_000}
	data := archive(t, file("a", zeros+"x"+zeros), file("b", zeros), file("c", "x"+zeros))
	data = append(data[:len(data)-1024], sparseArchive(t, 10<<20, offsets)...)
	p := newPlace(t)
	stats, err := unpack(t, p, data, Options{})
	must(t, err)
	if want := int64(4<<20 + 2 + 10<<20); stats.Bytes != want {
		t.Errorf("%d bytes, want %d", stats.Bytes, want)
	}
	sparse := make([]byte, 10<<20)
	for _, off := range offsets {
		sparse[off] = 'x'
	}
	for name, want := range map[string]string{"a": zeros + "x" + zeros, "b": zeros, "c": "x" + zeros, "sparse": string(sparse)} {
		got, err := os.ReadFile(p.path(name))
		must(t, err)
		if string(got) != want {
			t.Errorf("%s differs", name)
		}
		var st unix.Stat_t
		must(t, unix.Stat(p.path(name), &st))
		if st.Blocks > 64 {
			t.Errorf("%s takes %d blocks", name, st.Blocks)
		}
	}
}

func TestUnpackCompressed(t *testing.T) {
	plain := archive(t, file("a", strings.Repeat("hello ", 100_000)), directory("d"))
	for _, tt := range []struct {
		name string
		data func(t *testing.T) []byte
	}{
		{"plain", func(t *testing.T) []byte { return plain }},
		{"gzip", func(t *testing.T) []byte { return gzipped(t, plain) }},
		{"gzip, two members", func(t *testing.T) []byte { return append(gzipped(t, plain[:700]), gzipped(t, plain[700:])...) }},
		{"zstd", func(t *testing.T) []byte { return zstded(t, plain) }},
		{"zstd, skippable frame first", func(t *testing.T) []byte {
			return append([]byte("\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"), zstded(t, plain)...)
		}},
		{"zstd program", func(t *testing.T) []byte { return piped(t, plain, "zstd", "-q", "--long=27") }},
		{"xz", func(t *testing.T) []byte { return piped(t, plain, "xz", "-9") }},
		{"xz with a filter", func(t *testing.T) []byte { return piped(t, plain, "xz", "--x86", "--lzma2") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := tt.data(t)
			p := newPlace(t)
			// One byte at a time shows what relies on the size of reads.
			stats, err := Unpack(t.Context(), p.root, iotest.OneByteReader(bytes.NewReader(data)), Options{})
			must(t, err)
			if stats.Bytes != 600_000 {
				t.Errorf("stats %+v", stats)
			}
			if tt.name == "plain" {
				return
			}
			must(t, RemoveContents(p.root))
			if _, err := unpack(t, p, data[:len(data)-3], Options{}); err == nil {
				t.Error("no error when cut short")
			}
			if _, err := unpack(t, p, append(slices.Clone(data), "garbage"...), Options{}); err == nil {
				t.Error("no error with garbage behind it")
			}
			damaged := slices.Clone(data)
			damaged[len(damaged)/2] ^= 0x55
			if _, err := unpack(t, p, damaged, Options{}); err == nil {
				t.Error("no error when damaged")
			}
		})
	}
}

func TestUnpackBombs(t *testing.T) {
	bomb := archive(t, file("zeros", strings.Repeat("\x00", 16<<20)))
	for _, tt := range []struct {
		name string
		data func(t *testing.T) []byte
	}{
		{"gzip", func(t *testing.T) []byte { return gzipped(t, bomb) }},
		{"zstd", func(t *testing.T) []byte { return zstded(t, bomb) }},
		{"xz", func(t *testing.T) []byte { return piped(t, bomb, "xz", "-1") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			data := tt.data(t)
			_, err := unpack(t, p, data, Options{Limits: Limits{RatioFree: 2 << 20}})
			if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "compression ratio") {
				t.Errorf("error %v, want one about the ratio", err)
			}
			_, err = unpack(t, p, data, Options{Limits: Limits{Bytes: 8 << 20}})
			if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "size of all files") {
				t.Errorf("error %v, want one about the size", err)
			}
		})
	}
	t.Run("xz dictionary", func(t *testing.T) {
		_, err := unpack(t, newPlace(t), piped(t, bomb, "xz", "--lzma2=preset=1,dict=256MiB"), Options{})
		if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "dictionary") {
			t.Errorf("error %v, want one about the dictionary", err)
		}
	})
	t.Run("zstd window", func(t *testing.T) {
		// A frame header that asks for a window of 1 GiB.
		_, err := unpack(t, newPlace(t), append([]byte("\x28\xb5\x2f\xfd\x00\xa0"), make([]byte, 100)...), Options{})
		if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "window") {
			t.Errorf("error %v, want one about the window", err)
		}
	})
}

func TestUnpackNeedsEmpty(t *testing.T) {
	p := newPlace(t)
	must(t, os.WriteFile(p.path("mine"), []byte("x"), 0o600))
	_, err := Unpack(t.Context(), p.root, bytes.NewReader(archive(t, file("../a", ""))), Options{})
	if err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error %v, want one about the directory", err)
	}
	if _, err := os.Stat(p.path("mine")); err != nil {
		t.Error(err)
	}
}

func TestUnpackCancel(t *testing.T) {
	stop := errors.New("enough")
	data := archive(t, file("a", strings.Repeat("x", 3<<20)), file("b", ""))
	t.Run("between chunks", func(t *testing.T) {
		p := newPlace(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		r := io.MultiReader(bytes.NewReader(data[:2<<20]), readFunc(func([]byte) (int, error) { cancel(stop); return 0, nil }), bytes.NewReader(data[2<<20:]))
		if _, err := Unpack(ctx, p.root, r, Options{}); !errors.Is(err, stop) {
			t.Errorf("error %v, want %v", err, stop)
		}
		if tree := p.tree(t); len(tree) > 0 {
			t.Errorf("left: %v", tree)
		}
	})
	for name, sent := range map[string][]byte{"waiting for the first byte": nil, "waiting in a file": data[:1<<20]} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			r, w, err := os.Pipe()
			must(t, err)
			defer r.Close()
			defer w.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := Unpack(ctx, p.root, r, Options{})
				done <- err
			}()
			_, err = w.Write(sent)
			must(t, err)
			cancel(stop)
			if err := <-done; !errors.Is(err, stop) {
				t.Errorf("error %v, want %v", err, stop)
			}
		})
	}
}

func TestUnpackReadError(t *testing.T) {
	broken := errors.New("the disk is broken")
	data := archive(t, file("a", strings.Repeat("x", 10_000)))
	for _, n := range []int{0, 100, 2000, len(data)} {
		p := newPlace(t)
		r := io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken))
		if _, err := Unpack(t.Context(), p.root, r, Options{}); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: error %v, want %v", n, err, broken)
		}
	}
}

// A descriptor that is not closed would show in the next numbers.
func TestUnpackClosesDescriptors(t *testing.T) {
	p := newPlace(t)
	free := func() int {
		fd, err := syscall.Dup(0)
		must(t, err)
		must(t, syscall.Close(fd))
		return fd
	}
	good := archive(t, file("a/b/c", ""), symlink("s", "a"), hardlink("s/x", "a/b/c"), directory("d"))
	bad := append(slices.Clone(good[:len(good)-1024]), archive(t, file("s/y/z", ""), file("..", ""))...)
	before := free()
	for range 3 {
		_, err := unpack(t, p, bad, Options{})
		if err == nil {
			t.Fatal("no error")
		}
		_, err = unpack(t, p, good, Options{})
		must(t, err)
		must(t, RemoveContents(p.root))
	}
	if after := free(); after != before {
		t.Errorf("the lowest free descriptor was %d and is %d", before, after)
	}
}
