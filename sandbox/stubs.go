package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// stubs is the journal of mount points that we made in directories of the
// host: the file stubs.json of the state directory, one JSON object a line,
// written before the entry is made and completed after. Removal trusts none of
// it: only below a parent that is the inode we saw, only the inode we made,
// only when empty (CVE-2024-23652 is what happens otherwise).
type stubs struct {
	path string
	list []stub
}

// stub is one line of the journal. Without an inode the entry may or may not
// have been made, and is left alone.
type stub struct {
	Dir       string    `json:"dir"` // the parent, on the host
	DirDev    uint64    `json:"dirDev"`
	DirIno    uint64    `json:"dirIno"`
	Name      string    `json:"name"`
	Dev       uint64    `json:"dev,omitempty"`
	Ino       uint64    `json:"ino,omitempty"`
	OldMtime  timestamp `json:"oldMtime"`           // the parent's, before
	MadeMtime timestamp `json:"madeMtime,omitzero"` // the parent's, right after
}

type timestamp struct {
	Sec  int64 `json:"sec"`
	Nsec int64 `json:"nsec"`
}

func mtimeOf(st unix.Stat_t) timestamp { return timestamp{st.Mtim.Sec, st.Mtim.Nsec} }

// announce writes that name is about to be made in dir, which is dirPath on
// the host. done completes the record.
func (s *stubs) announce(dir *os.File, dirPath, name string) (done func() error, err error) {
	before, err := stat(dir)
	if err != nil {
		return nil, err
	}
	e := stub{Dir: dirPath, DirDev: before.Dev, DirIno: before.Ino, Name: name, OldMtime: mtimeOf(before)}
	s.list = append(s.list, e)
	i := len(s.list) - 1
	return func() error {
		var made unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), name, &made, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		after, err := stat(dir)
		if err != nil {
			return err
		}
		s.list[i].Dev, s.list[i].Ino, s.list[i].MadeMtime = made.Dev, made.Ino, mtimeOf(after)
		return s.save()
	}, s.save()
}

func (s *stubs) save() error {
	b, err := json.Marshal(s.list)
	if err != nil {
		return err
	}
	tmp := s.path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, s.path)
}

// removeStubs removes the mount points that the journal in stateDir names.
// What has changed meanwhile is no longer ours and stays.
func removeStubs(stateDir string) error {
	path := filepath.Join(stateDir, "stubs.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var list []stub
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("read %q: %w", path, err)
	}
	var errs []error
	for _, s := range slices.Backward(list) {
		errs = append(errs, s.remove())
	}
	return errors.Join(append(errs, os.Remove(path))...)
}

func (s stub) remove() error {
	if s.Ino == 0 {
		return nil
	}
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	dir, err := unix.Openat2(unix.AT_FDCWD, s.Dir, &how)
	if err != nil {
		return nil // moved, removed or replaced by a link: no longer ours
	}
	defer unix.Close(dir)
	var parent, entry unix.Stat_t
	if err := unix.Fstat(dir, &parent); err != nil || parent.Dev != s.DirDev || parent.Ino != s.DirIno {
		return nil
	}
	if err := unix.Fstatat(dir, s.Name, &entry, unix.AT_SYMLINK_NOFOLLOW); err != nil || entry.Dev != s.Dev || entry.Ino != s.Ino {
		return nil
	}
	flags := 0
	switch entry.Mode & unix.S_IFMT {
	case unix.S_IFDIR: // rmdir(2) refuses when it is not empty
		flags = unix.AT_REMOVEDIR
	case unix.S_IFREG:
		if entry.Size != 0 || entry.Nlink != 1 {
			return nil
		}
	default:
		return nil
	}
	err = unix.Unlinkat(dir, s.Name, flags)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove mount point %q in %q: %w", s.Name, s.Dir, err)
	}
	if mtimeOf(parent) == s.MadeMtime { // nobody else has changed the directory
		times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: s.OldMtime.Sec, Nsec: s.OldMtime.Nsec}}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", dir), times, 0); err != nil {
			return fmt.Errorf("put back the time of %q: %w", s.Dir, err)
		}
	}
	return nil
}
