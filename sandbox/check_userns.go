package sandbox

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	"sandbox.example/sandbox/userns"
)

// lookChecks are the checks of what leads into a user namespace.
func lookChecks(l userns.Look) []Check {
	checks := []Check{fromFinding("userns", l.Create).needed()}
	for _, c := range []Check{
		fromFinding("newuidmap", l.NewUIDMap),
		fromFinding("newgidmap", l.NewGIDMap),
		fromFinding("subuid", l.SubUID),
		fromFinding("subgid", l.SubGID),
	} {
		if c.Status != CheckOK && (l.Expected == userns.Root || l.Expected == userns.Nested) {
			c = newCheck(c.Name, fmt.Sprintf("%s; not used: run takes the way %q", c.Detail, l.Expected))
		}
		checks = append(checks, c)
	}
	return checks
}

// wayCheck says which way run would take, or why it would fail.
func (r *Report) wayCheck(l userns.Look) Check {
	c := Check{Name: "way", Status: CheckOK, Needs: true}
	for _, w := range r.Ways {
		if w.Name != l.Expected.String() {
			continue
		}
		c.Status, c.Detail, c.Cause, c.Cure, c.Who = w.Status, w.Name+": "+w.Detail, w.Cause, w.Cure, w.Who
		if !w.Taken {
			c.Detail = "none: run fails"
			if l.Expected == userns.Held && l.Create.OK() && r.find("namespaces").Status != CheckMissing && !strings.Contains(c.Cure, "--userns=single") {
				c.Cure += "; --userns=single works without it"
			}
		} else if l.Expected == userns.Single {
			c = c.degraded(l.Why, "", userns.Administrator)
			c.Cure, c.Who = singleCure(l)
		}
		return c
	}
	c.Detail = "none: run fails"
	for _, w := range l.Ways {
		if l.Why != "" && w.Cause == l.Why {
			return c.missing(w.Cause, w.Cure, w.Who)
		}
	}
	switch {
	case l.Why != "":
		return c.missing(l.Why, "unset SANDBOX_USERNS, or cure newuidmap, subuid and subgid below", userns.User)
	default:
		return c.missing(l.Create.Cause, l.Create.Cure, l.Create.Who)
	}
}

// singleCure says what would give more than one id.
func singleCure(l userns.Look) (string, userns.Who) {
	for _, f := range []userns.Finding{l.NewUIDMap, l.NewGIDMap, l.SubUID, l.SubGID} {
		if !f.Works() {
			return f.Cure, f.Who
		}
	}
	if strings.Contains(l.Why, "SANDBOX_USERNS") {
		return "unset SANDBOX_USERNS", userns.User
	}
	return "run as an unprivileged user, or with root's capabilities (docker: --cap-add SYS_ADMIN)", userns.OuterContainer
}

// checkNamespaces makes each kind of namespace that a sandbox has, and uses
// the mount API, as root of a new user namespace.
func checkNamespaces(ctx context.Context) []Check {
	c := newCheck("namespaces", "user (nested), mount, pid, net, ipc, uts and cgroup can be made").needed()
	sc := newCheck("syscalls", fmt.Sprintf("all of %s work; Linux %s", strings.Join(callNames(), ", "), release())).needed()
	res, err := runProbe(ctx, probeNamespaces, "/", 0)
	if err != nil {
		c.Detail, sc.Detail = "not tried", "not tried"
		return []Check{c.missing(err.Error(), probeCure(err), userns.User), sc.missing("they need a user namespace", "see the check userns", userns.User)}
	}
	if failed := res.failures("unshare."); len(failed) > 0 {
		c.Detail = "refused: " + strings.Join(failed, ", ")
		if e := res.errno("unshare.mnt"); e != 0 {
			f := userns.ExplainRights()
			c = c.missing(f.Cause, f.Cure, f.Who)
			c.Detail += "; " + f.Detail
		} else if res.hasErrno("unshare.", syscall.ENOSPC) {
			c = c.missing("a limit user.max_*_namespaces is used up or 0", "raise it, sysctl -a --pattern 'user.max_.*_namespaces' shows it; in the outer namespaces too", userns.Administrator)
		} else if res.hasErrno("unshare.", syscall.EINVAL) {
			c = c.missing("the kernel does not have this kind of namespace", "run a kernel with CONFIG_PID_NS, CONFIG_NET_NS, CONFIG_IPC_NS, CONFIG_UTS_NS and CONFIG_CGROUPS", userns.Administrator)
		} else {
			f := userns.ExplainRights()
			c = c.missing(f.Cause, f.Cure, f.Who)
		}
	}
	if failed := res.failures("call."); len(failed) > 0 {
		sc.Detail = "refused: " + strings.Join(failed, ", ") + "; Linux " + release()
		switch {
		case c.Status == CheckMissing:
			sc = sc.missing("they need a mount namespace", "see the check namespaces", userns.User)
		case res.hasErrno("call.", syscall.ENOSYS):
			sc = sc.missing("the kernel is older than Linux 5.12, or an outer container hides system calls",
				"run Linux 5.12 or later; in a container: a newer seccomp profile (docker, podman: --security-opt seccomp=unconfined)", userns.Administrator)
		default:
			f := userns.ExplainRights()
			sc = sc.missing(f.Cause, f.Cure, f.Who)
		}
	}
	return []Check{c, sc}
}

// checkProc mounts a new proc and a new sysfs where a sandbox will.
func checkProc(ctx context.Context) []Check {
	proc := newCheck("proc", "a new /proc can be mounted")
	host := newCheck("hostname", "a sandbox can have a host name of its own")
	sysfs := newCheck("sysfs", "a new /sys can be mounted")
	res, err := runProbe(ctx, probeProc, "/", syscall.CLONE_NEWPID)
	if err != nil || res.errno("mnt") != 0 {
		checks := []Check{proc, sysfs, host}
		for i := range checks {
			checks[i].Detail = "not tried"
			checks[i] = checks[i].missing(notTried(err), "see the checks userns and namespaces", userns.User)
		}
		return checks
	}
	const cure = "start the outer container with unmasked paths (docker: --security-opt systempaths=unconfined, podman: --security-opt unmask=ALL), or bind a second, unmasked one into it"
	if f := res.failures("proc"); len(f) > 0 {
		proc.Detail = "a new /proc cannot be mounted: " + f[0]
		proc = proc.degraded("the outer container masks parts of /proc, so the kernel refuses a new one; run shows the outer one, read-only: the processes of the container, with their arguments, can be seen inside", cure, userns.OuterContainer)
	}
	if f := res.failures("sysfs"); len(f) > 0 {
		sysfs.Detail = "a new /sys cannot be mounted: " + f[0]
		sysfs = sysfs.degraded("the outer container masks parts of /sys, so the kernel refuses a new one; run shows the outer one, read-only", cure, userns.OuterContainer)
	}
	if f := res.failures("hostname"); len(f) > 0 {
		host.Detail = "the host name cannot be set: " + f[0]
		host = host.degraded("an outer container refuses it; sandboxes have the name of what is around them", "allow sethostname(2) in its seccomp filter", userns.OuterContainer)
	}
	return []Check{proc, sysfs, host}
}

// notTried is the cause of a check whose probe found no namespace to work in.
func notTried(err error) string {
	if err != nil {
		return err.Error()
	}
	return "no mount namespace can be made"
}
