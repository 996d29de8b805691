package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hostRoot plans the caller's own root: the host's tree, read-only, with
// private file systems over what must not be shared.
type hostRoot struct {
	slash  *os.File // a clone of "/", without what we mount for ourselves
	view   HostView
	user   User   // of pid 1
	home   string // that user's home in the host's passwd, or ""
	caller string // the caller's home in the host's passwd, or ""

	runtimeDir string // our own sockets: never shown
	network    Network
	notice     func(string)
}

// private are the directories of the host root that are the sandbox's own.
var private = []struct {
	path string
	mode Mode
}{
	{"/tmp", 0o1777}, {"/var/tmp", 0o1777}, {"/run", 0o755},
}

// base returns the detached host tree. fresh: "/" itself is a tmpfs with the
// host's entries mounted one by one, so that mount points can be made in it.
func (h hostRoot) base(t *tree, fresh bool) (placement, error) {
	if fresh {
		return h.freshBase(t)
	}
	if t.ids.shifted {
		return h.shiftedBase(t)
	}
	if err := setTree(h.slash, attrSafe|unix.MOUNT_ATTR_RDONLY); err != nil {
		return placement{}, err
	}
	return placement{name: "host root", mount: h.slash, foreign: true}, nil
}

// freshBase makes an empty root; its entries become placements.
func (h hostRoot) freshBase(t *tree) (placement, error) {
	uid, gid := t.ids.root()
	mount, err := newTmpfs(tmpfsOptions{mode: 0o755, uid: uid, gid: gid}, attrSafe)
	if err != nil {
		return placement{}, err
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		mount.Close()
		return placement{}, err
	}
	for _, e := range entries {
		path := "/" + e.Name()
		switch {
		case e.Type()&os.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err == nil {
				err = unix.Symlinkat(link, int(mount.Fd()), e.Name())
			}
			if err != nil {
				return placement{}, errors.Join(err, mount.Close())
			}
		case e.IsDir() || e.Type().IsRegular():
			if slices.Contains([]string{"/proc", "/sys", "/dev"}, path) {
				if err := unix.Mkdirat(int(mount.Fd()), e.Name(), 0o755); err != nil {
					return placement{}, errors.Join(err, mount.Close())
				}
				continue
			}
			p, err := hostTree(t, path, true)
			if err != nil {
				return placement{}, errors.Join(err, mount.Close())
			}
			p.name = "host root"
			t.add(p)
		}
	}
	return placement{name: "host root", mount: mount, readOnly: true}, nil
}

// shiftedBase is the host tree for root's sandbox: idmapped mounts, so that
// files of the host's root belong to the sandbox's. A file system that cannot
// is shown as everybody sees it. Only "/" is the base; what is mounted on the
// host below it becomes placements, for each is mapped on its own.
func (h hostRoot) shiftedBase(t *tree) (placement, error) {
	mounts, err := mountPoints()
	if err != nil {
		return placement{}, err
	}
	clone := func(path string) (*os.File, error) {
		fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return nil, &os.PathError{Op: "open_tree", Path: path, Err: err}
		}
		m := os.NewFile(uintptr(fd), path)
		if err := setTree(m, attrSafe|unix.MOUNT_ATTR_RDONLY); err != nil {
			return nil, errors.Join(err, m.Close())
		}
		// EINVAL, EPERM: no idmapped mounts of this file system here.
		if err := t.ids.shift(m, false); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
			return nil, errors.Join(err, m.Close())
		}
		return m, nil
	}
	base, err := clone("/")
	if err != nil {
		return placement{}, err
	}
	for _, path := range mounts {
		if path == "/" || h.covered(path) {
			continue
		}
		m, err := clone(path)
		if err != nil { // hidden below another mount, or gone meanwhile
			continue
		}
		st, err := stat(m)
		if err != nil {
			return placement{}, errors.Join(err, m.Close(), base.Close())
		}
		t.add(placement{target: path, name: "host root", mount: m, foreign: true, optional: true, file: st.Mode&unix.S_IFMT != unix.S_IFDIR})
	}
	return placement{name: "host root", mount: base, foreign: true}, nil
}

// covered tells whether path lies in what the host root never shows.
func (h hostRoot) covered(path string) bool {
	for _, dir := range []string{"/proc", "/dev", "/tmp", "/var/tmp", "/run"} {
		if isBelow(path, dir) {
			return true
		}
	}
	return isBelow(path, "/sys") && h.network != NetworkHost
}

// mountPoints returns the mount points of our namespace in their order.
func mountPoints() ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var out []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 {
			out = append(out, unescape.Replace(f[4]))
		}
	}
	return out, nil
}

// plan adds everything that lies on the base.
func (h hostRoot) plan(t *tree) error {
	uid, gid := t.ids.root()
	add := func(target string, o tmpfsOptions, p placement) error {
		m, err := newTmpfs(o, attrSafe)
		if err != nil {
			return fmt.Errorf("make private %q: %w", target, err)
		}
		p.target, p.mount, p.optional = target, m, true
		p.name = fmt.Sprintf("private %q", target)
		t.add(p)
		return nil
	}
	empty := []string{"/proc"}
	if h.network != NetworkHost {
		empty = append(empty, "/sys")
	}
	for _, dir := range empty { // below what libcontainer mounts there
		if err := add(dir, tmpfsOptions{mode: 0o555, uid: uid, gid: gid}, placement{readOnly: true}); err != nil {
			return err
		}
	}
	for _, d := range private {
		if err := add(d.path, tmpfsOptions{mode: d.mode, uid: uid, gid: gid}, placement{}); err != nil {
			return err
		}
	}
	homes := h.homes()
	for _, home := range homes {
		o := tmpfsOptions{mode: 0o700}
		o.uid, _ = t.ids.uid(h.user.UID)
		o.gid, _ = t.ids.gid(h.user.GID)
		if err := add(home, o, placement{owner: &h.user}); err != nil {
			return err
		}
		for _, dir := range toolchains {
			path := filepath.Join(home, dir)
			if fi, err := os.Stat(path); err != nil || !fi.IsDir() {
				continue
			}
			p, err := hostTree(t, path, true)
			if err != nil {
				return err
			}
			p.name, p.optional = fmt.Sprintf("toolchain %q", path), true
			t.add(p)
		}
	}
	if err := h.planCwd(t, homes); err != nil {
		return err
	}
	if h.runtimeDir != "" && !h.covered(h.runtimeDir) {
		if err := add(h.runtimeDir, tmpfsOptions{mode: 0}, placement{readOnly: true}); err != nil {
			return err
		}
	}
	return nil
}

// homes returns the real paths of the homes that become private.
func (h hostRoot) homes() []string {
	var out []string
	for _, home := range []string{h.view.Home, h.caller, h.home} {
		if home == "" {
			continue
		}
		real, err := filepath.EvalSymlinks(home)
		if err != nil || !filepath.IsAbs(real) {
			continue // nothing of it to be seen
		}
		isPrivate := slices.ContainsFunc(private, func(d struct {
			path string
			mode Mode
		}) bool {
			return d.path == real
		})
		// A home of / or /proc is no home; its content is dealt with anyway.
		if real == "/" || isPrivate || isBelow(real, "/proc") || isBelow(real, "/dev") || isBelow(real, "/sys") || slices.Contains(out, real) {
			continue
		}
		out = append(out, real)
	}
	return out
}

// planCwd shows the caller's working directory, read-only, at its own path.
func (h hostRoot) planCwd(t *tree, homes []string) error {
	cwd := h.view.Cwd
	if cwd == "" {
		return nil
	}
	hidden := append([]string{"/"}, homes...)
	for _, d := range private {
		hidden = append(hidden, d.path)
	}
	if slices.Contains(hidden, cwd) {
		if cwd != "/" {
			h.notice(fmt.Sprintf("%s is private to the sandbox: your files in it are not shown, unless with --ro", cwd))
		}
		return nil
	}
	if !slices.ContainsFunc(hidden[1:], func(dir string) bool { return isBelow(cwd, dir) }) {
		return nil // the host tree shows it already
	}
	p, err := hostTree(t, cwd, true)
	if err != nil {
		return err
	}
	p.name = fmt.Sprintf("working directory %q", cwd)
	t.add(p)
	return nil
}

// cover returns something empty of the kind that path is, which nobody inside
// can look into.
func (t *tree) cover(path string) (placement, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return placement{}, err
	}
	if fi.IsDir() {
		m, err := newTmpfs(tmpfsOptions{mode: 0}, attrNoExec)
		return placement{target: path, mount: m, readOnly: true}, err
	}
	m, err := t.file("empty", nil, 0)
	return placement{target: path, mount: m, file: true}, err
}

// hostTree returns the placement that shows a host path at its own path.
func hostTree(t *tree, path string, readOnly bool) (placement, error) {
	m, err := cloneTree(path)
	if err != nil {
		return placement{}, err
	}
	p, err := t.hostMount(m, readOnly)
	if err != nil {
		return placement{}, errors.Join(err, m.Close())
	}
	p.target = path
	if !readOnly {
		p.hostPath = path
	}
	return p, nil
}

// hostMount turns a detached clone of a host tree into a placement without
// target.
func (t *tree) hostMount(m *os.File, readOnly bool) (placement, error) {
	attrs := uint64(attrSafe)
	if readOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	if err := setTree(m, attrs); err != nil {
		return placement{}, err
	}
	if err := t.ids.shift(m, true); err != nil {
		return placement{}, &ShiftError{Path: m.Name(), Err: err}
	}
	st, err := stat(m)
	if err != nil {
		return placement{}, err
	}
	return placement{mount: m, foreign: readOnly, file: st.Mode&unix.S_IFMT != unix.S_IFDIR}, nil
}

// ShiftError says that a host path cannot be shown to a sandbox that root
// started: its file system has no idmapped mounts.
type ShiftError struct {
	Path string
	Err  error
}

// Error names the path.
func (e *ShiftError) Error() string {
	return fmt.Sprintf("map the owners of %q: %v", e.Path, e.Err)
}

// Unwrap returns the system's error.
func (e *ShiftError) Unwrap() error { return e.Err }
