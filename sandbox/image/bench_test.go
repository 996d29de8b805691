package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// BenchmarkUnpack unpacks 5,000 small files in 250 directories, and GNU tar
// does the same beside it.
func BenchmarkUnpack(b *testing.B) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	body := bytes.Repeat([]byte("x"), 3000)
	for d := range 250 {
		dir := fmt.Sprintf("usr/share/some/where/%03d/", d)
		must(b, w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}))
		for f := range 20 {
			must(b, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%sfile%d", dir, f), Size: int64(len(body)), Mode: 0o644}))
			_, err := w.Write(body)
			must(b, err)
		}
	}
	must(b, w.Close())
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			dir := openDirectory(b, b.TempDir())
			_, err := Unpack(b.Context(), dir, bytes.NewReader(archive.Bytes()), Options{})
			must(b, err)
		}
	})
	b.Run("remove", func(b *testing.B) {
		dir := openDirectory(b, b.TempDir())
		for b.Loop() {
			b.StopTimer()
			_, err := Unpack(b.Context(), dir, bytes.NewReader(archive.Bytes()), Options{})
			must(b, err)
			b.StartTimer()
			must(b, RemoveContents(dir))
		}
	})
	b.Run("GNU", func(b *testing.B) {
		tarPath, err := exec.LookPath("tar")
		if err != nil {
			b.Skip("no tar program")
		}
		for b.Loop() {
			cmd := exec.Command(tarPath, "-x", "--numeric-owner", "-C", b.TempDir())
			cmd.Stdin = bytes.NewReader(archive.Bytes())
			must(b, cmd.Run())
		}
	})
}

// BenchmarkHoles is the cost of one sparse gigabyte.
func BenchmarkHoles(b *testing.B) {
	archive := sparseArchive(b, 1<<30, nil)
	b.SetBytes(1 << 30)
	for b.Loop() {
		dir := openDirectory(b, b.TempDir())
		_, err := Unpack(b.Context(), dir, bytes.NewReader(archive), Options{})
		must(b, err)
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func openDirectory(tb testing.TB, path string) *os.File {
	tb.Helper()
	f, err := os.Open(path)
	must(tb, err)
	tb.Cleanup(func() { f.Close() })
	return f
}
