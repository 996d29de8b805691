package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/userns"
)

// Info is what can be said of this machine by reading alone: nothing in it was
// tried. Diagnose tries.
type Info struct {
	Go       string            `json:"go"`
	Kernel   string            `json:"kernel"`
	Arch     string            `json:"arch"`
	UID      int               `json:"uid"`
	GID      int               `json:"gid"`
	Way      string            `json:"way"`              // the way in that run would try first
	WayWhy   string            `json:"wayWhy,omitempty"` // why it is not a better one
	Holder   *HolderInfo       `json:"holder"`           // null when there is none
	Dirs     Dirs              `json:"dirs"`
	Features map[string]string `json:"features"`
	Programs map[string]string `json:"programs"` // helpers and where PATH has them, "" when it has not
}

// HolderInfo is the holder of this user.
type HolderInfo struct {
	PID         int     `json:"pid"`
	Used        bool    `json:"used"` // a sandbox uses it now
	IdleSeconds float64 `json:"idleSeconds"`
}

// Describe collects an Info. What cannot be read is said in its place.
func Describe() (Info, error) {
	way, why := userns.Expect()
	info := Info{
		Go: runtime.Version(), Kernel: release(), Arch: runtime.GOARCH,
		UID: os.Geteuid(), GID: os.Getegid(),
		Way: way.String(), WayWhy: why,
		Dirs: UserDirs(),
		Features: map[string]string{
			"cgroup":   cgroupKind(),
			"fuse":     devicePresent("/dev/fuse"),
			"tun":      devicePresent("/dev/net/tun"),
			"overlay":  fsPresent("overlay"),
			"seccomp":  filePresent("/proc/sys/kernel/seccomp/actions_avail"),
			"apparmor": setting("kernel/apparmor_restrict_unprivileged_userns"),
			"userns":   setting("user/max_user_namespaces"),
		},
		Programs: make(map[string]string),
	}
	for _, name := range []string{"newuidmap", "newgidmap", "getsubids"} {
		info.Programs[name] = ""
		if path, err := exec.LookPath(name); err == nil {
			info.Programs[name] = path
		}
	}
	dir, err := userns.RuntimeDir()
	if errors.Is(err, userns.ErrNoRuntime) {
		return info, nil
	}
	if err != nil {
		return info, fmt.Errorf("look for the holder: %w", err)
	}
	h, found, err := userns.FindHolder(dir)
	if err != nil {
		return info, fmt.Errorf("look for the holder: %w", err)
	}
	if found {
		info.Holder = &HolderInfo{PID: h.PID, Used: h.Used, IdleSeconds: h.Idle.Round(time.Second).Seconds()}
	}
	return info, nil
}

func filePresent(path string) string {
	if _, err := os.Stat(path); err != nil {
		return "absent"
	}
	return "present"
}

func devicePresent(path string) string {
	if filePresent(path) == "absent" {
		return "absent"
	}
	if unix.Access(path, unix.R_OK|unix.W_OK) != nil {
		return "not permitted"
	}
	return "present"
}

// fsPresent looks whether the kernel knows a file system now; a module may
// still be loaded when it is asked for.
func fsPresent(name string) string {
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return "not known"
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == name {
			return "present"
		}
	}
	return "not loaded"
}

// setting is the value of a file below /proc/sys.
func setting(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return "absent"
	}
	return strings.TrimSpace(string(b))
}
