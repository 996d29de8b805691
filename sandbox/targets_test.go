package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestIsBelow(t *testing.T) {
	for _, tt := range []struct {
		path, dir string
		want      bool
	}{
		{"/", "/", true}, {"/a", "/", true}, {"/a", "/a", true}, {"/a/b", "/a", true},
		{"/ab", "/a", false}, {"/a", "/a/b", false}, {"/a", "/b", false}, {"/a b", "/a", false},
	} {
		if got := isBelow(tt.path, tt.dir); got != tt.want {
			t.Errorf("isBelow(%q, %q) = %v, want %v", tt.path, tt.dir, got, tt.want)
		}
	}
}

// Every directory comes before what is in it, whatever bytes its neighbours
// have that sort before "/".
func TestComparePaths(t *testing.T) {
	paths := []string{"/a/b/c", "/a b", "/a!", "/a/b", "/a.b", "/a", "/a-b/c", "/a-b", "/a/\x01"}
	slices.SortFunc(paths, comparePaths)
	for i, p := range paths {
		for _, later := range paths[i+1:] {
			if isBelow(p, later) {
				t.Errorf("%q is sorted before %q, which contains it: %q", p, later, paths)
			}
		}
	}
}

// testTree is a tree whose base and mounts are plain directories: resolving
// reads links through descriptors and nothing else.
func testTree(t *testing.T, mounts ...string) (*tree, string) {
	t.Helper()
	dir := t.TempDir()
	open := func(path string) *os.File {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	tr := &tree{root: open(filepath.Join(dir, "root"))}
	for _, m := range mounts {
		tr.add(placement{target: m, name: m, mount: open(mountDir(dir, m))})
	}
	return tr, dir
}

// mountDir is where testTree has the content of the mount at target.
func mountDir(dir, target string) string {
	return filepath.Join(dir, "mounts", strings.ReplaceAll(target, "/", "_"))
}

func link(t *testing.T, path, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	tr, dir := testTree(t, "/tmp", "/data/sub", "/opt")
	root := filepath.Join(dir, "root")
	link(t, root+"/rel", "usr/x")
	link(t, root+"/abs", "/usr/x")
	link(t, root+"/chain", "rel/../../abs")
	link(t, root+"/to-tmp", "/tmp/y")
	link(t, root+"/tmp/hostile", "/etc") // the base's /tmp is covered
	link(t, root+"/out", "../x")
	link(t, root+"/usr/deep", "../../../x")
	link(t, root+"/usr/ok", "../x")
	link(t, root+"/loop", "loop")
	link(t, root+"/data/sub/x", "/wrong")
	link(t, mountDir(dir, "/data/sub")+"/x", "/right")
	link(t, mountDir(dir, "/opt")+"/up", "../../x")
	for _, tt := range []struct{ target, want string }{
		{"/a/b", "/a/b"},
		{"/rel", "/usr/x"},
		{"/rel/y", "/usr/x/y"},
		{"/abs/y", "/usr/x/y"},
		{"/chain", "/usr/x"},
		{"/to-tmp/z", "/tmp/y/z"},
		{"/tmp/hostile/f", "/tmp/hostile/f"},
		{"/usr/ok", "/x"},
		{"/data/sub/x/f", "/right/f"},
		{"/data/sub", "/data/sub"},
		{"/missing/../..", "LEAVES /missing/../.."},
		{"/out/f", "LEAVES /out"},
		{"/usr/deep", "LEAVES /usr/deep"},
		{"/opt/up", "LEAVES /opt/up"},
		{"/loop", "ELOOP"},
	} {
		got, err := tr.resolve(tt.target)
		var leaves *LeavesRootError
		switch {
		case errors.As(err, &leaves):
			got = "LEAVES " + leaves.Path
		case errors.Is(err, unix.ELOOP):
			got = "ELOOP"
		case err != nil:
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("resolve(%q) = %q, want %q", tt.target, got, tt.want)
		}
	}
}

// Targets depend on each other's symlinks, in any order of the flags.
func TestResolveTargets(t *testing.T) {
	for _, order := range [][]string{
		{"/link", "/link/sub/x", "/other/y"},
		{"/other/y", "/link/sub/x", "/link"},
		{"/link/sub/x", "/other/y", "/link"},
	} {
		tr, dir := testTree(t, order...)
		link(t, dir+"/root/link", "/real")
		link(t, mountDir(dir, "/link")+"/sub", "../other")
		link(t, dir+"/root/real/sub", "/covered")
		if err := tr.resolveTargets(); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"/link": "/real", "/link/sub/x": "/other/x", "/other/y": "/other/y"}
		for i, typed := range order {
			if got := tr.placements[i].target; got != want[typed] {
				t.Errorf("order %q: %q becomes %q, want %q", order, typed, got, want[typed])
			}
		}
	}
}

func TestCheckTarget(t *testing.T) {
	for _, path := range []string{"/", "/proc", "/proc/self/fd", "/sys", "/sys/x", "/dev"} {
		tr, _ := testTree(t, path)
		if err := tr.resolveTargets(); err != nil {
			t.Errorf("our own mount at %q: %v", path, err)
		}
		tr.placements[0].asked = true
		if err := tr.resolveTargets(); err == nil {
			t.Errorf("the caller's mount at %q is not refused", path)
		}
	}
	for _, path := range []string{"/dev/shm", "/devices", "/process", "/system", "/a"} {
		if err := checkTarget(path); err != nil {
			t.Errorf("checkTarget(%q): %v", path, err)
		}
	}
}
