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
	// cover: the mount is left out when its target is missing, for then there
	// is nothing to be covered.
	cover bool
	// closed: it is a cover that is there for nobody to look into.
	closed bool

	// hostPath is where the mount's content lies on the host, if it does.
	hostPath string
	// foreign: we make nothing in it (a read-only host tree). What we make in
	// a host tree that is not foreign is a stub, journaled and removed.
	foreign bool
	// owner has what we make in it; nil: the sandbox's uid 0.
	owner *User

	// asked: the caller named the target.
	asked bool
	// implied: nobody named it (the working directory, toolchains, mounts of
	// the host). It is left out in a mount that is whole: one that shows what
	// the host has there, or hides it. An optional one is left out in every
	// tree that the caller named.
	whole, implied bool
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
func (t *tree) attachBase(base placement) error {
	t.base = base
	dst, err := os.OpenFile(t.state.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
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
	if err := t.resolveTargets(); err != nil {
		return err
	}
	if err := t.coverOwn(); err != nil {
		return err
	}
	slices.SortStableFunc(t.placements, func(a, b placement) int { return comparePaths(a.target, b.target) })
	for len(t.placements) > 0 {
		p := t.placements[0]
		t.placements = t.placements[1:]
		replaced := len(t.placements) > 0 && t.placements[0].target == p.target
		if !replaced {
			err := t.attachOne(p)
			if err == nil {
				continue
			}
			if !errors.Is(err, errLeftOut) {
				return errors.Join(fmt.Errorf("%s: %w", p.name, err), p.mount.Close())
			}
		}
		if err := p.mount.Close(); err != nil {
			return err
		}
	}
	return nil
}

// errLeftOut says that a mount is not wanted where it would be.
var errLeftOut = errors.New("left out")

func (t *tree) attachOne(p placement) error {
	if in := t.under(p.target); p.implied && (in.whole || p.optional && in.asked && in.owner == nil) {
		return errLeftOut
	}
	dst, err := t.mountPoint(p)
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
		return fmt.Errorf("target %q has become a symlink", p.target)
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

// coverOwn covers the directory of our own sockets and locks in every host
// tree that contains it: who could reach them could command other sandboxes.
func (t *tree) coverOwn() error {
	own, err := filepath.EvalSymlinks(filepath.Dir(t.state.dir))
	if err != nil {
		return err
	}
	trees := slices.Clone(t.placements)
	if !t.base.foreign { // the host root takes care of itself
		base := t.base
		base.target = "/"
		trees = append(trees, base)
	}
	for _, p := range trees {
		if p.hostPath != "" && isBelow(p.hostPath, own) {
			return fmt.Errorf("%s: %q belongs to sandbox itself", p.name, p.hostPath)
		}
		if p.hostPath == "" || !isBelow(own, p.hostPath) {
			continue
		}
		rel, err := filepath.Rel(p.hostPath, own)
		if err != nil {
			return err
		}
		c, err := t.newCover(filepath.Join(p.target, rel), false)
		if err != nil {
			return err
		}
		t.add(c)
	}
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

// isBelow reports whether path is dir or lies below it; both are clean.
func isBelow(path, dir string) bool {
	return path == dir || dir == "/" || len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// comparePaths orders clean paths so that a directory comes before what is in it.
func comparePaths(a, b string) int {
	return cmp.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}
