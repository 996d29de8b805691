package image

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// retry calls f until it is not interrupted by a signal: slow file systems may
// return EINTR from any call that takes a path.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// call is retry for a call that makes no descriptor; its error names op.
func call(op string, f func() error) error {
	return os.NewSyscallError(op, retry(f))
}

// closeFD closes fd. It is gone even if there is an error, EINTR included.
func closeFD(fd int) error { return os.NewSyscallError("close", unix.Close(fd)) }

// and joins two errors, each of which may be nil, in one line.
func and(first, second error) error {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return fmt.Errorf("%w; %w", first, second)
}

// openat opens name, a single part, in dirfd, and never follows it.
func openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(dirfd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return -1, os.NewSyscallError("openat", err)
	}
	return fd, nil
}

// openat2 opens name below dirfd as resolve says.
func openat2(dirfd int, name string, flags, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	var fd int
	// EAGAIN: somewhere on this machine something was renamed while the kernel
	// followed a "..", so that it could not vouch for the result.
	const tries = 1000
	var err error
	for range tries {
		err = retry(func() (err error) {
			fd, err = unix.Openat2(dirfd, name, &how)
			return err
		})
		if err != unix.EAGAIN {
			break
		}
	}
	if err == unix.ENOSYS {
		return -1, fmt.Errorf("openat2, which needs Linux 5.6 and a container runtime that permits it: %w", err)
	}
	if err != nil {
		return -1, os.NewSyscallError("openat2", err)
	}
	return fd, nil
}

// lstat describes name, a single part, in dirfd.
func lstat(dirfd int, name string) (st unix.Stat_t, err error) {
	err = call("fstatat", func() error { return unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// fstat describes fd.
func fstat(fd int) (st unix.Stat_t, err error) {
	err = call("fstat", func() error { return unix.Fstat(fd, &st) })
	return st, err
}

// setMtime sets the modification time of name in dirfd, or of dirfd itself if
// name is "". Access times are left to the kernel.
func setMtime(dirfd int, name string, mtime unix.Timespec) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	return call("utimensat", func() error { return unix.UtimesNanoAt(dirfd, name, times, flags) })
}
