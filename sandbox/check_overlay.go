package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/userns"
)

// checkData looks at the store and, with a layer in it, at overlayfs.
func (d Dirs) checkData(ctx context.Context) []Check {
	store := checkDir("store.data", d.Data, wantStore())
	overlay := newCheck("overlay", "overlayfs works in a user namespace (userxattr)")
	base, dir := "", os.TempDir()
	if store.Status != CheckMissing {
		var err error
		if base, _, err = nearest(d.Data); err == nil {
			dir = base
		}
	}
	tmp, err := tempDir(dir)
	if err != nil {
		overlay.Detail = "not tried"
		return []Check{overlay.missing(err.Error(), "make a place for layers: see the check store.data", userns.User), store}
	}
	res, err := runProbe(ctx, probeOverlay, tmp, 0)
	rmErr := removeTree(tmp)
	if err != nil || !res.done("mnt") {
		overlay.Detail = "not tried"
		return []Check{overlay.missing(notTried(err), "see the checks userns and namespaces", userns.User), store}
	}
	const refused = "; a directory as root (but with --rw-root) and writable from= mounts are refused"
	here := res.failures("here.")
	switch {
	case len(here) == 0:
	case res.done("tmpfs.mount"):
		store.Detail += "; it cannot hold the upper layer of an overlay: " + here[0]
		if base != "" && store.Status == CheckOK {
			store = store.degraded("overlayfs does not take this file system for its upper layer; what sandboxes write to their roots is kept in memory",
				"set XDG_DATA_HOME to a place on ext4, xfs, btrfs or tmpfs", userns.User)
		}
	case res.errno("tmpfs.mount") == syscall.ENODEV:
		overlay.Detail = here[0]
		overlay = overlay.missing("the kernel has no overlayfs, or its module is not loaded"+refused, "modprobe overlay", userns.Administrator)
	default:
		overlay.Detail = here[0]
		overlay = overlay.missing("the kernel is older than Linux 5.11, or a security module refuses it"+refused, "run Linux 5.11 or later", userns.Administrator)
	}
	if rmErr != nil && store.Status == CheckOK {
		store = store.degraded("remove what was tried: "+rmErr.Error(), fmt.Sprintf("remove %q", tmp), userns.User)
	}
	return []Check{overlay, store}
}

// tryOverlay makes an overlay with its layers in the working directory, and
// another on a tmpfs, which tells a kernel that cannot from a file system that
// cannot.
func tryOverlay(res *probeResult) {
	if !res.try("mnt", probeMounts()) {
		return
	}
	here, err := os.Getwd()
	if err != nil {
		res.try("here.getwd", err)
		return
	}
	overlayAt(res, "here.", here)
	// Mounted on /proc, a directory that is always there; paths of ours are
	// absolute and do not go through it.
	m, err := newTmpfs(tmpfsOptions{mode: 0o700}, 0)
	if err == nil {
		defer m.Close()
		err = attachPath(m, "/proc")
	}
	if res.try("tmpfs.make", err) {
		overlayAt(res, "tmpfs.", "/proc")
	}
}

func attachPath(mount *os.File, path string) error {
	dst, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	return attach(mount, dst)
}

// overlayAt does with an overlay what a sandbox does: write, delete what is
// below, and make a directory where something was deleted.
func overlayAt(res *probeResult, prefix, dir string) {
	for _, d := range []string{"lower", "lower/dir", "upper", "work"} {
		if err := os.Mkdir(dir+"/"+d, 0o700); err != nil {
			res.try(prefix+"mkdir", err)
			return
		}
	}
	m, err := newMount("overlay", attrSafe,
		fsOption{"source", "overlay"}, fsOption{"lowerdir", dir + "/lower"}, fsOption{"upperdir", dir + "/upper"},
		fsOption{"workdir", dir + "/work"}, fsOption{"userxattr", ""}, fsOption{"volatile", ""}, fsOption{"xino", "off"})
	if !res.try(prefix+"mount", err) {
		return
	}
	defer m.Close()
	at := int(m.Fd())
	fd, err := unix.Openat(at, "new", unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err == nil {
		err = unix.Close(fd)
	}
	err = errors.Join(err, unix.Unlinkat(at, "dir", unix.AT_REMOVEDIR))
	err = errors.Join(err, unix.Mkdirat(at, "dir", 0o700)) // opaque: an attribute
	res.try(prefix+"write", err)
}

// checkIdmap tries idmapped mounts where root's sandboxes use them.
func (d Dirs) checkIdmap(context.Context) []Check {
	c := newCheck("idmap", "idmapped mounts are used by root only")
	if way, _ := userns.Expect(); way != userns.Root {
		return []Check{c}
	}
	ns, err := mappedNamespace(userns.Range{Inside: 0, Outside: shiftFirst, Count: shiftCount})
	if err != nil {
		c.Detail = "not tried"
		return []Check{c.missing(err.Error(), "see the checks userns and memfd", userns.User)}
	}
	defer ns.Close()
	plan := idPlan{shifted: true, namespace: ns}
	places := []string{"/"}
	if cwd, err := os.Getwd(); err == nil {
		places = append(places, cwd)
	}
	if base, _, err := nearest(d.Data); d.Data != "" && err == nil {
		places = append(places, base)
	}
	c.Detail = "idmapped mounts work on"
	var refused error
	var where string
	for i, path := range places {
		tree, err := cloneTree(path)
		if err == nil {
			err = plan.shift(tree, false)
			tree.Close()
		}
		if err != nil && refused == nil {
			refused, where = err, path
		}
		if i > 0 {
			c.Detail += ","
		}
		c.Detail += fmt.Sprintf(" %q", path)
	}
	if refused == nil {
		return []Check{c}
	}
	c.Detail = refused.Error()
	if errors.Is(refused, unix.ENOSYS) {
		return []Check{c.missing("the kernel is older than Linux 5.12", "run Linux 5.12 or later", userns.Administrator)}
	}
	return []Check{c.degraded(fmt.Sprintf("the file system of %q has no idmapped mounts: roots and --rw paths there are refused, and a host root shows what everybody may read", where),
		"keep them on ext4, xfs, btrfs or tmpfs, run as an unprivileged user, or use --userns=identity", userns.User)}
}
