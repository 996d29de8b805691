// Package stage holds the small static program that plays every role which
// needs no Go: pid 1 of a sandbox, the watcher of a pid 1 that is the command
// itself, and the sleeping process that keeps the holder's user namespace.
// Its source is in the folder c, with the protocols drawn above the code.
package stage

import (
	_ "embed"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// program is made by the Makefile from c/*.c (no C library: about 10 kB).
//
//go:embed stage.elf
var program string

// mfdExec is MFD_EXEC of Linux 6.3; older kernels refuse it with EINVAL.
const mfdExec = 0x10

// ErrNoExec says that vm.memfd_noexec=2 forbids to execute memfds, and that this
// process may not mount, which would help.
var ErrNoExec = errors.New("vm.memfd_noexec is 2: executable memfds are refused")

// Open returns the program as a file that nobody can change: it is executed as
// /proc/self/fd/N in any root. The caller closes it.
//
// That is a sealed memfd; where the system refuses those (sysctl
// vm.memfd_noexec=2), and for root of a user namespace, a file in a read-only
// tmpfs that is mounted nowhere.
func Open() (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|mfdExec)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if errors.Is(err, unix.EACCES) {
		return openInTmpfs()
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := fill(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("prepare the stage program: %w", err)
	}
	return f, nil
}

const name = "sandbox-stage"

// openInTmpfs is Open where memfds cannot be executed.
func openInTmpfs() (*os.File, error) {
	ctx, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.EPERM) {
		return nil, ErrNoExec
	}
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(ctx)
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	// What is open keeps the file system; the mount goes with mount.
	mount, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	defer unix.Close(mount)
	w, err := unix.Openat(mount, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o500)
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	f := os.NewFile(uintptr(w), name)
	_, err = f.WriteString(program)
	// Executed by other ids too, whatever the umask.
	if err := errors.Join(err, f.Chmod(0o555), f.Close()); err != nil {
		return nil, fmt.Errorf("prepare the stage program: %w", err)
	}
	if err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return nil, os.NewSyscallError("mount_setattr", err)
	}
	r, err := unix.Openat(mount, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	return os.NewFile(uintptr(r), name), nil
}

func fill(f *os.File) error {
	if _, err := f.WriteString(program); err != nil {
		return err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
	}
	return nil
}
