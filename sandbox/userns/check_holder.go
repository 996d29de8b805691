package userns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// HolderState is what others can see of a holder.
type HolderState struct {
	PID      int
	Used     bool          // a sandbox holds its lease now
	Idle     time.Duration // since a sandbox last joined it
	Joinable bool          // its namespace was made in ours
}

// FindHolder returns the holder of runtimeDir, false when there is none that
// lives. It changes nothing.
func FindHolder(runtimeDir string) (HolderState, bool, error) {
	dir := filepath.Join(runtimeDir, "holder")
	path := filepath.Join(dir, "record")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return HolderState{}, false, nil
	}
	if err != nil {
		return HolderState{}, false, err
	}
	var h HolderState
	var start string
	if _, err := fmt.Sscan(string(b), &h.PID, &start); err != nil {
		return HolderState{}, false, fmt.Errorf("read %q: %w", path, err)
	}
	// Whoever has the pid now is the holder only with the same start time.
	if st, err := startTime(h.PID); err != nil || st != start {
		return HolderState{}, false, nil
	}
	h.Joinable = childOfOurs(fmt.Sprintf("/proc/%d/ns/user", h.PID))
	lease, err := os.Open(filepath.Join(dir, "lease"))
	if err != nil {
		return HolderState{}, false, err
	}
	defer lease.Close()
	fi, err := lease.Stat()
	if err != nil {
		return HolderState{}, false, err
	}
	h.Idle = max(0, time.Since(fi.ModTime()))
	// Shared users refuse this; it is given back at once by the Close above.
	h.Used = errors.Is(unix.Flock(int(lease.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
	return h, true, nil
}

// childOfOurs tells whether a user namespace is a direct child of our own: the
// constructor joins no other.
func childOfOurs(path string) bool {
	ns, err := os.Open(path)
	if err != nil {
		return false
	}
	defer ns.Close()
	fd, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_PARENT)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var parent, own unix.Stat_t
	return unix.Fstat(fd, &parent) == nil && unix.Stat("/proc/self/ns/user", &own) == nil &&
		parent.Ino == own.Ino && parent.Dev == own.Dev
}
