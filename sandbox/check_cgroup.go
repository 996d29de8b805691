package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/userns"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroupKind is "v2", "hybrid", "v1" or "none".
func cgroupKind() string {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err != nil {
		return "none"
	}
	switch uint32(fs.Type) {
	case unix.CGROUP2_SUPER_MAGIC:
		return "v2"
	case unix.TMPFS_MAGIC:
	default: // an empty directory
		return "none"
	}
	if err := unix.Statfs(filepath.Join(cgroupRoot, "unified"), &fs); err == nil && uint32(fs.Type) == unix.CGROUP2_SUPER_MAGIC {
		return "hybrid"
	}
	if entries, err := os.ReadDir(cgroupRoot); err != nil || len(entries) == 0 {
		return "none"
	}
	return "v1"
}

// checkCgroup looks for cgroups in which memory, processes and cpu time of
// sandboxes could be limited.
func checkCgroup(ctx context.Context) []Check {
	c := cgroupOf(ctx, os.Geteuid())
	if c.Status != CheckOK {
		c.Cause += "; --require=limits is refused, nothing else needs them yet"
	}
	return []Check{c}
}

// cgroupOf is checkCgroup for the caller's uid, which may not be ours: a
// subtree of cgroup v2 that may be divided, or a systemd that gives one; for
// root a hierarchy of v1 will do.
func cgroupOf(ctx context.Context, uid int) Check {
	kind := cgroupKind()
	c := newCheck("cgroup", "cgroup "+kind)
	switch kind {
	case "none":
		c.Detail = "no cgroups are mounted at " + cgroupRoot
		return c.degraded("no cgroups here", "mount cgroup2 at "+cgroupRoot+", writable (docker: --cgroupns=private)", userns.OuterContainer)
	case "v1", "hybrid":
		lacking := lackingV1()
		if len(lacking) == 0 {
			c.Detail += ", writable for us: " + strings.Join(limitControllers, " ")
			return c
		}
		if uid == 0 {
			return c.degraded("not writable: "+strings.Join(lacking, ", "), "mount these hierarchies below "+cgroupRoot+", writable", userns.Administrator)
		}
		return c.degraded("cgroup "+kind+" cannot be delegated to users",
			"boot with systemd.unified_cgroup_hierarchy=1 (or cgroup_no_v1=all), so that cgroup v2 is alone", userns.Administrator)
	}
	own, err := ownCgroup()
	if err != nil {
		return c.degraded(err.Error(), "mount /proc", userns.OuterContainer)
	}
	dir := filepath.Join(cgroupRoot, own)
	tryErr := tryDelegated(dir)
	if tryErr == nil {
		c.Detail = fmt.Sprintf("cgroup v2, %q is ours", own)
		return controllers(c, dir)
	}
	sock := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "systemd", "private")
	if err := answers(ctx, sock); err == nil {
		service := fmt.Sprintf("user.slice/user-%d.slice/user@%d.service", uid, uid)
		c.Detail = "cgroup v2, delegated by the systemd user session"
		return controllers(c, filepath.Join(cgroupRoot, service))
	}
	c.Detail = fmt.Sprintf("cgroup v2, %q is not ours: %v", own, tryErr)
	return c.degraded("the cgroup is not delegated to us, and there is no systemd user session",
		"log in through systemd (loginctl enable-linger USER, XDG_RUNTIME_DIR set), or start with a delegated cgroup (systemd-run -p Delegate=yes)", userns.Administrator)
}

// limitControllers are what limits need.
var limitControllers = []string{"memory", "pids", "cpu"}

// lackingV1 returns the controllers whose hierarchy of cgroup v1 we cannot
// write to.
func lackingV1() []string {
	return slices.DeleteFunc(slices.Clone(limitControllers), func(name string) bool {
		return unix.Access(filepath.Join(cgroupRoot, name), unix.W_OK) == nil
	})
}

// ownCgroup is our path in the v2 hierarchy.
func ownCgroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("read /proc/self/cgroup: no line of cgroup v2")
}

// tryDelegated makes a cgroup below dir and removes it, and looks whether
// processes can be moved.
func tryDelegated(dir string) error {
	name := filepath.Join(dir, fmt.Sprintf("sandbox-doctor-%d", os.Getpid()))
	if err := os.Mkdir(name, 0o755); err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err // the name would say nothing
		}
		return fmt.Errorf("make a cgroup there: %w", err)
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	for _, file := range []string{"cgroup.procs", "cgroup.subtree_control"} {
		path := filepath.Join(dir, file)
		if err := unix.Access(path, unix.W_OK); err != nil {
			return &os.PathError{Op: "write", Path: path, Err: err}
		}
	}
	return nil
}

// controllers completes c by what can be limited in dir.
func controllers(c Check, dir string) Check {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return c.degraded(err.Error(), "delegate the controllers memory, pids and cpu", userns.Administrator)
	}
	have := strings.Fields(string(b))
	c.Detail += "; controllers: " + strings.Join(have, " ")
	var lacking []string
	for _, want := range limitControllers {
		if !slices.Contains(have, want) {
			lacking = append(lacking, want)
		}
	}
	if len(lacking) == 0 {
		return c
	}
	return c.degraded("not delegated: "+strings.Join(lacking, ", "),
		"systemctl edit user@.service, with Delegate=cpu cpuset io memory pids below [Service], and log in again", userns.Administrator)
}

// answers tells whether something listens on the unix socket path.
func answers(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}
