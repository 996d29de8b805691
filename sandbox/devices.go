package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// planDev adds the sandbox's /dev: six devices, terminals and shared memory of
// its own, in a private tmpfs. It returns the devices that are missing outside,
// as in a container that has a few only.
func (t *tree) planDev() (missing []string, err error) {
	uid, gid := t.ids.root()
	dev, err := newTmpfs(tmpfsOptions{size: 1 << 20, mode: 0o755, uid: uid, gid: gid}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make /dev: %w", err)
	}
	t.add(placement{target: "/dev", name: "/dev", mount: dev})
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"ptmx": "pts/ptmx",
	} {
		if err := unix.Symlinkat(target, int(dev.Fd()), name); err != nil {
			return nil, fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	for _, name := range []string{"pts", "shm", "mqueue"} {
		if err := unix.Mkdirat(int(dev.Fd()), name, 0o755); err != nil {
			return nil, fmt.Errorf("make /dev/%s: %w", name, err)
		}
		if err := unix.Fchownat(int(dev.Fd()), name, uid, gid, 0); err != nil {
			return nil, fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		// mknod is not for user namespaces: the host's own nodes are bound.
		m, err := cloneTree("/dev/" + name)
		if errors.Is(err, unix.ENOENT) && name != "null" { // that one masks files
			missing = append(missing, "/dev/"+name)
			continue
		}
		if err != nil {
			return nil, err
		}
		t.add(placement{target: "/dev/" + name, name: "/dev/" + name, mount: m, file: true})
		fd, err := unix.Openat(int(dev.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o666)
		if err != nil {
			return nil, fmt.Errorf("make /dev/%s: %w", name, err)
		}
		unix.Close(fd)
	}
	pts, err := t.newDevpts()
	if err != nil {
		return nil, err
	}
	t.add(placement{target: "/dev/pts", name: "/dev/pts", mount: pts})
	shm, err := newTmpfs(tmpfsOptions{size: 64 << 20, mode: 0o1777, uid: uid, gid: gid}, attrNoExec)
	if err != nil {
		return nil, fmt.Errorf("make /dev/shm: %w", err)
	}
	t.add(placement{target: "/dev/shm", name: "/dev/shm", mount: shm})
	return missing, nil
}

// newDevpts returns a devpts of the sandbox's own. The group of terminals is
// tty (5) where the map has it, as grantpt(3) expects.
func (t *tree) newDevpts() (*os.File, error) {
	options := []fsOption{{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}}
	if gid, ok := t.ids.gid(5); ok {
		options = append(options, fsOption{"gid", fmt.Sprint(gid)})
	}
	const attrs = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	m, err := newMount("devpts", attrs, options...)
	if errors.Is(err, unix.EINVAL) && len(options) == 4 { // the kernel does not map that group here
		m, err = newMount("devpts", attrs, options[:3]...)
	}
	if err != nil {
		return nil, fmt.Errorf("make /dev/pts: %w", err)
	}
	return m, nil
}

// keepDev mounts the finished /dev a second time, among our files. Package
// runc binds that one: it does so by path, and in a root that others can write
// to at the same time /dev may have become a symlink by then.
func (t *tree) keepDev() error {
	i := slices.IndexFunc(t.attached, func(p placement) bool { return p.target == "/dev" })
	m, err := cloneFD(t.attached[i].mount)
	if err != nil {
		return err
	}
	defer m.Close()
	at := filepath.Join(t.state.files, "dev")
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	dst, err := os.OpenFile(at, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	return attach(m, dst)
}
