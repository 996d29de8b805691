package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// checkCreate makes a user namespace with one id, as the constructor does.
func checkCreate(ctx context.Context) Finding {
	b, err := startBlocked(ctx, single(os.Geteuid()), single(os.Getegid()))
	if err == nil {
		b.stop()
		return Finding{Detail: "a user namespace can be made"}
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return Finding{Detail: "not tried", Cause: err.Error(), Cure: "try again", Who: User}
	}
	// Was it the namespace, or its maps?
	if b, err := startBlocked(ctx, nil, nil); err == nil {
		b.stop()
		const setfcap = 1 << 31
		f := explainMap(os.Geteuid() == 0 && capEff()&setfcap == 0)
		f.Detail = fmt.Sprintf("a user namespace can be made, but its maps cannot be written: %v", errno)
		return f
	}
	return ExplainCreate(errno)
}

// explainMap says why a process may not write the maps of a user namespace that
// it has made; plainRoot: it had uid 0, but not CAP_SETFCAP.
func explainMap(plainRoot bool) Finding {
	f := ExplainRights()
	if plainRoot { // user_namespaces(7)
		f.Cause = "root without CAP_SETFCAP may not map its own id (since Linux 5.12)"
		f.Cure, f.Who = "start the container with --cap-add SETFCAP, or as an unprivileged user", OuterContainer
	}
	return f
}

func single(outside int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: outside, Size: 1}}
}

// ExplainCreate says why making a user namespace failed with errno, and what
// helps: user_namespaces(7) and clone(2) give the errors their meaning.
func ExplainCreate(errno syscall.Errno) Finding {
	f := Finding{Detail: fmt.Sprintf("clone(CLONE_NEWUSER): %v", errno), Who: Administrator}
	limit := sysctl("user.max_user_namespaces")
	ids, err := Current()
	outside := OuterContainer
	if err == nil && ids.full() {
		outside = Administrator
	}
	switch {
	case errno == syscall.ENOSPC && limit == "0":
		f.Cause = "user.max_user_namespaces is 0"
		f.Cure, f.Who = "sysctl -w user.max_user_namespaces=28633", outside
	case errno == syscall.ENOSPC:
		f.Cause = "user.max_user_namespaces is used up, here or further outside; here it is " + limit
		f.Cure, f.Who = "sysctl -w user.max_user_namespaces=28633, in the outer namespaces too", outside
	case errno == syscall.EUSERS:
		f.Cause = "user namespaces are nested too deep (32 levels)"
		f.Cure, f.Who = "start from a process further outside", User
	case errno == syscall.EAGAIN:
		f.Cause = "there may be no more processes: RLIMIT_NPROC, or the pids limit of a cgroup"
		f.Cure, f.Who = "end some, or raise the limit (ulimit -u)", User
	case errno == syscall.EPERM && err == nil && !hasOwn(ids):
		f.Cause = fmt.Sprintf("uid %d or gid %d is not mapped in the user namespace around this process", os.Geteuid(), os.Getegid())
		f.Cure, f.Who = "start that namespace with a map (unshare --map-root-user or --map-current-user)", OuterContainer
	case errno == syscall.EINVAL:
		f.Cause = "the kernel has no user namespaces (CONFIG_USER_NS)"
		f.Cure = "run a kernel with CONFIG_USER_NS=y"
	case sysctl("kernel.unprivileged_userns_clone") == "0" && capEff()&(1<<21) == 0:
		f.Cause = "kernel.unprivileged_userns_clone is 0"
		f.Cure = "sysctl -w kernel.unprivileged_userns_clone=1"
	case errno == syscall.EPERM && chrooted():
		f.Cause = "the kernel refuses user namespaces in a chroot"
		f.Cure, f.Who = "start outside of the chroot, or enter it with pivot_root", User
	case errno == syscall.EACCES && sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1":
		return withDetail(ExplainRights(), f.Detail)
	case seccomped():
		f.Cause = "a seccomp filter around this process refuses it"
		f.Cure = "start the outer container with a filter that allows user namespaces (docker, podman: --security-opt seccomp=unconfined)"
		f.Who = OuterContainer
	case sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1":
		return withDetail(ExplainRights(), f.Detail)
	default:
		// A chroot on a mount point of its own cannot be told from a root.
		f.Cause = "a security module refuses it (active: " + securityModules() + "), or this is a chroot"
		f.Cure = "allow user namespaces in its policy, its log (dmesg, ausearch) names the rule; leave the chroot"
	}
	return f
}

// hasOwn tells whether our own ids are in the map: clone(2) and unshare(2) want
// them there.
func hasOwn(ids IDs) bool {
	_, uid := ids.UID(os.Geteuid())
	_, gid := ids.GID(os.Getegid())
	return uid && gid
}

// ExplainRights says why a user namespace that was made gives no rights: what
// AppArmor does on Ubuntu since 24.04.
func ExplainRights() Finding {
	if sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1" {
		return Finding{
			Detail: "kernel.apparmor_restrict_unprivileged_userns is 1",
			Cause:  "AppArmor takes the rights in user namespaces away",
			Cure:   "install an AppArmor profile that allows userns for this binary, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
			Who:    Administrator,
		}
	}
	if seccomped() {
		return Finding{
			Detail: "a user namespace gives no rights",
			Cause:  "a seccomp filter around this process refuses what root of a user namespace may do",
			Cure:   "start the outer container with a filter that allows mounts (docker, podman: --security-opt seccomp=unconfined)",
			Who:    OuterContainer,
		}
	}
	return Finding{
		Detail: "a user namespace gives no rights",
		Cause:  "a security module takes the rights in user namespaces away (active: " + securityModules() + ")",
		Cure:   "allow them in its policy; its log (dmesg, ausearch) names the rule",
		Who:    Administrator,
	}
}

func withDetail(f Finding, detail string) Finding {
	f.Detail = detail
	return f
}

func securityModules() string {
	b, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		return "not known" // securityfs is not mounted
	}
	return strings.TrimSpace(string(b))
}

// blocked is a process that does nothing, in a user namespace of its own. It
// cannot outlive us: its stdin is a pipe that only we hold open.
type blocked struct {
	cmd  *exec.Cmd
	life *os.File
}

// startBlocked starts one; nil maps leave the namespace without ids. The
// caller stops it.
func startBlocked(ctx context.Context, uids, gids []syscall.SysProcIDMap) (*blocked, error) {
	stdin, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{"sandbox-block"} // a role in args.c
	cmd.Env = []string{}
	cmd.Stdin = stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: uids, GidMappings: gids}
	if err := cmd.Start(); err != nil {
		life.Close()
		return nil, err
	}
	return &blocked{cmd, life}, nil
}

// stop ends the process and collects it.
func (b *blocked) stop() {
	b.life.Close()
	// It always exits 0 at the end of its stdin; killed by ctx it has said so
	// to whoever waits for ctx.
	_ = b.cmd.Wait()
}

// sysctl returns a setting's value, "" when the kernel does not have it.
func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// seccomped tells whether this process runs under a seccomp filter.
func seccomped() bool { return statusField("Seccomp") == "2" }

// chrooted tells whether our root is not the root of our mount namespace:
// the mount point "/" is then missing from mountinfo (proc(5)).
func chrooted() bool {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			return false
		}
	}
	return true
}
