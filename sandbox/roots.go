package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/image"
)

// ErrLater is wrapped by errors about what SEMANTICS promises for later.
var ErrLater = errors.New("comes later")

// layers is the directory of a run's own files on disk: upper layers and
// unpacked archives. It is made when first used, and removed by undo.
type layers struct {
	home string // the data directory, or "": there is none
	id   string
	undo closers // for after everything has been unmounted

	dir string
	n   int
}

// newDir makes an empty directory. "" means that there is no place on disk.
func (l *layers) newDir() (string, error) {
	if l.home == "" {
		return "", nil
	}
	if l.dir == "" {
		all := filepath.Join(l.home, "layers")
		err := os.MkdirAll(all, 0o700)
		var dir string
		if err == nil { // it may still be root's, made with sudo
			dir, err = claimDir(all, l.id, &l.undo)
		}
		if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("make the layer directory: %w", err)
		}
		l.dir = dir
	}
	l.n++
	dir := filepath.Join(l.dir, fmt.Sprint(l.n))
	return dir, os.Mkdir(dir, 0o700)
}

// openRootDir opens the directory of a dir: root or bind.
func openRootDir(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// checkRootDir refuses a root whose /proc, /sys or /dev is not a directory:
// what is mounted there would land elsewhere.
func checkRootDir(root *os.File) error {
	for _, name := range []string{"proc", "sys", "dev"} {
		var st unix.Stat_t
		err := unix.Fstatat(int(root.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "stat", Path: "/" + name, Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return fmt.Errorf("/%s of the root is not a directory", name)
		}
	}
	return nil
}

// dirBase makes the root of kind dir.
func (c *creation) dirBase(ctx context.Context) (placement, error) {
	dir, err := openRootDir(c.spec.Root.Path)
	if err != nil {
		return placement{}, err
	}
	defer dir.Close()
	if err := checkRootDir(dir); err != nil {
		return placement{}, err
	}
	if c.spec.RootWritable {
		return c.tree.hostMount(dir, false)
	}
	stubs, err := c.stubLayer()
	if err != nil {
		return placement{}, err
	}
	defer stubs.Close()
	m, err := c.overlay(dir, stubs)
	return placement{mount: m, readOnly: c.spec.RootReadOnly}, err
}

// stubLayer makes the lowest layer of a dir: root: the mount points that every
// root needs, where the directory lacks them. So they are in no upper layer,
// and in no result.
func (c *creation) stubLayer() (*os.File, error) {
	at := filepath.Join(c.state.files, "stubs")
	for _, dir := range []string{"", "/dev", "/proc", "/sys", "/etc"} {
		if err := os.Mkdir(at+dir, 0o755); err != nil {
			return nil, err
		}
	}
	uid, gid := c.ids.root()
	for _, file := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		if err := os.WriteFile(at+file, nil, 0o644); err != nil {
			return nil, err
		}
	}
	if uid != 0 || gid != 0 {
		for _, name := range []string{"", "/dev", "/proc", "/sys", "/etc", "/etc/hosts", "/etc/resolv.conf"} {
			if err := os.Chown(at+name, uid, gid); err != nil {
				return nil, err
			}
		}
	}
	return os.OpenFile(at, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// tarBase unpacks the root of kind tar.
func (c *creation) tarBase(ctx context.Context) (placement, error) {
	m, err := c.unpack(ctx, c.spec.Root)
	if err != nil {
		return placement{}, err
	}
	if err := checkRootDir(m); err != nil {
		return placement{}, errors.Join(err, m.Close())
	}
	return placement{mount: m, readOnly: c.spec.RootReadOnly}, nil
}

// scratchBase makes an empty root in memory.
func (c *creation) scratchBase() (placement, error) {
	uid, gid := c.ids.root()
	m, err := newTmpfs(tmpfsOptions{mode: 0o755, uid: uid, gid: gid}, attrSafe)
	return placement{mount: m, readOnly: c.spec.RootReadOnly}, err
}

// unpack returns a detached mount of the archive's tree, ours to write to.
func (c *creation) unpack(ctx context.Context, root Root) (_ *os.File, err error) {
	var in io.Reader = c.engine.Stdin
	if !root.Stdin() {
		f, err := os.Open(root.Path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	} else if c.engine.Stdin == nil {
		return nil, errors.New("there is no stdin")
	}
	base, err := c.layers.newDir()
	if err != nil {
		return nil, err
	}
	var mount, dir *os.File
	defer func() {
		if err != nil && mount != nil {
			err = errors.Join(err, mount.Close())
		}
	}()
	if base == "" { // no disk: in memory
		if mount, err = newTmpfs(tmpfsOptions{mode: 0o755}, attrSafe); err != nil {
			return nil, err
		}
		c.noticeMemory()
		dir, err = reopen(mount)
	} else {
		dir, err = os.Open(base)
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := dir.Chmod(0o755); err != nil {
		return nil, err
	}
	stats, err := image.Unpack(ctx, dir, in, image.Options{})
	if err != nil {
		return nil, err // it says what is wrong where in the archive
	}
	if stats.UnmappedOwners > 0 {
		c.notice(fmt.Sprintf("%d entries of %q have owners that this user namespace lacks; they belong to uid 0", stats.UnmappedOwners, root.String()))
	}
	if stats.SkippedTotal > 0 {
		c.notice(fmt.Sprintf("%d devices in %q were left out", stats.SkippedTotal, root.String()))
	}
	if mount == nil {
		if mount, err = cloneFD(dir); err != nil {
			return nil, err
		}
		if err := setTree(mount, attrSafe); err != nil {
			return nil, err
		}
	}
	if err := c.ids.shift(mount, true); err != nil {
		return nil, &ShiftError{Path: base, Err: err}
	}
	return mount, nil
}

// reopen returns f, an O_PATH or mount descriptor of a directory, open for
// reading.
func reopen(f *os.File) (*os.File, error) {
	fd, err := unix.Openat(int(f.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: f.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// overlay returns a detached mount that shows dir, and below it stubs if that
// is not nil, and keeps writes in a layer that goes with the run.
func (c *creation) overlay(dir, stubs *os.File) (_ *os.File, err error) {
	if err := noMountsBelow(dir); err != nil {
		return nil, err
	}
	base, err := c.layers.newDir()
	if err != nil {
		return nil, err
	}
	if base == "" {
		return c.memoryOverlay(dir, stubs)
	}
	m, err := c.overlayOn(dir, stubs, base)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EREMOTE) {
		// The file system of our data cannot carry an upper layer (NFS,
		// another overlay): memory can.
		return c.memoryOverlay(dir, stubs)
	}
	return m, err
}

// noMountsBelow refuses a directory with mounts below it: an overlay would show
// what they hide instead of them, so in a user namespace the kernel refuses it,
// too.
func noMountsBelow(dir *os.File) error {
	path, err := os.Readlink(fdPath(dir))
	if err != nil {
		return err
	}
	all, err := mountPoints()
	if err != nil {
		return err
	}
	below := slices.DeleteFunc(all, func(m string) bool { return m == path || !isBelow(m, path) })
	if len(below) == 0 {
		return nil
	}
	return fmt.Errorf("a layer over %q cannot be made: other file systems are mounted at %q", path, below)
}

// memoryOverlay is overlay with the layer in a tmpfs.
func (c *creation) memoryOverlay(dir, stubs *os.File) (*os.File, error) {
	c.noticeMemory()
	name := filepath.Join(c.state.files, fmt.Sprintf("layer%d", c.memoryLayers))
	c.memoryLayers++
	if err := os.Mkdir(name, 0o700); err != nil {
		return nil, err
	}
	m, err := newTmpfs(tmpfsOptions{mode: 0o700}, attrSafe)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	dst, err := os.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dst.Close()
	if err := attach(m, dst); err != nil { // goes with the files' mount
		return nil, err
	}
	return c.overlayOn(dir, stubs, name)
}

func (c *creation) noticeMemory() {
	c.notice("there is no place on disk for what the sandbox writes to its root: it is kept in memory")
}

// overlayOn makes the overlay with its layer in base. The kernel must see
// attached mounts only, so for root's sandbox an idmapped clone of dir is
// attached beside our files first.
func (c *creation) overlayOn(dir, stubs *os.File, base string) (*os.File, error) {
	lower := dir
	if c.ids.shifted {
		var err error
		if lower, err = c.shiftedLower(dir, base); err != nil {
			return nil, err
		}
		defer lower.Close()
	}
	layer, err := os.Open(base)
	if err != nil {
		return nil, err
	}
	defer layer.Close()
	for _, name := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
			return nil, err
		}
	}
	// The merged root has its upper directory's owner and mode: those of dir.
	st, err := stat(lower)
	if err != nil {
		return nil, err
	}
	upper := filepath.Join(base, "upper")
	if err := unix.Chown(upper, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return nil, &os.PathError{Op: "chown", Path: upper, Err: err} // but when our namespace lacks the owner
	}
	if err := unix.Chmod(upper, st.Mode&0o7777); err != nil {
		return nil, &os.PathError{Op: "chmod", Path: upper, Err: err}
	}
	// Short descriptor paths: mountinfo inside shows them.
	lowers := fdPath(lower)
	if stubs != nil {
		lowers += ":" + fdPath(stubs)
	}
	return newMount("overlay", attrSafe,
		fsOption{"source", "overlay"},
		fsOption{"lowerdir", lowers},
		fsOption{"upperdir", fdPath(layer) + "/upper"},
		fsOption{"workdir", fdPath(layer) + "/work"},
		fsOption{"userxattr", ""},
		fsOption{"volatile", ""}, // nobody needs this layer after a crash
		fsOption{"xino", "off"},
	)
}

func (c *creation) shiftedLower(dir *os.File, base string) (*os.File, error) {
	at := filepath.Join(c.state.files, "lower"+filepath.Base(base))
	if err := os.Mkdir(at, 0o755); err != nil {
		return nil, err
	}
	p, err := c.tree.hostMount(dir, true)
	if err != nil {
		return nil, err
	}
	defer p.mount.Close()
	dst, err := os.OpenFile(at, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dst.Close()
	if err := attach(p.mount, dst); err != nil {
		return nil, err
	}
	return os.OpenFile(at, unix.O_PATH|unix.O_DIRECTORY, 0)
}
