package image

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

var errMounted = errors.New("something is mounted there: unmount it first")

// RemoveContents removes everything below dir, an open directory, and leaves
// dir itself, made writable if it was not. It follows no symlink and crosses into no mount; a mount in the
// tree is an error that names it, and everything else is removed. Directories
// of ours that we may not read or write are made so first. Trees of any depth
// and width take three descriptors and a constant amount of memory.
func RemoveContents(dir *os.File) error {
	top, err := openat(int(dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.EACCES) {
		if err = dir.Chmod(0o700); err == nil {
			top, err = openat(int(dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		}
	}
	if err != nil {
		return fmt.Errorf("remove what is in %q: %w", dir.Name(), err)
	}
	r := remover{top: top, outer: make([]byte, 32<<10), inner: make([]byte, 32<<10)}
	if err := and(r.run(), closeFD(top)); err != nil {
		return fmt.Errorf("remove what is in %q: %w", dir.Name(), err)
	}
	return nil
}

// remover empties the directory top. A directory that is not empty is emptied
// of its files, and the directories in it that are not empty are moved up to
// top: so nothing is ever looked at below the second level, and each directory
// is moved at most once.
type remover struct {
	top          int
	outer, inner []byte // for the names in top, and in a directory of it
	number       int    // of the latest directory moved up
	progress     bool   // something was removed or moved
	left         error  // why something could not be, the first such reason
}

// run repeats until nothing is there, or nothing of what is can be removed.
func (r *remover) run() error {
	if err := writable(r.top); err != nil {
		return err
	}
	for {
		r.progress, r.left = false, nil
		if _, err := unix.Seek(r.top, 0, unix.SEEK_SET); err != nil {
			return os.NewSyscallError("lseek", err)
		}
		if err := names(r.top, r.outer, r.removeTop); err != nil {
			return err
		}
		if !r.progress {
			return r.left
		}
	}
}

// removeTop removes name from top.
func (r *remover) removeTop(name string) {
	err := unlink(r.top, name)
	if isNotEmpty(err) {
		if err = r.empty(name); err == nil {
			err = unlink(r.top, name)
		}
	}
	r.note(name, err)
}

// empty removes or moves up what is in name, a directory of top.
func (r *remover) empty(name string) error {
	fd, err := openInside(r.top, name, unix.O_RDONLY)
	if errors.Is(err, unix.EACCES) {
		if err := makeWritable(r.top, name); err != nil {
			return err
		}
		fd, err = openInside(r.top, name, unix.O_RDONLY)
	}
	if err != nil {
		return err
	}
	err = writable(fd)
	if err == nil {
		err = names(fd, r.inner, func(child string) {
			err := unlink(fd, child)
			if isNotEmpty(err) {
				err = r.moveUp(fd, child)
			}
			r.note(name+"/"+child, err)
		})
	}
	return and(err, closeFD(fd))
}

// moveUp moves the directory name from fd to top, under a free name.
func (r *remover) moveUp(fd int, name string) error {
	widened := false
	for {
		r.number++
		free := ".removing." + strconv.Itoa(r.number)
		err := call("renameat", func() error { return unix.Renameat(fd, name, r.top, free) })
		switch {
		case isNotEmpty(err), errors.Is(err, unix.ENOTDIR):
			continue // the name is taken
		case errors.Is(err, unix.EACCES) && !widened:
			// Moving a directory changes its "..", which takes the right to write.
			if err := makeWritable(fd, name); err != nil {
				return err
			}
			widened = true
			continue
		}
		return err
	}
}

// note records what became of name.
func (r *remover) note(name string, err error) {
	switch {
	case err == nil:
		r.progress = true
	case r.left == nil:
		r.left = fmt.Errorf("remove %s: %w", quote(name), err)
	}
}

// names calls f with each name in the directory fd. buf holds a part of them.
func names(fd int, buf []byte, f func(name string)) error {
	for {
		var n int
		err := call("getdents", func() (err error) {
			n, err = unix.ReadDirent(fd, buf)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
		_, _, list := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range list {
			f(name)
		}
	}
}

// unlink removes name, which may be an empty directory, from dirfd.
func unlink(dirfd int, name string) error {
	err := call("unlinkat", func() error { return unix.Unlinkat(dirfd, name, 0) })
	if errors.Is(err, unix.EISDIR) {
		err = call("unlinkat", func() error { return unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR) })
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY):
		return errMounted
	}
	return err
}

func isNotEmpty(err error) bool {
	return errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST)
}

// openInside opens the directory name in dirfd if it is on the same mount.
func openInside(dirfd int, name string, flags uint64) (int, error) {
	fd, err := openat2(dirfd, name, flags|unix.O_DIRECTORY|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
	if errors.Is(err, unix.EXDEV) {
		return -1, errMounted
	}
	return fd, err
}

// writable makes the open directory fd one whose entries we can remove.
func writable(fd int) error {
	st, err := fstat(fd)
	if err != nil || st.Mode&0o300 == 0o300 {
		return err
	}
	err = call("fchmod", func() error { return unix.Fchmod(fd, 0o700) })
	if errors.Is(err, unix.EPERM) {
		return nil // not ours: removing from it works if we are privileged, and says so if not
	}
	return err
}

// makeWritable is writable for a directory that cannot be opened.
func makeWritable(dirfd int, name string) error {
	fd, err := openInside(dirfd, name, unix.O_PATH)
	if err != nil {
		return err
	}
	// fchmod refuses an O_PATH descriptor. The link in /proc leads to the very
	// directory that we have opened.
	err = call("chmod", func() error { return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o700) })
	return and(err, closeFD(fd))
}
