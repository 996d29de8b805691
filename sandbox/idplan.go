package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/runc"
	"sandbox.example/sandbox/stage"
	"sandbox.example/sandbox/userns"
)

// idPlan is the map of a sandbox's own, nested user namespace.
type idPlan struct {
	ids userns.IDs // inside the sandbox → in our namespace

	// shifted: as real root the sandbox gets a range of its own, never kuid 0,
	// so host trees are shown through idmapped mounts. namespace is then a
	// user namespace with that map, for mount_setattr(2).
	shifted   bool
	namespace *os.File
}

// A range for a root's sandbox is taken from here: above everything that
// useradd and systemd hand out (systemd.io/UIDS-GIDS), below 2^31.
const (
	shiftFirst = 0x70000000
	shiftSlots = 4000
	shiftCount = 65536
)

// planIDs decides the map. What it takes is released by undo.
func planIDs(e userns.Entry, undo *closers) (idPlan, error) {
	current, err := userns.Current()
	if err != nil {
		return idPlan{}, err
	}
	if e.Way != userns.Root || e.Userns == "identity" {
		return idPlan{ids: current.Nested()}, nil
	}
	base, err := freeRange(undo)
	if err != nil {
		return idPlan{}, fmt.Errorf("find a free range of ids: %w", err)
	}
	r := userns.Range{Inside: 0, Outside: base, Count: shiftCount}
	if e.Userns == "single" {
		r.Count = 1
	}
	p := idPlan{ids: userns.IDs{UIDs: []userns.Range{r}, GIDs: []userns.Range{r}}, shifted: true}
	if p.namespace, err = mappedNamespace(r); err != nil {
		return idPlan{}, fmt.Errorf("make a user namespace for idmapped mounts: %w", err)
	}
	undo.add(p.namespace.Close)
	return p, nil
}

// uid returns what uid inside is in our namespace, false if the map lacks it.
func (p idPlan) uid(uid int) (int, bool) { return p.ids.UID(uid) }

// gid is uid for groups.
func (p idPlan) gid(gid int) (int, bool) { return p.ids.GID(gid) }

// root returns the owner of what we make for the sandbox.
func (p idPlan) root() (uid, gid int) {
	uid, _ = p.uid(0)
	gid, _ = p.gid(0)
	return uid, gid
}

// check says whether u exists in the map.
func (p idPlan) check(u User) error {
	if _, ok := p.uid(u.UID); !ok {
		return &UnmappedError{"uid", u.UID, userns.Format(p.ids.UIDs)}
	}
	if _, ok := p.gid(u.GID); !ok {
		return &UnmappedError{"gid", u.GID, userns.Format(p.ids.GIDs)}
	}
	return nil
}

// UnmappedError says that an id does not exist in the sandbox.
type UnmappedError struct {
	Kind string // "uid" or "gid"
	ID   int
	Map  string // the ids that exist, such as "0-65535"
}

// Error names the id and the map.
func (e *UnmappedError) Error() string {
	return fmt.Sprintf("%s %d is not in the map of the sandbox, which has %s", e.Kind, e.ID, e.Map)
}

func (p idPlan) maps() (uids, gids []runc.IDMap) {
	convert := func(m []userns.Range) []runc.IDMap {
		out := make([]runc.IDMap, len(m))
		for i, r := range m {
			out[i] = runc.IDMap(r)
		}
		return out
	}
	return convert(p.ids.UIDs), convert(p.ids.GIDs)
}

// shift idmaps a detached tree, all its mounts or none. It does nothing when
// the sandbox's ids are ours.
func (p idPlan) shift(tree *os.File, recursive bool) error {
	if !p.shifted {
		return nil
	}
	var flags uint
	if recursive {
		flags = unix.AT_RECURSIVE
	}
	return setattr(tree, flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(p.namespace.Fd())})
}

// asRoot calls make, which creates files, as the sandbox's uid 0: in an idmapped
// mount our own ids do not exist (EOVERFLOW). It keeps our capabilities.
func (p idPlan) asRoot(make func() error) error {
	if !p.shifted {
		return make()
	}
	// The file system ids and the securebits are those of a thread.
	runtime.LockOSThread()
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err != nil {
		return os.NewSyscallError("prctl(PR_GET_SECUREBITS)", err)
	}
	const keepCaps = 1 << 2 // SECBIT_NO_SETUID_FIXUP, capabilities(7)
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(bits)|keepCaps, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_SECUREBITS)", err)
	}
	uid, gid := p.root()
	oldUID, err := unix.SetfsuidRetUid(uid)
	if err != nil {
		return os.NewSyscallError("setfsuid", err)
	}
	oldGID, err := unix.SetfsgidRetGid(gid)
	if err != nil {
		return os.NewSyscallError("setfsgid", err)
	}
	err = make()
	if err := errors.Join(unix.Setfsgid(oldGID), unix.Setfsuid(oldUID),
		unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(bits), 0, 0, 0)); err != nil {
		return fmt.Errorf("take back file system ids: %w", err)
	}
	runtime.UnlockOSThread() // a thread that is not as it was is used by nobody else
	return err
}

// freeRange returns the first id of a range that no /etc/sub[ug]id line and no
// other sandbox has. The claim is a locked file that all of root's sandboxes
// see.
func freeRange(undo *closers) (int64, error) {
	if err := makeMountsDir(); err != nil {
		return 0, err
	}
	dir := filepath.Join(mountsDir, "ids")
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return 0, err
	}
	if err := sweepClaims(dir); err != nil {
		return 0, err
	}
	taken, err := subidRanges()
	if err != nil {
		return 0, err
	}
	for range 100 {
		base := int64(shiftFirst + rand.IntN(shiftSlots)*shiftCount)
		if slices.ContainsFunc(taken, func(r userns.Range) bool {
			return base < r.Outside+r.Count && r.Outside < base+shiftCount
		}) {
			continue
		}
		path := filepath.Join(dir, strconv.FormatInt(base, 10))
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return 0, err
		}
		if !claimed(f) {
			f.Close()
			continue
		}
		undo.add(func() error { return errors.Join(os.Remove(path), f.Close()) })
		return base, nil
	}
	return 0, errors.New("100 random ranges were all in use")
}

// claimed takes the lock of a claim. False: somebody else has it, or has
// removed the file since it was opened.
func claimed(f *os.File) bool {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	st, err := stat(f)
	return err == nil && st.Nlink > 0
}

// sweepClaims removes the claims of sandboxes that were killed.
func sweepClaims(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue // its owner was faster
		}
		if err != nil {
			return err
		}
		if claimed(f) {
			err = os.Remove(path)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// subidRanges reads what the administrator has given away.
func subidRanges() ([]userns.Range, error) {
	var out []userns.Range
	for _, path := range []string{"/etc/subuid", "/etc/subgid"} {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Split(strings.TrimSpace(line), ":")
			if len(f) != 3 {
				continue
			}
			start, err1 := strconv.ParseInt(f[1], 10, 64)
			count, err2 := strconv.ParseInt(f[2], 10, 64)
			if err1 == nil && err2 == nil {
				out = append(out, userns.Range{Outside: start, Count: count})
			}
		}
	}
	return out, nil
}

// mappedNamespace returns a user namespace with the ids of r: a descriptor
// keeps it when the process that made it has left.
func mappedNamespace(r userns.Range) (*os.File, error) {
	prog, err := stage.Open()
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	stdin, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	defer hold.Close()
	m := []syscall.SysProcIDMap{{ContainerID: int(r.Inside), HostID: int(r.Outside), Size: int(r.Count)}}
	p, err := os.StartProcess(fdPath(prog), []string{"sandbox", "block"}, &os.ProcAttr{
		Files: []*os.File{stdin},
		Env:   []string{},
		Sys:   &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: m, GidMappings: m},
	})
	if err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			err = userns.CreateError(errno)
		}
		return nil, err
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", p.Pid))
	hold.Close()
	_, werr := p.Wait()
	if err := errors.Join(err, werr); err != nil {
		if ns != nil {
			ns.Close()
		}
		return nil, err
	}
	return ns, nil
}
