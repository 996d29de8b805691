package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/userns"
)

// Dirs are the directories in which we keep things (DESIGN: where things are).
// They need not exist; each is empty when it has no place: the runtime directory
// before the first run, the others without a home.
type Dirs struct {
	Runtime string `json:"runtime"` // of this boot: state of running sandboxes, the holder
	State   string `json:"state"`   // records, logs, results
	Data    string `json:"data"`    // layers and refs
	Cache   string `json:"cache"`   // cache mounts
}

// UserDirs returns the caller's directories, by the XDG variables and their
// defaults below $HOME. It makes nothing.
func UserDirs() Dirs {
	d := Dirs{
		State: userDir("XDG_STATE_HOME", ".local/state"),
		Data:  userDir("XDG_DATA_HOME", ".local/share"),
		Cache: userDir("XDG_CACHE_HOME", ".cache"),
	}
	if dir, err := userns.RuntimeDir(); err == nil {
		d.Runtime = dir
	} // else nothing has run yet, or checkRuntime says why it is not usable
	return d
}

func userDir(variable, below string) string {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) { // a relative one is to be ignored, says XDG
		return filepath.Join(dir, "sandbox")
	}
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		u, err := user.Current()
		if err != nil || !filepath.IsAbs(u.HomeDir) {
			return ""
		}
		home = u.HomeDir
	}
	return filepath.Join(home, below, "sandbox")
}

// What a directory should have left. Runtime directories hold a few small
// files; the others hold trees.
func wantRuntime() room { return room{bytes: 1 << 20, inodes: 100} }
func wantStore() room   { return room{bytes: 256 << 20, inodes: 10_000} }

// room is what a file system should have left.
type room struct{ bytes, inodes uint64 }

// checkRuntime looks at the place of the runtime directory, as place.c chooses
// it: below XDG_RUNTIME_DIR, else made in /tmp and remembered.
func (d Dirs) checkRuntime(context.Context) []Check {
	const name, cure = "store.runtime", "set XDG_RUNTIME_DIR to a directory that is yours alone (mode 0700)"
	var checks []Check
	if way, _ := userns.Expect(); way == userns.Root { // its mount points have a place of their own
		checks = append(checks, checkDir("store.mounts", mountsDir, wantRuntime()).needed())
	}
	fault := runtimeHomeFault()
	if fault == "" {
		dir := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "sandbox")
		return append(checks, checkDir(name, dir, wantRuntime()).needed())
	}
	dir := d.Runtime
	if dir == "" {
		dir = "/tmp/sandbox-XXXXXX"
	}
	c := checkDir(name, dir, wantRuntime()).needed()
	c.Detail += "; " + fault
	if state := checkDir(name, d.State, room{}); state.Status == CheckMissing && c.Status == CheckOK {
		c = c.degraded("it cannot be remembered ("+state.Cause+"), so each run stands alone, and -d is refused", cure, userns.User)
	}
	return append(checks, c)
}

// runtimeHomeFault says why XDG_RUNTIME_DIR is not used, "" when it is.
func runtimeHomeFault() string {
	xdg := os.Getenv("XDG_RUNTIME_DIR")
	if xdg == "" {
		return "XDG_RUNTIME_DIR is not set"
	}
	var st unix.Stat_t
	switch err := unix.Stat(xdg, &st); {
	case !filepath.IsAbs(xdg):
		return fmt.Sprintf("XDG_RUNTIME_DIR %q is not an absolute path", xdg)
	case err != nil:
		return fmt.Sprintf("XDG_RUNTIME_DIR %q: %v", xdg, err)
	case int(st.Uid) != os.Geteuid():
		return fmt.Sprintf("XDG_RUNTIME_DIR %q belongs to uid %d", xdg, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Sprintf("others can write to XDG_RUNTIME_DIR %q", xdg)
	}
	if unix.Stat(filepath.Join(xdg, "sandbox"), &st) == nil && (int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0) {
		return fmt.Sprintf("%q is not ours alone", filepath.Join(xdg, "sandbox"))
	}
	return ""
}

func (d Dirs) checkState(context.Context) []Check {
	return []Check{checkDir("store.state", d.State, wantRuntime())}
}

func (d Dirs) checkCache(context.Context) []Check {
	return []Check{checkDir("store.cache", d.Cache, wantStore())}
}

// checkDir looks whether we can keep things in dir, made or still to be made:
// it makes and removes a directory there, or in the nearest directory above
// that exists.
func checkDir(name, dir string, want room) Check {
	elsewhere := elsewhere(name)
	c := newCheck(name, "no place")
	if dir == "" {
		return c.missing("HOME is not set and there is no entry in /etc/passwd for us", "set HOME"+elsewhere, userns.User)
	}
	base, exists, err := nearest(dir)
	if err != nil {
		c.Detail = fmt.Sprintf("%q", dir)
		return c.missing(err.Error(), "correct its owner and mode"+elsewhere, userns.User)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(base, &fs); err != nil {
		return c.missing(fmt.Sprintf("statfs %q: %v", base, err), "see which file system does not answer: df", userns.User)
	}
	free := fs.Bavail * uint64(fs.Bsize)
	c.Detail = fmt.Sprintf("%q on %s, %s free", dir, fsName(fs.Type), units.BytesSize(float64(free)))
	if !exists {
		c.Detail += fmt.Sprintf(", to be made in %q", base)
	}
	if fs.Files > 0 {
		c.Detail += fmt.Sprintf(", %d inodes", fs.Ffree)
	}
	tmp, err := tempDir(base)
	if err != nil {
		cure := fmt.Sprintf("make %q a directory that you can write to", base) + elsewhere
		switch {
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
			cure = "free some space or inodes there" + elsewhere
		case errors.Is(err, unix.EROFS):
			cure = "mount it writable" + elsewhere
		}
		return c.missing(err.Error(), cure, userns.User)
	}
	defer os.Remove(tmp) // empty
	if err := tryLock(tmp); err != nil {
		return c.missing("the file system has no locks: "+err.Error(), "start the lock service of this file system"+elsewhere, userns.User)
	}
	if free < want.bytes || fs.Files > 0 && fs.Ffree < want.inodes {
		return c.degraded(fmt.Sprintf("less than %s or %d inodes are free", units.BytesSize(float64(want.bytes)), want.inodes),
			"free some space there"+elsewhere, userns.User)
	}
	return c
}

// elsewhere is the other half of most cures.
func elsewhere(name string) string {
	switch name {
	case "store.runtime":
		return ", or set XDG_RUNTIME_DIR to another place of yours (mode 0700)"
	case "store.state":
		return ", or set XDG_STATE_HOME to another place"
	case "store.data":
		return ", or set XDG_DATA_HOME to another place"
	case "store.cache":
		return ", or set XDG_CACHE_HOME to another place"
	}
	return ""
}

// nearest returns dir, or the nearest directory above it that exists. Ours
// must be owned by us and closed for others to write.
func nearest(dir string) (base string, exists bool, err error) {
	for base := dir; ; base = filepath.Dir(base) {
		var st unix.Stat_t
		err := unix.Stat(base, &st)
		if errors.Is(err, unix.ENOENT) && base != "/" {
			continue
		}
		if err != nil {
			return "", false, &os.PathError{Op: "stat", Path: base, Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return "", false, &os.PathError{Op: "open", Path: base, Err: unix.ENOTDIR}
		}
		if base == dir && filepath.Base(dir) == "sandbox" {
			if int(st.Uid) != os.Geteuid() {
				return "", false, fmt.Errorf("%q belongs to uid %d, not to us", base, st.Uid)
			}
			if st.Mode&0o022 != 0 {
				return "", false, fmt.Errorf("%q has mode %04o: others can write to it", base, st.Mode&0o7777)
			}
		}
		return base, base == dir, nil
	}
}

const tempPrefix = ".sandbox-doctor-"

// tempDir makes a directory in base for the caller to remove. What a killed
// doctor left there goes first.
func tempDir(base string) (string, error) {
	old, err := filepath.Glob(filepath.Join(globQuote(base), tempPrefix+"*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		// A living doctor is done in seconds. Another user's stays.
		fi, err := os.Lstat(dir)
		if err != nil {
			continue // it is gone meanwhile
		}
		st, isStat := fi.Sys().(*unixStat)
		if fi.IsDir() && isStat && int(st.Uid) == os.Geteuid() && time.Since(fi.ModTime()) > time.Minute {
			if err := removeTree(dir); err != nil {
				return "", fmt.Errorf("remove what an earlier doctor left: %w", err)
			}
		}
	}
	dir, err := os.MkdirTemp(base, tempPrefix)
	var pe *os.PathError
	if errors.As(err, &pe) { // its random name would say nothing
		return "", fmt.Errorf("make a directory in %q: %w", base, pe.Err)
	}
	return dir, err
}

func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func tryLock(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	return nil
}

// fsName is the name of a file system's type (statfs(2)).
func fsName(magic int64) string {
	switch uint32(magic) {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.FUSE_SUPER_MAGIC:
		return "fuse"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case unix.SMB2_SUPER_MAGIC, 0xff534d42:
		return "cifs"
	case unix.ECRYPTFS_SUPER_MAGIC:
		return "ecryptfs"
	case unix.SQUASHFS_MAGIC:
		return "squashfs"
	case 0x2fc12fc1:
		return "zfs"
	case 0xca451a4e:
		return "bcachefs"
	case 0x47504653:
		return "gpfs"
	case 0x0bd00bd0:
		return "lustre"
	case 0x00c36400:
		return "ceph"
	}
	return fmt.Sprintf("a file system of type 0x%x", uint32(magic))
}
