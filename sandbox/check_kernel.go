package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/stage"
	"sandbox.example/sandbox/userns"
)

// checkMemfd executes the program that becomes pid 1, from memory as run does.
func checkMemfd(ctx context.Context) []Check {
	c := newCheck("memfd", "the program of pid 1 can be executed from memory").needed()
	err := runFromMemory(nil)
	switch {
	case err == nil:
	case errors.Is(err, stage.ErrNoExec):
		// Root of a user namespace can make a file system for the program.
		res, perr := runProbe(ctx, probeStage, "/", 0)
		c.Detail = "the program of pid 1 can be executed from a private tmpfs; from memory not: vm.memfd_noexec is 2"
		if perr != nil {
			c.Detail = "not executable"
			c = c.missing(err.Error()+"; "+perr.Error(), "sysctl -w vm.memfd_noexec=1", userns.Administrator)
		} else if f := res.failures("stage"); len(f) > 0 {
			c.Detail = "not executable: " + f[0]
			c = c.missing(err.Error(), "sysctl -w vm.memfd_noexec=1", userns.Administrator)
		}
	case errors.Is(err, errNoMemfd):
		c.Detail = "not made"
		c = c.missing(err.Error(), "run a kernel with CONFIG_MEMFD_CREATE", userns.Administrator)
	default:
		c.Detail = "not executable"
		c = c.missing(err.Error(), "allow to execute memfds in the policy of the security module (IMA, SELinux, fapolicyd)", userns.Administrator)
	}
	return []Check{c}
}

var errNoMemfd = errors.New("no program in memory")

// runFromMemory runs the stage program, which ends at once.
func runFromMemory(attr *syscall.SysProcAttr) error {
	prog, err := stage.Open()
	if err != nil {
		return fmt.Errorf("%w: %w", errNoMemfd, err)
	}
	defer prog.Close()
	stdin, end, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	end.Close()
	// "block" lives until its stdin ends: it has.
	p, err := os.StartProcess(fdPath(prog), []string{"sandbox", "block"}, &os.ProcAttr{Files: []*os.File{stdin}, Env: []string{}, Sys: attr})
	if err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return os.NewSyscallError("clone or execve", errno)
		}
		return err
	}
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("it ended with %v", state)
	}
	return err
}

// checkSeccomp asks the kernel for what the filter of pid 1 needs.
func checkSeccomp(context.Context) []Check {
	c := newCheck("seccomp", "filters with ERRNO, KILL_PROCESS and LOG").needed()
	const getActionAvail = 2 // SECCOMP_GET_ACTION_AVAIL
	for _, action := range []uint32{unix.SECCOMP_RET_ERRNO, unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_LOG} {
		if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, getActionAvail, 0, uintptr(unsafe.Pointer(&action))); errno != 0 {
			c.Detail = fmt.Sprintf("seccomp(SECCOMP_GET_ACTION_AVAIL): %v", errno)
			return []Check{c.missing("the kernel has no seccomp filters, or an outer container hides seccomp(2)",
				"run a kernel with CONFIG_SECCOMP_FILTER=y", userns.Administrator)}
		}
	}
	// With no filter at all the kernel says where it looked for it.
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0)
	if errno != syscall.EFAULT {
		c.Detail = fmt.Sprintf("seccomp(SECCOMP_SET_MODE_FILTER): %v", errno)
		return []Check{c.missing("the kernel has no seccomp filters", "run a kernel with CONFIG_SECCOMP_FILTER=y", userns.Administrator)}
	}
	return []Check{c}
}

// mlockWant is one secret of the largest size, with what surrounds it.
const mlockWant = 1 << 20

// checkMlock locks memory as secrets are.
func checkMlock(context.Context) []Check {
	c := newCheck("mlock", "")
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &lim); err != nil {
		return []Check{c.missing("getrlimit(RLIMIT_MEMLOCK): "+err.Error(), "allow getrlimit in the seccomp filter around us", userns.OuterContainer)}
	}
	c.Detail = "memory can be locked; RLIMIT_MEMLOCK is " + limitText(lim.Cur)
	mem, err := unix.Mmap(-1, 0, mlockWant, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return []Check{c.missing("mmap: "+err.Error(), "free some memory", userns.User)}
	}
	err = unix.Mlock(mem)
	if uerr := unix.Munmap(mem); uerr != nil && err == nil { // unlocks too
		err = uerr
	}
	if err == nil {
		return []Check{c}
	}
	c.Detail = fmt.Sprintf("lock %s: %v; RLIMIT_MEMLOCK is %s, at most %s", units.BytesSize(mlockWant), err, limitText(lim.Cur), limitText(lim.Max))
	if lim.Max > lim.Cur && lim.Max >= mlockWant {
		return []Check{c.degraded("secrets may be swapped out: too little memory may be locked", "ulimit -l "+kib(lim.Max), userns.User)}
	}
	return []Check{c.degraded("secrets may be swapped out: too little memory may be locked",
		"raise it in /etc/security/limits.conf (memlock), LimitMEMLOCK= of systemd, or --ulimit memlock= of the container", userns.Administrator)}
}

func limitText(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return units.BytesSize(float64(n))
}

// kib is a limit in ulimit's unit.
func kib(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprint(n / 1024)
}

// checkFuse mounts a FUSE file system that nobody serves.
func checkFuse(ctx context.Context) []Check {
	c := fuseOf(ctx)
	if c.Status != CheckOK {
		c.Cause += "; --require=fuse is refused, nothing else needs it yet"
	}
	return []Check{c}
}

func fuseOf(ctx context.Context) Check {
	c := newCheck("fuse", "/dev/fuse works in a user namespace")
	if cause, cure, who := deviceFault("/dev/fuse", "fuse"); cause != "" {
		c.Detail = "/dev/fuse cannot be used"
		return c.missing(cause, cure, who)
	}
	res, err := runProbe(ctx, probeFuse, "/", 0)
	if err != nil || !res.done("mnt") {
		c.Detail = "not tried"
		return c.missing(notTried(err), "see the checks userns and namespaces", userns.User)
	}
	if f := res.failures("fuse."); len(f) > 0 {
		c.Detail = "/dev/fuse can be opened, but not mounted: " + f[0]
		return c.missing("the kernel (before Linux 4.18) or a security module refuses FUSE in user namespaces", "run Linux 4.18 or later, or allow it in the module's policy", userns.Administrator)
	}
	return c
}

func tryFuse(res *probeResult) {
	if !res.try("mnt", probeMounts()) {
		return
	}
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if !res.try("fuse.open", err) {
		return
	}
	defer dev.Close()
	m, err := newMount("fuse", attrNoExec, fsOption{"source", "sandbox-doctor"}, fsOption{"fd", fmt.Sprint(dev.Fd())},
		fsOption{"rootmode", "40000"}, fsOption{"user_id", "0"}, fsOption{"group_id", "0"})
	if res.try("fuse.mount", err) {
		m.Close()
	}
}

// checkTun makes a network interface in a network namespace.
func checkTun(ctx context.Context) []Check {
	const use = "; --network private needs it"
	c := newCheck("tun", "/dev/net/tun works in a user namespace")
	if cause, cure, who := deviceFault("/dev/net/tun", "tun"); cause != "" {
		c.Detail = "/dev/net/tun cannot be used"
		return []Check{c.missing(cause+use, cure, who)}
	}
	res, err := runProbe(ctx, probeTun, "/", 0)
	if err != nil {
		c.Detail = "not tried"
		return []Check{c.missing(notTried(err), "see the checks userns and namespaces", userns.User)}
	}
	if f := res.failures(""); len(f) > 0 {
		c.Detail = "no interface can be made: " + f[0]
		return []Check{c.missing("the kernel or a security module refuses it"+use, "run a kernel with CONFIG_TUN, or allow it in the module's policy", userns.Administrator)}
	}
	return []Check{c}
}

func tryTun(res *probeResult) {
	if !res.try("unshare", os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))) {
		return
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if !res.try("open", err) {
		return
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("sandbox0")
	if !res.try("name", err) {
		return
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	res.try("TUNSETIFF", unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
}

// deviceFault says why a device cannot be opened by us, "" when it can.
func deviceFault(path, module string) (cause, cure string, who userns.Who) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		f.Close()
		return "", "", ""
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		cause = path + " does not exist"
		cure = fmt.Sprintf("modprobe %s; in a container: start it with --device %s", module, path)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		cause, cure = "the kernel has no driver for "+path, "modprobe "+module
	case errors.Is(err, unix.EPERM):
		cause = path + ": the devices cgroup of the container around us refuses it"
		return cause, "start the container with --device " + path, userns.OuterContainer
	case errors.Is(err, os.ErrPermission):
		cause = fmt.Sprintf("%s may not be opened by uid %d", path, os.Geteuid())
		cure = fmt.Sprintf("chmod 0666 %s, for good by a udev rule (KERNEL==%q, MODE=\"0666\")", path, filepath.Base(path))
	default:
		cause, cure = err.Error(), "make "+path+" usable"
	}
	return cause, cure, userns.Administrator
}
