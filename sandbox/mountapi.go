package sandbox

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// The new mount API (open_tree(2), move_mount(2), mount_setattr(2), fsopen(2);
// Linux 5.12 for all of it): mounts are made and changed as descriptors and
// attached last, so no path is resolved twice.

// cloneTree returns a detached recursive copy of the mounts at path, which is
// opened by the caller's rules (symlinks are followed).
func cloneTree(path string) (*os.File, error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, flags)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// cloneFD is cloneTree for what f names.
func cloneFD(f *os.File) (*os.File, error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE | unix.AT_EMPTY_PATH
	fd, err := unix.OpenTree(int(f.Fd()), "", flags)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: f.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// setTree sets attributes (MOUNT_ATTR_*) on all mounts of tree and takes it
// out of every peer group.
func setTree(tree *os.File, attrs uint64) error {
	return setattr(tree, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attrs, Propagation: unix.MS_PRIVATE})
}

// setReadOnly makes one mount read-only, what lies on it stays as it is.
func setReadOnly(mount *os.File) error {
	return setattr(mount, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

func setattr(mount *os.File, flags uint, attr *unix.MountAttr) error {
	if err := unix.MountSetattr(int(mount.Fd()), "", flags|unix.AT_EMPTY_PATH, attr); err != nil {
		return &os.PathError{Op: "mount_setattr", Path: mount.Name(), Err: err}
	}
	return nil
}

// attach puts the detached mount at what the descriptor dst names.
func attach(mount, dst *os.File) error {
	const flags = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	if err := unix.MoveMount(int(mount.Fd()), "", int(dst.Fd()), "", flags); err != nil {
		return fmt.Errorf("attach %q: %w", mount.Name(), os.NewSyscallError("move_mount", err))
	}
	return nil
}

// fsOption is one option of a file system; a key alone is a flag.
type fsOption struct{ key, value string }

// newMount returns a detached mount of a new file system.
func newMount(fstype string, attrs int, options ...fsOption) (_ *os.File, err error) {
	ctx, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open file system %q: %w", fstype, os.NewSyscallError("fsopen", err))
	}
	defer unix.Close(ctx)
	for _, o := range options {
		if o.value == "" {
			err = unix.FsconfigSetFlag(ctx, o.key)
		} else {
			err = unix.FsconfigSetString(ctx, o.key, o.value)
		}
		if err != nil {
			return nil, fmt.Errorf("set option %s=%s of %s: %w", o.key, o.value, fstype, withLog(ctx, err))
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, fmt.Errorf("create %s: %w", fstype, withLog(ctx, err))
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", fstype, os.NewSyscallError("fsmount", err))
	}
	return os.NewFile(uintptr(fd), fstype), nil
}

// withLog adds what the kernel says in the context's message queue (fsopen(2)).
func withLog(ctx int, err error) error {
	buf := make([]byte, 1024)
	n, rerr := unix.Read(ctx, buf)
	if rerr != nil || n < 3 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, buf[2:n])
}

const (
	attrSafe   = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	attrNoExec = attrSafe | unix.MOUNT_ATTR_NOEXEC
)

// tmpfsOptions describes a tmpfs; ids are those of our own user namespace.
type tmpfsOptions struct {
	size     int64 // bytes; 0: the kernel's default, half of the memory
	mode     Mode
	uid, gid int
}

func newTmpfs(o tmpfsOptions, attrs int) (*os.File, error) {
	options := []fsOption{
		{"source", "tmpfs"},
		{"mode", strconv.FormatUint(uint64(o.mode), 8)},
		{"uid", strconv.Itoa(o.uid)},
		{"gid", strconv.Itoa(o.gid)},
	}
	if o.size > 0 {
		options = append(options, fsOption{"size", strconv.FormatInt(o.size, 10)})
	}
	return newMount("tmpfs", attrs, options...)
}

// fdPath is the name under which /proc shows a descriptor of ours.
func fdPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// stat returns fstat of f, which may be O_PATH.
func stat(f *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return st, nil
}
