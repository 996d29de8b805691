package image

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRemoveContents(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, p place)
	}{
		{"nothing", func(*testing.T, place) {}},
		{"links lead out", func(t *testing.T, p place) {
			must(t, os.Symlink("../victim", p.path("a")))
			must(t, os.MkdirAll(p.path("d/e"), 0o755))
			must(t, os.Symlink("../../../victim", p.path("d/e/b")))
			must(t, os.Link(filepath.Join(p.top, "victim/link"), p.path("d/e/c")))
			must(t, os.Remove(p.path("d/e/c"))) // leaves the count as it was
		}},
		{"modes", func(t *testing.T, p place) {
			must(t, os.MkdirAll(p.path("a/b/c/d"), 0o755))
			must(t, os.WriteFile(p.path("a/b/c/d/f"), nil, 0))
			for _, dir := range []string{"a/b/c/d", "a/b/c", "a/b", "a", "."} {
				must(t, os.Chmod(p.path(dir), 0))
			}
		}},
		{"names like our own", func(t *testing.T, p place) {
			for _, name := range []string{".removing.1", ".removing.2/x/y", ".removing.3", "d/e/f/g", "d/h/i/j", ".removing.4/.removing.5/z"} {
				must(t, os.MkdirAll(p.path(filepath.Dir(name)), 0o755))
				must(t, os.WriteFile(p.path(name), nil, 0o600))
			}
		}},
		{"deep", func(t *testing.T, p place) {
			// Far deeper than PATH_MAX.
			fd, err := unix.Open(p.root.Name(), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			must(t, err)
			for range 3000 {
				must(t, unix.Mkdirat(fd, "deeper", 0o755))
				must(t, unix.Mkdirat(fd, "beside", 0o755))
				next, err := unix.Openat(fd, "deeper", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				must(t, err)
				must(t, unix.Close(fd))
				fd = next
			}
			must(t, unix.Close(fd))
		}},
		{"wide", func(t *testing.T, p place) {
			for i := range 200 {
				dir := p.path(strconv.Itoa(i))
				must(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
				for j := range 50 {
					must(t, os.WriteFile(filepath.Join(dir, "sub", strconv.Itoa(j)), nil, 0o600))
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			tt.make(t, p)
			if err := RemoveContents(p.root); err != nil {
				t.Fatal(err)
			}
			if tree := p.tree(t); len(tree) > 0 {
				t.Errorf("left:\n%s", strings.Join(tree, "\n"))
			}
			p.checkOutside(t)
		})
	}
}

func TestRemoveContentsStopsAtMounts(t *testing.T) {
	if !inUserNS(t) {
		return
	}
	p := newPlace(t)
	for _, dir := range []string{"a/b/mount", "a/c/d", "e"} {
		must(t, os.MkdirAll(p.path(dir), 0o755))
	}
	victim := filepath.Join(p.top, "victim")
	must(t, unix.Mount(victim, p.path("a/b/mount"), "", unix.MS_BIND|unix.MS_REC, ""))
	err := RemoveContents(p.root)
	// Moving a directory up takes the mount along.
	mounts, readErr := os.ReadFile("/proc/self/mounts")
	must(t, readErr)
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, p.root.Name()) {
			must(t, unix.Unmount(at, unix.MNT_DETACH))
		}
	}
	if err == nil || !strings.Contains(err.Error(), "mounted there") {
		t.Errorf("error %v, want one about the mount", err)
	}
	p.checkOutside(t)
	if left := shortTree(t, p); slices.Contains(left, "e/") || slices.Contains(left, "a/c/") {
		t.Errorf("left: %q", left)
	}
	must(t, RemoveContents(p.root))
}
