package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

	runtimeDir string // the caller's sockets, or at least our own: not shown unasked
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

// privateDirs returns the real paths of those directories, as far as they exist.
func privateDirs() []string {
	var out []string
	for _, d := range private {
		if real, err := filepath.EvalSymlinks(d.path); err == nil {
			out = append(out, real)
		}
	}
	return out
}

// systemDirs are where every system has its programs and libraries, by their
// real paths with and without a merged /usr.
var systemDirs = [...]string{"/bin", "/sbin", "/lib", "/usr/bin", "/usr/sbin", "/usr/lib", "/etc"}

// base returns the detached host tree. fresh: "/" itself is a tmpfs with the
// host's entries mounted one by one, so that mount points can be made in it.
func (h hostRoot) base(t *tree, fresh bool) (placement, error) {
	if t.ids.shifted {
		if err := h.planMounts(t); err != nil {
			return placement{}, err
		}
	}
	switch {
	case fresh:
		return h.freshBase(t)
	case t.ids.shifted:
		return h.show(t, "/")
	}
	if err := setTree(h.slash, attrSafe|unix.MOUNT_ATTR_RDONLY); err != nil {
		return placement{}, err
	}
	return placement{name: "host root", mount: h.slash, hostPath: "/", foreign: true}, nil
}

// show returns the placement of what the host has at path, read-only. For
// root's sandbox that is an idmapped mount, so that files of the host's root
// belong to the sandbox's, without the mounts below, for each is mapped on its
// own (planMounts). A file system that cannot do that is shown as everybody
// sees it.
func (h hostRoot) show(t *tree, path string) (placement, error) {
	if !t.ids.shifted {
		p, err := hostTree(t, path, true)
		p.name = "host root"
		return p, err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return placement{}, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	m := os.NewFile(uintptr(fd), path)
	if err := setTree(m, attrSafe|unix.MOUNT_ATTR_RDONLY); err != nil {
		return placement{}, errors.Join(err, m.Close())
	}
	// EINVAL, EPERM: no idmapped mounts of this file system here.
	if err := t.ids.shift(m, false); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return placement{}, errors.Join(err, m.Close())
	}
	st, err := stat(m)
	if err != nil {
		return placement{}, errors.Join(err, m.Close())
	}
	return placement{target: path, name: "host root", mount: m, hostPath: path, foreign: true, file: st.Mode&unix.S_IFMT != unix.S_IFDIR}, nil
}

// planMounts adds what is mounted on the host below its root.
func (h hostRoot) planMounts(t *tree) error {
	mounts, err := mountPoints()
	if err != nil {
		return err
	}
	for _, path := range mounts {
		if path == "/" || h.covered(path) {
			continue
		}
		p, err := h.show(t, path)
		var gone *os.PathError
		if errors.As(err, &gone) && gone.Op == "open_tree" {
			continue // hidden below another mount, or gone meanwhile
		}
		if err != nil {
			return err
		}
		// Below a private directory or what the caller asked for there is
		// nothing to be mounted on, or something else to be seen.
		p.cover, p.optional, p.implied = true, true, true
		t.add(p)
	}
	return nil
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
		return placement{}, errors.Join(err, mount.Close())
	}
	for _, e := range entries {
		path := "/" + e.Name()
		switch {
		case e.Type()&os.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err == nil {
				err = unix.Symlinkat(link, int(mount.Fd()), e.Name())
			}
			if err == nil {
				err = unix.Fchownat(int(mount.Fd()), e.Name(), uid, gid, unix.AT_SYMLINK_NOFOLLOW)
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
			p, err := h.show(t, path)
			if err != nil {
				return placement{}, errors.Join(err, mount.Close())
			}
			t.add(p)
		}
	}
	return placement{name: "host root", mount: mount, readOnly: true}, nil
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
			var shift *ShiftError
			if errors.As(err, &shift) { // nobody has asked for it: as the host root
				p, err = h.show(t, path)
			}
			if err != nil {
				return err
			}
			p.name, p.optional, p.implied = fmt.Sprintf("toolchain %q", path), true, true
			t.add(p)
		}
	}
	if err := h.planCwd(t, homes); err != nil {
		return err
	}
	if h.runtimeDir == "" {
		return nil
	}
	real, err := filepath.EvalSymlinks(h.runtimeDir)
	if err != nil {
		return err
	}
	if h.covered(real) && !isBelow(real, h.view.Cwd) {
		return nil
	}
	p, err := t.newCover(real, false)
	p.implied, p.optional = true, true
	t.add(p)
	return err
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
		// A home of /tmp or /proc is no home; its content is dealt with anyway.
		if slices.Contains(privateDirs(), real) || isBelow(real, "/proc") || isBelow(real, "/dev") || isBelow(real, "/sys") || slices.Contains(out, real) {
			continue
		}
		// Nor is one that holds the system's programs: Debian's user "bin" has
		// /bin, "daemon" has /usr/sbin.
		if slices.ContainsFunc(systemDirs[:], func(dir string) bool { return isBelow(dir, real) }) {
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
	hidden := slices.Concat([]string{"/"}, homes, privateDirs())
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
	p.name, p.implied = fmt.Sprintf("working directory %q", cwd), true
	t.add(p)
	return nil
}

// newCover returns something empty, a file or a directory, which nobody inside
// can look into; it is mounted on what is at path, if anything.
func (t *tree) newCover(path string, file bool) (placement, error) {
	p := placement{target: path, name: fmt.Sprintf("cover of %q", path), file: file, cover: true, closed: true}
	var err error
	if file {
		p.mount, err = t.file("empty"+strconv.Itoa(len(t.placements)), nil, 0)
	} else {
		// The sandbox's root owns it: it must be able to look up what is
		// mounted below a cover.
		uid, gid := t.ids.root()
		p.mount, err = newTmpfs(tmpfsOptions{mode: 0, uid: uid, gid: gid}, attrNoExec)
		p.readOnly = true
	}
	return p, err
}

// hostTree returns the placement that shows what is at path on the host at the
// same path.
func hostTree(t *tree, path string, readOnly bool) (placement, error) {
	f, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		return placement{}, err
	}
	defer f.Close()
	p, err := t.hostMount(f, readOnly)
	p.target = path
	return p, err
}

// hostMount returns the placement, without a target, that shows f of the host.
func (t *tree) hostMount(f *os.File, readOnly bool) (_ placement, err error) {
	p := placement{foreign: readOnly}
	if p.hostPath, err = os.Readlink(fdPath(f)); err != nil {
		return placement{}, err
	}
	st, err := stat(f)
	if err != nil {
		return placement{}, err
	}
	p.file = st.Mode&unix.S_IFMT != unix.S_IFDIR
	if p.mount, err = cloneFD(f); err != nil {
		return placement{}, err
	}
	attrs := uint64(attrSafe)
	if readOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	if err := setTree(p.mount, attrs); err != nil {
		return placement{}, errors.Join(err, p.mount.Close())
	}
	// A device is no file of anybody's, and devtmpfs has no idmapped mounts.
	device := st.Mode&unix.S_IFMT == unix.S_IFCHR || st.Mode&unix.S_IFMT == unix.S_IFBLK
	if err := t.ids.shift(p.mount, true); err != nil && !device {
		return placement{}, errors.Join(&ShiftError{Path: f.Name(), Err: err}, p.mount.Close())
	}
	return p, nil
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
