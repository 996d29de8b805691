package image

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzUnpack unpacks anything at all: nothing outside may change, no device may
// appear, limits hold, and after an error nothing is left.
func FuzzUnpack(f *testing.F) {
	when := func(h *tar.Header) { h.Mode = 0o7777 }
	good := archive(f,
		directory("./"), directory("d").with(when), file("d/f", "hello"), symlink("s", "/d"), file("s/g", "x").with(when), hardlink("l", "s/f"),
		symlink("up", "../victim"), file("d", ""), item{h: tar.Header{Name: "p", Typeflag: tar.TypeFifo}},
		file("x", "y").with(pax("SCHILY.xattr.user.a", "b")), file(strings.Repeat("long", 50), ""),
	)
	// In good, the file d meets a full directory: it is refused. This is not:
	f.Add(archive(f, directory("d"), file("d/f", "hello"), symlink("s", "d"), hardlink("s/l", "s/f"), file("s", "")))
	f.Add(good)
	f.Add(gzipped(f, good))
	f.Add(zstded(f, good))
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x00\x00\x00\x00\x1c\xdfD!\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ"))
	f.Add(sparseArchive(f, 100_000, []int64{0, 5000}))
	f.Add(slices.Concat(rawHeader("s", 'S', 512, map[int]string{386: "00000000000\x0000000000001\x00", 483: "00000010000\x00"}), make([]byte, 512), endMark))
	f.Add(slices.Concat(paxHeader('x', paxRecord("path", "a/../../victim/file")), rawHeader("x", '0', 0, nil), endMark))
	f.Add(archive(f, file("../victim/file", "x")))
	limits := Limits{Bytes: 1 << 20, Entries: 50, HeaderBytes: 1 << 16, RatioFree: 1 << 20}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return
		}
		p := newPlace(t)
		stats, err := unpack(t, p, data, Options{Limits: limits})
		if err != nil {
			return // unpack has checked that the root is empty
		}
		if stats.Bytes > limits.Bytes || stats.Entries > limits.Entries {
			t.Errorf("over the limits: %+v", stats)
		}
		files := 0
		err = filepath.WalkDir(p.root.Name(), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				if os.Geteuid() != 0 && os.IsPermission(err) {
					return nil // a mode of the archive's
				}
				return err
			}
			files++
			if d.Type()&fs.ModeDevice != 0 {
				t.Errorf("a device: %q", path)
			}
			return nil
		})
		must(t, err)
		if files > limits.Entries+1 {
			t.Errorf("%d files", files)
		}
		// The same bytes give the same result however they arrive.
		before := p.before
		must(t, RemoveContents(p.root))
		again, err := Unpack(t.Context(), p.root, readFunc(bytes.NewBuffer(data).Read), Options{Limits: limits})
		if err != nil || again.Bytes != stats.Bytes || !slices.Equal(before, p.outside(t)) {
			t.Errorf("the second time: %+v, %v; the first: %+v", again, err, stats)
		}
	})
}
