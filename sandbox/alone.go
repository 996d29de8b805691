package sandbox

import (
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/userns"
)

// sweepAlone clears what runs left that stood alone, without a place to
// remember their runtime directory, and were killed. own is ours.
func sweepAlone(own string) error {
	dirs, err := filepath.Glob(filepath.Join(filepath.Dir(own), "sandbox-*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if dir == own {
			continue
		}
		if err := clearAlone(dir); err != nil {
			return err
		}
	}
	return nil
}

// clearAlone removes dir, if it is ours and its lock is free. Anybody may have
// made a directory of that name; one of ours nobody else can replace, for /tmp
// is sticky.
func clearAlone(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // another user's, or no directory
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	st, err := stat(f)
	if err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return nil
	}
	lock, err := unix.Openat(fd, userns.AloneLock, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == syscall.ENOENT {
		return nil // one that is remembered, or one that begins
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Join(dir, userns.AloneLock), Err: err}
	}
	defer unix.Close(lock)
	if unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	if err := sweep(dir, ""); err != nil {
		return err
	}
	return removeTree(dir)
}
