package userns

import (
	"os"
	"strings"
	"syscall"
)

// sysctl returns a setting's value, "" when the kernel does not have it.
func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// unshareHint explains why unshare(CLONE_NEWUSER) failed: user_namespaces(7)
// and unshare(2) give the errors their meaning.
func unshareHint(errno syscall.Errno) string {
	switch {
	case errno == syscall.ENOSPC || sysctl("user.max_user_namespaces") == "0":
		return "user.max_user_namespaces is used up or 0: an administrator raises it with sysctl -w user.max_user_namespaces=28633"
	case errno == syscall.EUSERS:
		return "user namespaces are nested too deep (32 levels): start from a process further outside"
	case sysctl("kernel.unprivileged_userns_clone") == "0":
		return "an administrator allows it with sysctl -w kernel.unprivileged_userns_clone=1"
	case sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1":
		return restrictedHint()
	case chrooted():
		return "the kernel refuses it in a chroot: start outside of it, or enter it with pivot_root"
	case seccomped():
		return "a seccomp filter around this process refuses it: start the outer container with one that allows user namespaces (docker: --security-opt seccomp=unconfined)"
	}
	return `unprivileged user namespaces are off; "sandbox doctor" tells what to change`
}

// restrictedHint is for a namespace that was made but gives no rights: what
// AppArmor does on Ubuntu 24.04.
func restrictedHint() string {
	if sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1" {
		return "AppArmor takes the rights in user namespaces away: an administrator installs a profile that allows userns for this binary, or sets kernel.apparmor_restrict_unprivileged_userns=0"
	}
	return "a security module or an outer container takes the rights in user namespaces away; \"sandbox doctor\" tells more"
}

// seccomped tells whether this process runs under a seccomp filter.
func seccomped() bool {
	b, err := os.ReadFile("/proc/self/status")
	return err == nil && strings.Contains(string(b), "\nSeccomp:\t2")
}

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
