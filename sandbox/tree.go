package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// placement is the fact for one mount: a detached mount and where it goes.
type placement struct {
	target string   // absolute, clean, as "/" is the root's
	mount  *os.File // detached until attached
	file   bool     // the mount is a file, not a directory
	name   string   // how errors name it: what the user typed

	// readOnly is set once everything is attached: mount points inside may
	// have to be made first. Host trees are read-only from the start.
	readOnly bool
	// optional: the mount is left out when its target is missing and cannot
	// be made in a file system of ours.
	optional bool
	// hostPath is where the mount's content lies on the host, when what we
	// make in it would be made there.
	hostPath string
	// foreign: we make nothing in it (a read-only host tree).
	foreign bool
	// owner has what we make in it; nil: the sandbox's uid 0.
	owner *User
}

// tree assembles a root: one base mount, and placements on it. All of it is
// mounted in the supervisor's private mount namespace; the sandbox's own
// namespace gets a copy whose mounts are locked together (mount_namespaces(7)).
type tree struct {
	ids   idPlan
	state state
	base  placement
	root  *os.File // O_PATH of the attached base
	stubs *stubs

	placements []placement
	attached   []placement
}

// close closes the descriptors of the mounts; what is attached stays.
func (t *tree) close() error {
	var errs []error
	for _, p := range slices.Concat(t.placements, t.attached, []placement{t.base}) {
		if p.mount != nil {
			errs = append(errs, p.mount.Close())
		}
	}
	t.placements, t.attached, t.base.mount = nil, nil, nil
	if t.root != nil {
		errs = append(errs, t.root.Close())
		t.root = nil
	}
	return errors.Join(errs...)
}

// attachBase mounts the root itself.
func (t *tree) attachBase(base placement, undo *closers) error {
	t.base = base
	dst, err := os.OpenFile(t.state.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	undo.add(func() error { return detach(t.state.root) })
	if err := attach(base.mount, dst); err != nil {
		return err
	}
	t.root, err = os.OpenFile(t.state.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	return err
}

// detach unmounts path and everything on it, if something is mounted there.
func detach(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "umount", Path: path, Err: err}
}

func (t *tree) add(p placement) { t.placements = append(t.placements, p) }

// attachAll mounts the placements, parents first; of several on one target the
// last one wins.
func (t *tree) attachAll() error {
	for i := range t.placements {
		p := &t.placements[i]
		real, err := t.resolve(p.target)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		p.target = real
		if real == "/" {
			return fmt.Errorf("%s: invalid mount target %q", p.name, "/")
		}
	}
	slices.SortStableFunc(t.placements, func(a, b placement) int { return comparePaths(a.target, b.target) })
	for len(t.placements) > 0 {
		p := t.placements[0]
		t.placements = t.placements[1:]
		if len(t.placements) > 0 && t.placements[0].target == p.target {
			p.mount.Close()
			continue
		}
		if err := t.attachOne(p); err != nil {
			p.mount.Close()
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (t *tree) attachOne(p placement) error {
	dst, err := openInRoot(t.root, p.target, unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		dst, err = t.makeTarget(p)
		if err != nil && p.optional {
			return p.mount.Close()
		}
	}
	if err != nil {
		return err
	}
	defer dst.Close()
	st, err := stat(dst)
	if err != nil {
		return err
	}
	switch isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR; {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return fmt.Errorf("target %q is a symlink inside of another mount", p.target)
	case isDir && p.file:
		return fmt.Errorf("target %q is a directory, the source is a file", p.target)
	case !isDir && !p.file:
		return fmt.Errorf("target %q is a file, the source is a directory", p.target)
	}
	if err := attach(p.mount, dst); err != nil {
		return err
	}
	t.attached = append(t.attached, p)
	return nil
}

// seal makes read-only what had to be written to until now.
func (t *tree) seal() error {
	for _, p := range append(t.attached, t.base) {
		if p.readOnly {
			if err := setReadOnly(p.mount); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

// resolve returns the real path of target: symlinks of the base are followed,
// inside the root. What lies in another placement is taken as it is written:
// the base's entries there will be covered, and may be anybody's (/tmp).
func (t *tree) resolve(target string) (string, error) {
	todo := splitPath(target)
	real := "/"
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			if real == "/" {
				return "", &LeavesRootError{target}
			}
			real = filepath.Dir(real)
			continue
		}
		next := filepath.Join(real, name)
		if t.isPlaced(next) {
			return filepath.Join(append([]string{next}, todo...)...), nil
		}
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(t.root.Fd()), next[1:], buf)
		switch {
		case errors.Is(err, unix.EINVAL): // not a symlink
			real = next
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			return filepath.Join(append([]string{next}, todo...)...), nil
		case err != nil:
			return "", &os.PathError{Op: "readlink", Path: next, Err: err}
		default:
			if links++; links > 40 {
				return "", &os.PathError{Op: "resolve", Path: target, Err: unix.ELOOP}
			}
			link := string(buf[:n])
			if filepath.IsAbs(link) {
				real = "/"
			}
			todo = append(splitPath(link), todo...)
		}
	}
	return real, nil
}

// LeavesRootError says that a path crosses a symlink that climbs above the root.
type LeavesRootError struct{ Path string }

// Error names the path.
func (e *LeavesRootError) Error() string {
	return fmt.Sprintf("%q is a symlink that leaves the root", e.Path)
}

// isPlaced tells whether path is the target of a placement.
func (t *tree) isPlaced(path string) bool {
	return slices.ContainsFunc(t.placements, func(p placement) bool { return p.target == path })
}

// splitPath returns the components of path, without empty ones and ".".
func splitPath(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

// under returns the attached placement that path lies in, the base at last.
func (t *tree) under(path string) placement {
	best := t.base
	best.target = "/"
	for _, p := range t.attached {
		if isBelow(path, p.target) && len(p.target) >= len(best.target) {
			best = p
		}
	}
	return best
}

// makeTarget makes a mount point that does not exist: an empty file or
// directory, and the directories above it.
func (t *tree) makeTarget(p placement) (*os.File, error) {
	existing, missing := p.target, []string(nil)
	var dir *os.File
	for {
		missing = append(missing, filepath.Base(existing))
		existing = filepath.Dir(existing)
		f, err := openInRoot(t.root, existing, unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			dir = f
			break
		}
		if !errors.Is(err, unix.ENOENT) || existing == "/" {
			return nil, err
		}
	}
	slices.Reverse(missing)
	existing, err := t.inside(dir)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	in := t.under(existing)
	if in.foreign || (p.optional && in.hostPath != "") {
		dir.Close()
		return nil, &MissingTargetError{Target: p.target, Dir: existing}
	}
	for i, name := range missing {
		f, err := t.makeStub(dir, name, in, filepath.Join(existing, filepath.Join(missing[:i]...)), p.file && i == len(missing)-1)
		dir.Close()
		if err != nil {
			return nil, fmt.Errorf("make mount point %q: %w", p.target, err)
		}
		dir = f
	}
	return dir, nil
}

// inside returns the path of an open file of the tree, as "/" is the root's.
func (t *tree) inside(f *os.File) (string, error) {
	real, err := os.Readlink(fdPath(f))
	if err != nil {
		return "", err
	}
	path, ok := strings.CutPrefix(real, t.state.root)
	if !ok {
		return "", fmt.Errorf("%q leaves the root", f.Name())
	}
	return filepath.Join("/", path), nil
}

// MissingTargetError says that a mount point does not exist and that we will
// not make it: its directory is a read-only view of the host.
type MissingTargetError struct{ Target, Dir string }

// Error names both.
func (e *MissingTargetError) Error() string {
	return fmt.Sprintf("target %q does not exist, and %q is a read-only view of the host", e.Target, e.Dir)
}

// makeStub makes one entry and opens it.
func (t *tree) makeStub(dir *os.File, name string, in placement, parent string, file bool) (_ *os.File, err error) {
	record := func() error { return nil }
	if in.hostPath != "" { // journaled first, so that a SIGKILL leaves a record
		rel, err := filepath.Rel(in.target, parent)
		if err != nil {
			return nil, err
		}
		if record, err = t.stubs.announce(dir, filepath.Join(in.hostPath, rel), name); err != nil {
			return nil, err
		}
	}
	if file {
		var fd int
		fd, err = unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		if err == nil {
			err = unix.Close(fd)
		}
	} else {
		err = unix.Mkdirat(int(dir.Fd()), name, 0o755)
	}
	if err != nil {
		return nil, err
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	uid, gid := t.ids.root()
	if in.owner != nil {
		uid, _ = t.ids.uid(in.owner.UID)
		gid, _ = t.ids.gid(in.owner.GID)
	}
	if uid != 0 || gid != 0 {
		err = unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
	}
	if err := errors.Join(err, record()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// isBelow reports whether path is dir or lies below it; both are clean.
func isBelow(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// comparePaths orders clean paths so that a directory comes before what is in it.
func comparePaths(a, b string) int {
	return cmp.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}
