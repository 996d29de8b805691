package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// item is one entry of an archive made for a test.
type item struct {
	h    tar.Header
	body string
}

func file(name, body string) item {
	return item{h: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, body: body}
}

func directory(name string) item {
	return item{h: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

func symlink(name, target string) item {
	return item{h: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
}

func hardlink(name, target string) item {
	return item{h: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o644}}
}

// with changes the header of an item.
func (i item) with(change func(h *tar.Header)) item {
	change(&i.h)
	return i
}

func pax(key, value string) func(*tar.Header) {
	return func(h *tar.Header) {
		h.Format = tar.FormatPAX
		h.PAXRecords = map[string]string{key: value}
	}
}

// archive writes items as the current user's, unless they say otherwise.
func archive(tb testing.TB, items ...item) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, it := range items {
		h := it.h
		h.Size = int64(len(it.body))
		if h.Uid == 0 && h.Gid == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Uid, h.Gid = os.Getuid(), os.Getgid()
		}
		must(tb, w.WriteHeader(&h))
		_, err := w.Write([]byte(it.body))
		must(tb, err)
	}
	must(tb, w.Close())
	return buf.Bytes()
}

// rawHeader is a header block that archive/tar would not write. fields are
// offsets and what stands there.
func rawHeader(name string, typeflag byte, size int64, fields map[int]string) []byte {
	block := make([]byte, blockSize)
	copy(block, name)
	copy(block[100:], "0000644\x00")
	copy(block[108:], fmt.Sprintf("%07o\x00", os.Getuid()))
	copy(block[116:], fmt.Sprintf("%07o\x00", os.Getgid()))
	copy(block[124:], fmt.Sprintf("%011o\x00", size))
	copy(block[136:], "00000000000\x00")
	block[156] = typeflag
	copy(block[257:], "ustar\x0000")
	for off, s := range fields {
		copy(block[off:], s)
	}
	copy(block[148:], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return block
}

// padded fills p up to a whole block.
func padded(p []byte) []byte {
	return append(p, make([]byte, (blockSize-len(p)%blockSize)%blockSize)...)
}

var endMark = make([]byte, 2*blockSize)

// paxHeader is an extended header of raw records.
func paxHeader(typeflag byte, records string) []byte {
	return slices.Concat(rawHeader("pax", typeflag, int64(len(records)), nil), padded([]byte(records)))
}

func paxRecord(key, value string) string {
	n := len(key) + len(value) + 3
	for size := n + len(strconv.Itoa(n)); ; size++ {
		if s := fmt.Sprintf("%d %s=%s\n", size, key, value); len(s) == size {
			return s
		}
	}
}

// sparseArchive holds one file "sparse" of the given size in GNU's pax format
// 1.0, with one byte of data at each offset.
func sparseArchive(tb testing.TB, size int64, offsets []int64) []byte {
	tb.Helper()
	var list strings.Builder
	fmt.Fprintf(&list, "%d\n", len(offsets))
	for _, off := range offsets {
		fmt.Fprintf(&list, "%d\n1\n", off)
	}
	data := append(padded([]byte(list.String())), bytes.Repeat([]byte("x"), len(offsets))...)
	records := paxRecord("GNU.sparse.major", "1") + paxRecord("GNU.sparse.minor", "0") +
		paxRecord("GNU.sparse.name", "sparse") + paxRecord("GNU.sparse.realsize", strconv.FormatInt(size, 10))
	return slices.Concat(paxHeader('x', records), rawHeader("GNUSparseFile.0/sparse", '0', int64(len(data)), nil), padded(data), endMark)
}

func gzipped(tb testing.TB, p []byte) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(p)
	must(tb, err)
	must(tb, w.Close())
	return buf.Bytes()
}

func zstded(tb testing.TB, p []byte) []byte {
	tb.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	must(tb, err)
	return w.EncodeAll(p, nil)
}

// piped is what program writes when it reads p.
func piped(tb testing.TB, p []byte, program string, args ...string) []byte {
	tb.Helper()
	if _, err := exec.LookPath(program); err != nil {
		tb.Skipf("no %s program", program)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = bytes.NewReader(p)
	out, err := cmd.Output()
	must(tb, err)
	return out
}

// place is a root to unpack into, with things around it that an archive must
// not touch: root, and beside it victim/ with a file, a symlink and a FIFO.
type place struct {
	top    string
	root   *os.File
	before []string
}

func newPlace(tb testing.TB) place {
	tb.Helper()
	top := tb.TempDir()
	root := filepath.Join(top, "root")
	victim := filepath.Join(top, "victim")
	must(tb, os.Mkdir(root, 0o755))
	must(tb, os.Mkdir(victim, 0o755))
	must(tb, os.WriteFile(filepath.Join(victim, "file"), []byte("untouched"), 0o600))
	must(tb, os.Symlink("file", filepath.Join(victim, "link")))
	must(tb, os.Symlink("../root", filepath.Join(victim, "toroot")))
	must(tb, syscall.Mkfifo(filepath.Join(victim, "fifo"), 0o600))
	p := place{top: top, root: openDirectory(tb, root)}
	p.before = p.outside(tb)
	tb.Cleanup(func() { must(tb, RemoveContents(p.root)) }) // modes that t.TempDir cannot handle
	return p
}

// outside describes everything in top but the root.
func (p place) outside(tb testing.TB) []string {
	tb.Helper()
	all := listTree(tb, p.top)
	return slices.DeleteFunc(all, func(line string) bool {
		return strings.HasPrefix(line, "root ") || strings.HasPrefix(line, "root/") || strings.HasPrefix(line, ". ")
	})
}

// checkOutside fails if anything around the root has changed.
func (p place) checkOutside(tb testing.TB) {
	tb.Helper()
	if after := p.outside(tb); !slices.Equal(p.before, after) {
		tb.Errorf("outside of the root:\n%s\nwas\n%s", strings.Join(after, "\n"), strings.Join(p.before, "\n"))
	}
}

// tree lists what is in the root, as listTree does, without the root itself.
func (p place) tree(tb testing.TB) []string {
	tb.Helper()
	return slices.DeleteFunc(listTree(tb, p.root.Name()), func(line string) bool { return strings.HasPrefix(line, ". ") })
}

// path joins name to the root.
func (p place) path(name string) string { return filepath.Join(p.root.Name(), name) }

// listTree describes each file below top in a line: name, mode, owner, links,
// size, time, content or target. Only its own user or root can read everything.
func listTree(tb testing.TB, top string) []string {
	tb.Helper()
	first := map[uint64]string{}
	var lines []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%s %o %d:%d %d.%09d", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if len(content) > 64 {
				content = fmt.Appendf(nil, "%x", checksum(content))
			}
			line += fmt.Sprintf(" links=%d size=%d %q", st.Nlink, st.Size, content)
		case syscall.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" -> %q", target)
		}
		if st.Nlink > 1 && !d.IsDir() {
			if other, ok := first[st.Ino]; ok {
				line += " = " + other
			} else {
				first[st.Ino] = rel
			}
		}
		lines = append(lines, line)
		return nil
	})
	must(tb, err)
	return lines
}
