package userns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// StopHolder ends the holder of runtimeDir, if there is one, and reports
// whether there was. Sandboxes that run keep their namespace.
func StopHolder(runtimeDir string) (bool, error) {
	path := filepath.Join(runtimeDir, "holder", "record")
	// Nobody makes another holder meanwhile: its record would be lost.
	lock, err := os.OpenFile(filepath.Join(runtimeDir, "holder", "lock"), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return false, os.NewSyscallError("flock", err)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var pid int
	var start string
	if _, err := fmt.Sscan(string(b), &pid, &start); err != nil {
		return false, fmt.Errorf("read %q: %w", path, err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, syscall.ESRCH) {
		return false, os.Remove(path)
	}
	if err != nil {
		return false, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if st, err := startTime(pid); err != nil || st != start || !childOfOurs(fmt.Sprintf("/proc/%d/ns/user", pid)) {
		return false, os.Remove(path) // another process has the pid now
	}
	// Not TERM: a stopped process would not notice, and it has nothing to do
	// that is not done here.
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, syscall.ESRCH) {
		return false, os.NewSyscallError("pidfd_send_signal", err)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 2000)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return false, os.NewSyscallError("poll", err)
		case n == 0:
			return false, fmt.Errorf("the holder's process %d survives SIGKILL", pid)
		default:
			return true, os.Remove(path)
		}
	}
}

// startTime is field 22 of /proc/PID/stat, as join.c reads it.
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	i := strings.LastIndexByte(string(b), ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return "", fmt.Errorf("read /proc/%d/stat: unexpected content", pid)
	}
	return f[19], nil
}
