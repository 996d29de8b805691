package userns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrNoRuntime says that no command has made a runtime directory yet.
var ErrNoRuntime = errors.New("there is no runtime directory yet")

// RuntimeDir finds the runtime directory that "run" would use, by the same
// rules as place.c, without making it. It returns ErrNoRuntime when there is
// none: then nothing runs either.
func RuntimeDir() (string, error) {
	if e := Entered(); e.RuntimeDir != "" {
		return e.RuntimeDir, nil
	}
	if xdg := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(xdg) {
		fi, err := os.Stat(xdg)
		if err == nil && ours(fi) && fi.Mode().Perm()&0o022 == 0 {
			dir, err := existing(filepath.Join(xdg, "sandbox"))
			if err == nil || errors.Is(err, ErrNoRuntime) {
				return dir, err
			}
			// Not to be used: "run" goes on as without XDG_RUNTIME_DIR.
		}
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home := os.Getenv("HOME")
		if !filepath.IsAbs(home) {
			return "", ErrNoRuntime
		}
		state = filepath.Join(home, ".local", "state")
	}
	b, err := os.ReadFile(filepath.Join(state, "sandbox", "runtime"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return "", ErrNoRuntime
	}
	if err != nil {
		return "", err
	}
	boot, path, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	now, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || boot != strings.TrimSpace(string(now)) {
		return "", ErrNoRuntime // of an earlier boot
	}
	return existing(path)
}

// Leave removes the runtime directory of a process that stands alone; it must
// be empty but for what this package has made. A process calls it last; for all
// others it does nothing.
func (e Entry) Leave() error {
	if !e.Standalone {
		return nil
	}
	for _, name := range []string{AloneLock, "holder"} {
		if err := os.Remove(filepath.Join(e.RuntimeDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Remove(e.RuntimeDir)
}

// AloneLock is the file in the runtime directory of a process that stands alone
// whose lock says that it lives.
const AloneLock = "alone"

func existing(path string) (string, error) {
	fi, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", ErrNoRuntime
	}
	if err != nil {
		return "", err
	}
	if !fi.IsDir() || !ours(fi) || fi.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("use runtime directory %q: it must be a directory of yours with mode 0700", path)
	}
	return path, nil
}

func ours(fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
