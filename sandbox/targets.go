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

// resolveTargets replaces the targets of all placements by real paths. What a
// symlink leads to may depend on another placement's real path, so it goes on
// until nothing changes.
func (t *tree) resolveTargets() error {
	typed := make([]string, len(t.placements))
	for i, p := range t.placements {
		typed[i] = p.target
	}
	for rounds, changed := 0, true; changed && rounds < maxLinks; rounds++ {
		changed = false
		for i := range t.placements {
			p := &t.placements[i]
			real, err := t.resolve(typed[i])
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			changed = changed || real != p.target
			p.target = real
		}
	}
	for _, p := range t.placements {
		if !p.asked {
			continue
		}
		if err := checkTarget(p.target); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// checkTarget refuses places that are the sandbox's own: what a caller mounts
// there would be covered by what every sandbox has.
func checkTarget(path string) error {
	switch {
	case path == "/":
		return fmt.Errorf("invalid mount target %q", path)
	case path == "/dev", isBelow(path, "/proc"), isBelow(path, "/sys"):
		return fmt.Errorf("target %q: what is there belongs to the sandbox", path)
	}
	return nil
}

// maxLinks is how many symlinks a path may cross, as in path_resolution(7).
const maxLinks = 40

// resolve returns the real path of target, as it will be when all placements
// are attached. Symlinks are followed inside the root, in whatever mount they
// lie, but the last part is looked up below any placement that is there: that
// one will be replaced.
func (t *tree) resolve(target string) (string, error) {
	todo := splitPath(target)
	real, culprit := "/", target
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			if real == "/" {
				return "", &LeavesRootError{culprit}
			}
			real = filepath.Dir(real)
			continue
		}
		next := filepath.Join(real, name)
		within := real
		if len(todo) > 0 {
			within = next
		}
		at, mount := t.mountOf(within)
		if at == next {
			real = next
			continue
		}
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(mount.Fd()), strings.TrimPrefix(next[len(at):], "/"), buf)
		switch {
		case errors.Is(err, unix.EINVAL): // not a symlink
			real = next
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR): // not there yet
			real = next
		case err != nil:
			return "", &os.PathError{Op: "readlink", Path: next, Err: err}
		default:
			if links++; links > maxLinks {
				return "", &os.PathError{Op: "resolve", Path: target, Err: unix.ELOOP}
			}
			culprit = next
			link := string(buf[:n])
			if filepath.IsAbs(link) {
				real = "/"
			}
			todo = append(splitPath(link), todo...)
		}
	}
	return real, nil
}

// mountOf returns the mount that path is in once all is attached, and where
// that one is.
func (t *tree) mountOf(path string) (at string, mount *os.File) {
	at, mount = "/", t.root
	for _, list := range [][]placement{t.attached, t.placements} {
		for _, p := range list {
			if isBelow(path, p.target) && len(p.target) >= len(at) {
				at, mount = p.target, p.mount
			}
		}
	}
	return at, mount
}

// LeavesRootError says that a path crosses a symlink that climbs above the root.
type LeavesRootError struct{ Path string }

// Error names the path.
func (e *LeavesRootError) Error() string {
	return fmt.Sprintf("%q is a symlink that leaves the root", e.Path)
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

// mountPoint opens what p is to be mounted on, and makes it if need be. It is
// errLeftOut when that is not wanted.
func (t *tree) mountPoint(p placement) (*os.File, error) {
	parent := t.under(filepath.Dir(p.target))
	if parent.hostPath != "" && !parent.foreign {
		release, err := t.stubs.lock()
		if err != nil {
			return nil, err
		}
		defer release()
		rel, err := filepath.Rel(parent.target, p.target)
		if err != nil {
			return nil, err
		}
		if err := t.stubs.adopt(filepath.Join(parent.hostPath, rel)); err != nil {
			return nil, fmt.Errorf("look for the mount points of other sandboxes: %w", err)
		}
	}
	dst, err := openInRoot(t.root, p.target, unix.O_PATH|unix.O_NOFOLLOW)
	var missing *MissingTargetError
	switch {
	case errors.Is(err, unix.ENOENT) && p.cover:
		return nil, errLeftOut
	case errors.Is(err, unix.ENOENT):
		if dst, err = t.makeTarget(p); p.optional && errors.As(err, &missing) {
			return nil, errLeftOut
		}
	}
	if err != nil {
		return nil, err
	}
	return dst, nil
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
	if in.foreign || p.optional && in.hostPath != "" {
		return nil, errors.Join(&MissingTargetError{Target: p.target, Dir: existing}, dir.Close())
	}
	for i, name := range missing {
		at := filepath.Join(existing, filepath.Join(missing[:i]...))
		f, err := t.makeEntry(dir, name, in, at, p.file && i == len(missing)-1)
		if err := errors.Join(err, dir.Close()); err != nil {
			if f != nil {
				err = errors.Join(err, f.Close())
			}
			return nil, fmt.Errorf("make mount point %q: %w", p.target, err)
		}
		dir = f
	}
	return dir, nil
}

// makeEntry makes one entry of dir, which is at the path at and in the mount
// in, and opens it.
func (t *tree) makeEntry(dir *os.File, name string, in placement, at string, file bool) (*os.File, error) {
	var err error
	if in.hostPath != "" {
		rel, rerr := filepath.Rel(in.target, at)
		if rerr != nil {
			return nil, rerr
		}
		err = t.stubs.make(dir, filepath.Join(in.hostPath, rel), name, file)
	} else {
		err = t.ids.asRoot(func() error { return makeEmpty(int(dir.Fd()), name, file) })
	}
	if err != nil {
		return nil, err
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if in.hostPath != "" {
		return f, nil // it belongs to whom the host tree belongs to
	}
	uid, gid := t.ids.root()
	if in.owner != nil {
		uid, _ = t.ids.uid(in.owner.UID)
		gid, _ = t.ids.gid(in.owner.GID)
	}
	if uid != 0 || gid != 0 {
		if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// makeEmpty makes an empty file or directory.
func makeEmpty(dir int, name string, file bool) error {
	if !file {
		return unix.Mkdirat(dir, name, 0o755)
	}
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// inside returns the path of an open file of the tree, as "/" is the root's.
func (t *tree) inside(f *os.File) (string, error) {
	real, err := os.Readlink(fdPath(f))
	if err != nil {
		return "", err
	}
	root, err := os.Readlink(fdPath(t.root))
	if err != nil {
		return "", err
	}
	if !isBelow(real, root) {
		return "", fmt.Errorf("%q leaves the root", f.Name())
	}
	return filepath.Join("/", real[len(root):]), nil
}

// MissingTargetError says that a mount point does not exist and that we will
// not make it: its directory is a read-only view of the host.
type MissingTargetError struct{ Target, Dir string }

// Error names both.
func (e *MissingTargetError) Error() string {
	return fmt.Sprintf("target %q does not exist, and %q is a read-only view of the host", e.Target, e.Dir)
}
