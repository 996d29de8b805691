package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/runc"
	"sandbox.example/sandbox/userns"
)

// An outer container may keep a sandbox from having what every sandbox has: a
// /proc and a /sys of its own, when parts of the outer ones are masked, and a
// host name. That shows when pid 1 is to be started. Then a probe finds out
// what it is, the sandbox gets what can be had instead, which is said, and is
// started again. Where nothing is missing all this costs nothing.

// startPid1 starts pid 1, with less than usual if need be.
func (sb *Sandbox) startPid1(ctx context.Context, p runc.Process) (*runc.Container, error) {
	prepared, err := sb.prepare()
	if err != nil {
		return nil, err
	}
	ct, err := prepared.Start(p)
	var start *runc.StartError
	if !errors.As(err, &start) {
		return ct, err
	}
	if unix.Access("/proc/self/exe", unix.R_OK) != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	config, weaker, ferr := sb.weaken(ctx, sb.config())
	var errno syscall.Errno
	if errors.Is(ferr, errNoUserns) && errors.As(ferr, &errno) {
		return nil, userns.CreateError(errno)
	}
	if ferr != nil || !weaker {
		return nil, errors.Join(err, ferr)
	}
	if prepared, err = runc.New(config); err != nil {
		return nil, err
	}
	return prepared.Start(p)
}

// ErrUnreadable is wrapped when the program may be executed but not read: then
// it cannot make the copy of itself that runs inside.
var ErrUnreadable = errors.New("the sandbox binary cannot be read")

// weaken takes out of the configuration what this machine refuses, and tells
// whether that was anything.
func (sb *Sandbox) weaken(ctx context.Context, config runc.Config) (_ runc.Config, weaker bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	res, err := runProbe(ctx, probeProc, "/", unix.CLONE_NEWPID)
	if err != nil {
		return config, false, err
	}
	if f := res.failures("proc"); len(f) > 0 {
		config.OuterProc = true
		err = sb.showOuter("/proc")
		sb.notice("the kernel refuses a new /proc here, because parts of the outer one are masked: " +
			"the outer one is shown, read-only, with the processes of the outer container and their arguments")
	}
	if f := res.failures("sysfs"); len(f) > 0 && !config.HostNetwork {
		config.OuterSys = true
		err = errors.Join(err, sb.showOuter("/sys"))
		sb.notice("the kernel refuses a new /sys here: the outer one is shown, read-only")
	}
	if f := res.failures("hostname"); len(f) > 0 {
		config.Hostname = ""
		sb.notice("the host name of a sandbox cannot be set here: " + f[0])
	}
	weaker = config.OuterProc || config.OuterSys || config.Hostname == ""
	if err != nil || !weaker {
		return config, weaker, err
	}
	config.StateDir = filepath.Join(config.StateDir, "again")
	return config, true, os.Mkdir(config.StateDir, 0o700)
}

// showOuter mounts what we see at path into the tree, read-only. That is locked
// in the sandbox's own namespace (mount_namespaces(7)): nobody inside can make
// it writable, whatever his rights there.
func (sb *Sandbox) showOuter(path string) error {
	m, err := cloneTree(path)
	if errors.Is(err, unix.ENOENT) {
		return nil // there is none outside
	}
	if err != nil {
		return err
	}
	defer m.Close()
	if err := setTree(m, attrNoExec|unix.MOUNT_ATTR_RDONLY); err != nil {
		return err
	}
	dst, err := openInRoot(sb.root, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer dst.Close()
	return attach(m, dst)
}
