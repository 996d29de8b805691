package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/image"
)

// A sandbox's state is the directory ID below the runtime directory, 0700:
//
//	lock         flocked for as long as the supervisor lives; nothing else
//	             says whether it does
//	status.json  who this is
//	stubs.json   mount points that we made in host directories (stubs.go)
//	mnt/         in our own mount namespace only: a tmpfs with files of ours,
//	             libcontainer's state, and below root/ the assembled tree
//
// As root mnt/ is below /run/sandbox instead (see sharedMountDir).
type state struct {
	id    string
	dir   string // the path
	root  string // mount point of the root's tree
	files string // mount point of a tmpfs of ours
}

// status is what others may know of a running sandbox.
type status struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	PID  int    `json:"supervisorPid"`
}

type unixStat = syscall.Stat_t

// isID tells whether name can be a sandbox's id.
func isID(name string) bool { return len(name) == idLength && strings.Trim(name, idLetters) == "" }

const (
	idLetters = "abcdefghijklmnopqrstuvwxyz0123456789"
	idLength  = 12
)

// newID returns a fresh sandbox id: 12 of [a-z0-9], 62 bits.
func newID() string {
	b := make([]byte, idLength)
	rand.Read(b)
	for i := range b {
		b[i] = idLetters[int(b[i])%len(idLetters)]
	}
	return string(b)
}

// NameTakenError says who has the name that was asked for.
type NameTakenError struct{ Name, ID string }

// Error names both.
func (e *NameTakenError) Error() string {
	return fmt.Sprintf("name %q is in use by sandbox %q", e.Name, e.ID)
}

// newState makes the state directory and clears what dead sandboxes left.
// Everything is released by undo.
func newState(runtimeDir, name string, shifted bool, undo *closers) (_ state, err error) {
	// The directory's own lock: held shared while a sandbox exists in it
	// without its lock, exclusively while somebody looks for those.
	gate, err := os.Open(runtimeDir)
	if err != nil {
		return state{}, err
	}
	defer gate.Close()
	how := unix.LOCK_EX
	if name == "" {
		how |= unix.LOCK_NB // sweeping can wait for the next command
	}
	if err := unix.Flock(int(gate.Fd()), how); err == nil {
		if err := sweep(runtimeDir, name); err != nil {
			return state{}, err
		}
	}
	if name == "" { // with a name the gate stays closed until the name is written
		if err := unix.Flock(int(gate.Fd()), unix.LOCK_SH); err != nil {
			return state{}, os.NewSyscallError("flock", err)
		}
	}
	st := state{id: newID()}
	st.dir = filepath.Join(runtimeDir, st.id)
	if err := os.Mkdir(st.dir, 0o700); err != nil {
		return state{}, err
	}
	undo.add(func() error { return removeRun(st.dir, "mnt") })
	if err := st.claim(name, undo); err != nil {
		return state{}, err
	}
	mounts := st.dir
	if shifted {
		if mounts, err = sharedMountDir(st.id, undo); err != nil {
			return state{}, err
		}
	}
	st.files = filepath.Join(mounts, "mnt")
	st.root = filepath.Join(st.files, "root")
	return st, os.Mkdir(st.files, 0o755)
}

// claim takes the lock and writes the status.
func (st state) claim(name string, undo *closers) error {
	if err := lockDir(st.dir, undo); err != nil {
		return err
	}
	b, err := json.Marshal(status{ID: st.id, Name: name, PID: os.Getpid()})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(st.dir, "status.json"), b, 0o600)
}

// mountsDir is where root's sandboxes have their mount points: their uid 0 is
// an id of its own and cannot pass the 0700 directories above our state.
const mountsDir = "/run/sandbox"

func makeMountsDir() error {
	if err := os.Mkdir(mountsDir, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	fi, err := os.Lstat(mountsDir)
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*unixStat); !fi.IsDir() || !ok || st.Uid != 0 || fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("use %q for mount points: it must be a directory that only root can write to", mountsDir)
	}
	return nil
}

func sharedMountDir(id string, undo *closers) (string, error) {
	if err := makeMountsDir(); err != nil {
		return "", err
	}
	dir := filepath.Join(mountsDir, id)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return "", err
	}
	undo.add(func() error { return removeTree(dir) })
	return dir, nil
}

// sweep clears what sandboxes left whose supervisor was killed, and looks for
// name among those that live. The gate is held exclusively.
func sweep(runtimeDir, name string) error {
	entries, err := os.ReadDir(runtimeDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !isID(e.Name()) {
			continue
		}
		dir := filepath.Join(runtimeDir, e.Name())
		if !lives(dir) {
			if err := clearDead(dir, e.Name()); err != nil {
				return fmt.Errorf("clear what sandbox %q left: %w", e.Name(), err)
			}
			continue
		}
		var s status
		if name == "" {
			continue
		}
		if b, err := os.ReadFile(filepath.Join(dir, "status.json")); err == nil && json.Unmarshal(b, &s) == nil && s.Name == name {
			return &NameTakenError{name, e.Name()}
		}
	}
	return nil
}

// clearDead removes the traces of a sandbox that was killed: its mounts and
// processes are gone with its namespaces, its files are not.
func clearDead(dir, id string) error {
	errs := []error{removeStubs(dir)}
	if os.Geteuid() == 0 {
		errs = append(errs, removeTree(filepath.Join(mountsDir, id)))
	}
	return errors.Join(append(errs, removeTree(dir))...)
}

// claimDir makes the directory id below all, locked for as long as we live, and
// removes those whose owners were killed.
func claimDir(all, id string, undo *closers) (string, error) {
	gate, err := os.Open(all) // locked as the runtime directory is, see newState
	if err != nil {
		return "", err
	}
	defer gate.Close()
	if unix.Flock(int(gate.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		entries, err := os.ReadDir(all)
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			if e.IsDir() && isID(e.Name()) && !lives(filepath.Join(all, e.Name())) {
				if err := removeTree(filepath.Join(all, e.Name())); err != nil {
					return "", err
				}
			}
		}
	}
	if err := unix.Flock(int(gate.Fd()), unix.LOCK_SH); err != nil {
		return "", os.NewSyscallError("flock", err)
	}
	dir := filepath.Join(all, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	// What the first overlay of a run leaves when nothing was written to it.
	undo.add(func() error {
		return removeRun(dir, "1/work/incompat/volatile", "1/work/incompat", "1/work/work", "1/work", "1/upper", "1")
	})
	return dir, lockDir(dir, undo)
}

// lockDir takes the lock that says that dir has a living owner.
func lockDir(dir string, undo *closers) error {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	undo.add(lock.Close)
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return os.NewSyscallError("flock", err)
	}
	return nil
}

// lives tells whether the lock in dir is held. Only what is known to be free
// counts as dead.
func lives(dir string) bool {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	defer lock.Close()
	return unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// removeRun removes a run's directory whose content is mostly known: empties
// first, one call each. Whatever else is there costs a walk.
func removeRun(dir string, empty ...string) error {
	for _, name := range empty {
		// Not there, or not empty: the walk below decides.
		_ = unix.Rmdir(filepath.Join(dir, name))
	}
	for _, name := range []string{"status.json", "lock"} {
		_ = unix.Unlink(filepath.Join(dir, name))
	}
	if err := unix.Rmdir(dir); err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return removeTree(dir)
}

// removeTree removes a directory of ours and all in it, through descriptors.
// It never crosses into a mount: what is mounted there makes it fail.
func removeTree(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	// A sweeping command may be at it too, once the owner has let go of the
	// lock: what is gone is gone.
	if err := image.RemoveContents(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
