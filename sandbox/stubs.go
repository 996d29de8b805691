package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// stubs is the journal of mount points that we made in directories of the
// host: the file stubs.json of the state directory. Each entry is made under a
// name that nobody else has, journaled, and only then given its own name: so
// whenever we are killed, the journal tells what is ours. Removal trusts none
// of it: only below a parent that is the inode we saw, only the inode we made,
// only when empty (CVE-2024-23652 is what happens otherwise).
//
// Removing a mount point detaches what any other mount namespace has on it. So
// a sandbox that finds the mount point of another one copies the entry to its
// own journal, and nobody removes what is in somebody else's: the last one
// does. All of this happens under the lock of the runtime directory.
type stubs struct {
	stateDir string
	list     []stub
}

// stub is one entry of the journal.
type stub struct {
	Dir       string    `json:"dir"` // the parent, on the host
	DirDev    uint64    `json:"dirDev"`
	DirIno    uint64    `json:"dirIno"`
	Name      string    `json:"name"`
	TempName  string    `json:"tempName"`      // before it has Name
	Dev       uint64    `json:"dev,omitempty"` // 0: there is at most TempName
	Ino       uint64    `json:"ino,omitempty"`
	Born      timestamp `json:"born,omitzero"`      // inode numbers are used again
	OldMtime  timestamp `json:"oldMtime"`           // the parent's, before
	MadeMtime timestamp `json:"madeMtime,omitzero"` // the parent's, right after
}

type timestamp struct {
	Sec  int64 `json:"sec"`
	Nsec int64 `json:"nsec"`
}

func mtimeOf(st unix.Stat_t) timestamp { return timestamp{st.Mtim.Sec, st.Mtim.Nsec} }

const journalName = "stubs.json"

// lock keeps other sandboxes of the same user from making and removing mount
// points, and from looking for dead sandboxes (newState).
func (s *stubs) lock() (release func(), err error) {
	gate, err := os.Open(filepath.Dir(s.stateDir))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(gate.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(os.NewSyscallError("flock", err), gate.Close())
	}
	return func() { gate.Close() }, nil
}

// make makes name in dir, which is seen inside as the open directory view.
func (s *stubs) make(view *os.File, dir, name string, file bool) error {
	// Not through view: an idmapped mount has no id for our own.
	parent, err := openHostDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	var seen, before, after unix.Stat_t
	if err := errors.Join(unix.Fstat(int(view.Fd()), &seen), unix.Fstat(parent, &before)); err != nil {
		return err
	}
	if seen.Dev != before.Dev || seen.Ino != before.Ino {
		return fmt.Errorf("directory %q was moved meanwhile", dir)
	}
	e := stub{Dir: dir, DirDev: before.Dev, DirIno: before.Ino, Name: name, TempName: ".sandbox-" + rand.Text(), OldMtime: mtimeOf(before)}
	s.list = append(s.list, e)
	last := &s.list[len(s.list)-1]
	if err := s.save(); err != nil {
		return err
	}
	if err := makeEmpty(parent, e.TempName, file); err != nil {
		return err
	}
	made, born, err := statEntry(parent, e.TempName)
	if err != nil {
		return err
	}
	last.Dev, last.Ino, last.Born = made.Dev, made.Ino, born
	if err := s.save(); err != nil {
		return err
	}
	if err := renameNew(parent, e.TempName, name); err != nil {
		return err
	}
	if err := unix.Fstat(parent, &after); err != nil {
		return err
	}
	last.MadeMtime = mtimeOf(after)
	return s.save()
}

// renameNew renames from to a name that nobody has.
func renameNew(dir int, from, to string) error {
	err := unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// The file system cannot (NFS). What may be replaced now is an empty
	// directory that somebody made this moment; a file never is.
	if err := unix.Linkat(dir, from, dir, to, 0); err == nil || errors.Is(err, unix.EEXIST) {
		return errors.Join(err, unix.Unlinkat(dir, from, 0))
	}
	return unix.Renameat(dir, from, dir, to)
}

// adopt copies what other sandboxes' journals say of the mount point at path on
// the host and the directories above it. The lock must be held.
func (s *stubs) adopt(path string) error {
	others, err := otherJournals(s.stateDir)
	if err != nil {
		return err
	}
	before := len(s.list)
	for _, o := range others {
		if o.Ino != 0 && isBelow(path, filepath.Join(o.Dir, o.Name)) && !slices.ContainsFunc(s.list, o.isSame) {
			s.list = append(s.list, o)
		}
	}
	if len(s.list) == before {
		return nil
	}
	return s.save()
}

// isSame tells whether e is the entry for the same inode.
func (s stub) isSame(e stub) bool { return e.Dev == s.Dev && e.Ino == s.Ino }

// otherJournals returns the entries of all journals beside that in stateDir.
func otherJournals(stateDir string) ([]stub, error) {
	runtimeDir, id := filepath.Split(stateDir)
	entries, err := os.ReadDir(runtimeDir)
	if err != nil {
		return nil, err
	}
	var all []stub
	for _, e := range entries {
		if e.Name() == id || !isID(e.Name()) {
			continue
		}
		list, err := readJournal(filepath.Join(runtimeDir, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func (s *stubs) save() error {
	b, err := json.Marshal(s.list)
	if err != nil {
		return err
	}
	path := filepath.Join(s.stateDir, journalName)
	if err := os.WriteFile(path+".tmp", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// remove gives up all mount points.
func (s *stubs) remove() error {
	if len(s.list) == 0 {
		return nil
	}
	release, err := s.lock()
	if err != nil {
		return err
	}
	defer release()
	return removeStubs(s.stateDir)
}

// readJournal returns the entries of the journal in stateDir, if there is one.
func readJournal(stateDir string) ([]stub, error) {
	path := filepath.Join(stateDir, journalName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []stub
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	return list, nil
}

// removeStubs removes the mount points that the journal in stateDir names and
// no other journal does, and the journal. What has changed meanwhile is no
// longer ours and stays. The lock must be held.
func removeStubs(stateDir string) error {
	list, err := readJournal(stateDir)
	if err != nil || list == nil {
		return err
	}
	others, err := otherJournals(stateDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range slices.Backward(list) {
		if s.Ino == 0 || !slices.ContainsFunc(others, s.isSame) {
			errs = append(errs, s.remove())
		}
	}
	return errors.Join(append(errs, os.Remove(filepath.Join(stateDir, journalName)))...)
}

func (s stub) remove() error {
	dir, err := openHostDir(s.Dir)
	if err != nil {
		return nil // moved, removed or replaced by a link: no longer ours
	}
	defer unix.Close(dir)
	var parent unix.Stat_t
	if err := unix.Fstat(dir, &parent); err != nil || parent.Dev != s.DirDev || parent.Ino != s.DirIno {
		return nil
	}
	removed, err := s.removeName(dir, s.TempName)
	if err == nil && !removed && s.Ino != 0 {
		removed, err = s.removeName(dir, s.Name)
	}
	if err != nil {
		return fmt.Errorf("remove mount point %q in %q: %w", s.Name, s.Dir, err)
	}
	if removed && mtimeOf(parent) == s.MadeMtime { // nobody else has changed the directory
		times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: s.OldMtime.Sec, Nsec: s.OldMtime.Nsec}}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", dir), times, 0); err != nil {
			return fmt.Errorf("put back the time of %q: %w", s.Dir, err)
		}
	}
	return nil
}

// removeName removes the entry if it is still ours and empty.
func (s stub) removeName(dir int, name string) (removed bool, err error) {
	st, born, err := statEntry(dir, name)
	if err != nil || s.Ino != 0 && (st.Dev != s.Dev || st.Ino != s.Ino || born != s.Born) {
		return false, nil
	}
	flags := 0
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR: // rmdir(2) refuses when it is not empty
		flags = unix.AT_REMOVEDIR
	case unix.S_IFREG:
		if st.Size != 0 || st.Nlink != 1 {
			return false, nil
		}
	default:
		return false, nil
	}
	switch err := unix.Unlinkat(dir, name, flags); {
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// statEntry returns what name in dir is, and when it was made: zero where the
// file system does not say.
func statEntry(dir int, name string) (st unix.Stat_t, born timestamp, err error) {
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return st, born, err
	}
	var stx unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &stx); err != nil {
		return st, born, err
	}
	if stx.Mask&unix.STATX_BTIME != 0 {
		born = timestamp{stx.Btime.Sec, int64(stx.Btime.Nsec)}
	}
	return st, born, nil
}

// openHostDir opens a directory of the host by its real path.
func openHostDir(path string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if err != nil {
		return -1, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	return fd, nil
}
