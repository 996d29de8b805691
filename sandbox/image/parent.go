package image

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// parentDir is the directory that entries are made in now. Archives list the
// files of a directory one after the other, so that most entries need no walk.
//
// It also remembers what the directory looked like, and puts that back when the
// next one is entered: making an entry changes the time of its directory. So
// every directory has its final mode and time whenever no entry is being made
// in it, with nothing to keep for later however many there are.
type parentDir struct {
	fd    int // O_PATH; -1 for none
	path  string
	mtime unix.Timespec
	mode  uint32
	wider bool // the mode was widened, so that we can write
}

// openDir opens a directory as a process would whose root is the new root.
func (u *unpacker) openDir(path string) (int, error) {
	return openat2(u.root, path, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// enter returns a descriptor of the directory at path, which it keeps, and
// makes what is missing on the way.
func (u *unpacker) enter(path string) (int, error) {
	if u.parent.fd >= 0 && u.parent.path == path {
		return u.parent.fd, nil
	}
	fd, err := u.openDir(path)
	if errors.Is(err, unix.ENOENT) {
		if err := u.makeParents(path); err != nil {
			return -1, err
		}
		fd, err = u.openDir(path)
	}
	if err != nil {
		return -1, fmt.Errorf("open parent directory %s: %w", quote(path), err)
	}
	if err := u.leave(); err != nil {
		return -1, and(err, closeFD(fd))
	}
	u.parent.fd, u.parent.path, u.parent.wider = fd, path, false
	st, err := fstat(fd)
	if err != nil {
		return -1, err
	}
	u.parent.mtime, u.parent.mode = st.Mtim, st.Mode&0o7777
	if st.Mode&0o300 != 0o300 {
		if err := call("fchmodat", func() error { return unix.Fchmodat(fd, ".", u.parent.mode|0o300, 0) }); err != nil {
			return -1, fmt.Errorf("make parent directory %s writable: %w", quote(path), err)
		}
		u.parent.wider = true
	}
	return fd, nil
}

// leave forgets the current directory and puts its time and mode back. It must
// be called when what a path leads to may have changed.
func (u *unpacker) leave() error {
	p := &u.parent
	if p.fd < 0 {
		return nil
	}
	err := setMtime(p.fd, "", p.mtime)
	if p.wider {
		err = and(err, call("fchmodat", func() error { return unix.Fchmodat(p.fd, ".", p.mode, 0) }))
	}
	err = and(err, closeFD(p.fd))
	p.fd = -1
	if err != nil {
		return fmt.Errorf("finish directory %s: %w", quote(p.path), err)
	}
	return nil
}

// makeParents makes the directories that path lacks.
func (u *unpacker) makeParents(path string) error {
	made := false
	for end := 0; end < len(path); end++ {
		next := strings.IndexByte(path[end:], '/')
		if next < 0 {
			end = len(path)
		} else {
			end += next
		}
		prefix := path[:end]
		if !made { // once one is made, all below it is missing
			fd, err := u.openDir(prefix)
			if err == nil {
				err = closeFD(fd)
			}
			if err == nil {
				continue
			}
			if !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("open parent directory %s: %w", quote(prefix), err)
			}
		}
		if err := u.makeParent(prefix); err != nil {
			return fmt.Errorf("make parent directory %s: %w", quote(prefix), err)
		}
		made = true
	}
	return nil
}

// makeParent makes the directory at path, whose own parent exists.
func (u *unpacker) makeParent(path string) error {
	if err := u.count(); err != nil {
		return err
	}
	above, base := ".", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		above, base = path[:i], path[i+1:]
	}
	dirfd, err := u.enter(above)
	if err != nil {
		return err
	}
	err = call("mkdirat", func() error { return unix.Mkdirat(dirfd, base, 0o700) })
	if errors.Is(err, unix.EEXIST) {
		return errors.New("there is a symlink that leads nowhere")
	}
	if err != nil {
		return err
	}
	fd, err := openat(dirfd, base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = call("fchmod", func() error { return unix.Fchmod(fd, 0o755) })
	return and(err, closeFD(fd))
}
