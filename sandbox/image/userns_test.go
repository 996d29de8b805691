package image

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inUserNS reports whether this is the test in a user namespace that maps
// nothing but 0, with mounts of its own. If not, it has run there, and the
// caller is to return.
func inUserNS(t *testing.T) bool {
	t.Helper()
	const marker = "IMAGE_TEST_IN_USERNS"
	if os.Getenv(marker) != "" {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), marker+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skipf("needs user namespaces: %v", err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		t.Fatalf("in the namespace: %v\n%s", err, out.String())
	}
	return false
}

func TestUnpackSingleID(t *testing.T) {
	if !inUserNS(t) {
		return
	}
	mode := func(uid, gid int) func(*tar.Header) {
		return func(h *tar.Header) { h.Uid, h.Gid, h.Mode = uid, gid, 0o6755 }
	}
	p := newPlace(t)
	stats, err := unpack(t, p, archive(t,
		file("root", "").with(mode(0, 0)),
		file("user", "").with(mode(1000, 0)),
		file("group", "").with(mode(0, 42)),
		file("both", "").with(mode(1000, 1000)),
		file("nobody", "").with(mode(1<<32-1, 1<<40)),
		file("negative", "").with(func(h *tar.Header) { h.Uid, h.Gid, h.Mode, h.Format = -2, -1, 0o6755, tar.FormatGNU }),
		symlink("link", "x").with(mode(7, 7)),
		directory("closed").with(func(h *tar.Header) { h.Mode = 0 }),
		file("closed/inside", ""),
	), Options{})
	must(t, err)
	if stats.UnmappedOwners != 6 {
		t.Errorf("%d owners not mapped, want 6", stats.UnmappedOwners)
	}
	for name, want := range map[string]uint32{"root": 0o6755, "user": 0o2755, "group": 0o4755, "both": 0o755, "nobody": 0o755, "negative": 0o755} {
		var st unix.Stat_t
		must(t, unix.Lstat(p.path(name), &st))
		if st.Uid != 0 || st.Gid != 0 || st.Mode&0o7777 != want {
			t.Errorf("%s: %d:%d mode %o, want 0:0 %o", name, st.Uid, st.Gid, st.Mode&0o7777, want)
		}
	}
}
