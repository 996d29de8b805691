package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Types of GNU tar that archive/tar passes on without a name.
const (
	typeGNUDumpDir   = 'D' // a directory of an incremental archive; its data lists the names in it
	typeGNUMultiVol  = 'M' // the rest of a file that began in another archive
	typeGNUVolHeader = 'V' // the label of the archive
)

// entry makes what h describes.
func (u *unpacker) entry(ctx context.Context, h *tar.Header) error {
	if err := checkXattrs(h); err != nil {
		return err
	}
	if err := u.reserve(h); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case typeGNUVolHeader:
		return u.discard(ctx)
	case typeGNUMultiVol:
		return errors.New("it continues a file of another volume: join the volumes first")
	}
	path, base, err := splitName(h.Name, u.opt.Limits)
	if err != nil {
		return err
	}
	isDir := false
	switch h.Typeflag {
	case tar.TypeDir, typeGNUDumpDir:
		isDir = true
	case tar.TypeReg, tar.TypeCont:
		// Old writers have no type for directories.
		isDir = strings.HasSuffix(h.Name, "/")
	}
	if base == "." {
		if !isDir {
			return errors.New("the root can only be a directory")
		}
		u.rootHdr = h
		return u.discard(ctx)
	}
	if isDir {
		if err := u.makeDir(path, base, h); err != nil {
			return err
		}
		return u.discard(ctx)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return u.makeFile(ctx, path, base, h)
	case tar.TypeLink:
		return u.makeLink(path, base, h)
	case tar.TypeSymlink:
		return u.makeSymlink(path, base, h)
	case tar.TypeFifo:
		return u.makeFifo(path, base, h)
	}
	u.stats.SkippedTotal++
	if len(u.stats.Skipped) < maxSkippedNames {
		u.stats.Skipped = append(u.stats.Skipped, h.Name)
	}
	return u.discard(ctx)
}

// reserve counts the content of h before any of it is read.
func (u *unpacker) reserve(h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo, tar.TypeXGlobalHeader:
		return nil // have no content, whatever their size says
	}
	if h.Size < 0 || h.Size > u.opt.Limits.Bytes-u.used {
		return overLimit("size of all files", u.opt.Limits.Bytes)
	}
	u.used += h.Size
	return nil
}

// discard reads the content of an entry that makes no file.
func (u *unpacker) discard(ctx context.Context) error {
	for {
		_, err := u.tar.Read(u.buf)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return contentError(ctx, err)
		}
	}
}

// create calls mk, which makes base in dirfd and fails with EEXIST if there is
// something; if so, that is removed and mk called again.
func create(op string, dirfd int, base string, mk func() error) (replaced bool, err error) {
	err = call(op, mk)
	if !errors.Is(err, unix.EEXIST) {
		return false, err
	}
	if err := remove(dirfd, base); err != nil {
		return false, err
	}
	return true, call(op, mk)
}

// remove removes base from dirfd: an empty directory, or anything else.
func remove(dirfd int, base string) error {
	err := call("unlinkat", func() error { return unix.Unlinkat(dirfd, base, 0) })
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	err = call("unlinkat", func() error { return unix.Unlinkat(dirfd, base, unix.AT_REMOVEDIR) })
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return errors.New("a directory that is not empty is in its place")
	}
	return err
}

// moved must be called after an entry has replaced another: what was removed
// may be a symlink or directory that the current parent's path leads through.
func (u *unpacker) moved(replaced bool) error {
	if !replaced {
		return nil
	}
	return u.leave()
}

func (u *unpacker) makeDir(path, base string, h *tar.Header) error {
	dirfd, err := u.enter(path)
	if err != nil {
		return err
	}
	mkdir := func() error { return unix.Mkdirat(dirfd, base, 0o700) }
	replaced := false
	err = call("mkdirat", mkdir)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if st, err = lstat(dirfd, base); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			replaced, err = create("mkdirat", dirfd, base, mkdir)
		}
	}
	if err != nil {
		return err
	}
	fd, err := openat(dirfd, base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	if err := and(u.metadata(fd, unix.S_IFDIR, h), closeFD(fd)); err != nil {
		return err
	}
	return u.moved(replaced)
}

func (u *unpacker) makeFile(ctx context.Context, path, base string, h *tar.Header) error {
	dirfd, err := u.enter(path)
	if err != nil {
		return err
	}
	var fd int
	replaced, err := create("openat", dirfd, base, func() (err error) {
		fd, err = unix.Openat(dirfd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	err = u.content(ctx, fd)
	if err == nil {
		err = u.metadata(fd, unix.S_IFREG, h)
	}
	if err := and(err, closeFD(fd)); err != nil {
		return err
	}
	u.stats.Bytes += h.Size
	return u.moved(replaced)
}

func (u *unpacker) makeSymlink(path, base string, h *tar.Header) error {
	if err := checkSymlink(h.Linkname, u.opt.Limits); err != nil {
		return err
	}
	dirfd, err := u.enter(path)
	if err != nil {
		return err
	}
	replaced, err := create("symlinkat", dirfd, base, func() error { return unix.Symlinkat(h.Linkname, dirfd, base) })
	if err != nil {
		return err
	}
	if err := u.symlinkMetadata(dirfd, base, h); err != nil {
		return err
	}
	return u.moved(replaced)
}

func (u *unpacker) makeFifo(path, base string, h *tar.Header) error {
	dirfd, err := u.enter(path)
	if err != nil {
		return err
	}
	replaced, err := create("mknodat", dirfd, base, func() error { return unix.Mkfifoat(dirfd, base, 0o600) })
	if err != nil {
		return err
	}
	// Open for both, a FIFO never waits for the other side.
	fd, err := openat(dirfd, base, unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if err := and(u.metadata(fd, unix.S_IFIFO, h), closeFD(fd)); err != nil {
		return err
	}
	return u.moved(replaced)
}

// makeLink makes a hard link. Its target is looked up like the name of an
// entry, and its last part is not followed, so that it is always something in
// the new root.
func (u *unpacker) makeLink(path, base string, h *tar.Header) (err error) {
	targetPath, targetBase, err := splitName(h.Linkname, u.opt.Limits)
	if err != nil {
		return fmt.Errorf("link to %s: %w", quote(h.Linkname), err)
	}
	dirfd, err := u.enter(path)
	if err != nil {
		return err
	}
	targetDir := dirfd
	if targetPath != path {
		targetDir, err = u.openDir(targetPath)
		if err == nil {
			defer func() { err = and(err, closeFD(targetDir)) }()
		}
	}
	var target unix.Stat_t
	if err == nil {
		target, err = lstat(targetDir, targetBase)
	}
	switch {
	case errors.Is(err, unix.ENOENT) && slices.Contains(u.stats.Skipped, h.Linkname):
		u.stats.SkippedTotal++ // another name of a device
		return nil
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("link to %s: the archive has not made it before", quote(h.Linkname))
	case err != nil:
		return fmt.Errorf("link to %s: %w", quote(h.Linkname), err)
	case target.Mode&unix.S_IFMT == unix.S_IFDIR:
		return fmt.Errorf("link to %s: it is a directory", quote(h.Linkname))
	}
	if there, err := lstat(dirfd, base); err == nil && there.Dev == target.Dev && there.Ino == target.Ino {
		return nil // removing what is there could remove the target
	}
	// No flags: linkat does not follow the last part.
	replaced, err := create("linkat", dirfd, base, func() error { return unix.Linkat(targetDir, targetBase, dirfd, base, 0) })
	if err != nil {
		return fmt.Errorf("link to %s: %w", quote(h.Linkname), err)
	}
	return u.moved(replaced)
}
