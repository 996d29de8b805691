package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// metadata gives the open file fd, of type kind (S_IF…), the owner, extended attributes, mode and time
// of h. The order matters: a change of owner clears setid bits and file
// capabilities, and all else changes times.
func (u *unpacker) metadata(fd int, kind uint32, h *tar.Header) error {
	drop, err := u.chown(h, func(uid, gid int) error {
		return unix.Fchown(fd, uid, gid)
	})
	if err != nil {
		return err
	}
	if err := u.xattrs(fd, kind, h); err != nil {
		return err
	}
	mode := uint32(h.Mode) & 0o7777 &^ drop
	if u.opt.NoSetid && kind != unix.S_IFDIR {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	if err := call("fchmod", func() error { return unix.Fchmod(fd, mode) }); err != nil {
		return err
	}
	return setMtime(fd, "", mtime(h))
}

// symlinkMetadata is metadata for a symlink, which has no mode and cannot be
// opened.
func (u *unpacker) symlinkMetadata(dirfd int, base string, h *tar.Header) error {
	_, err := u.chown(h, func(uid, gid int) error {
		return unix.Fchownat(dirfd, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return err
	}
	u.stats.IgnoredXattrs += countXattrs(h)
	return setMtime(dirfd, base, mtime(h))
}

// chown gives an entry away, as far as the ids can be given away, and returns
// the mode bits that must go because their id does not apply: a program that
// is setuid to somebody unknown must not become setuid to us.
func (u *unpacker) chown(h *tar.Header, chown func(uid, gid int) error) (drop uint32, err error) {
	uid, gid := validID(h.Uid), validID(h.Gid)
	if uid && gid {
		err = call("fchownat", func() error { return chown(h.Uid, h.Gid) })
		if err == nil || !isUnmapped(err) {
			return 0, err
		}
	}
	u.stats.UnmappedOwners++
	if uid {
		err := call("fchownat", func() error { return chown(h.Uid, -1) })
		if err != nil && !isUnmapped(err) {
			return 0, err
		}
		uid = err == nil
	}
	if gid {
		err := call("fchownat", func() error { return chown(-1, h.Gid) })
		if err != nil && !isUnmapped(err) {
			return 0, err
		}
		gid = err == nil
	}
	if !uid {
		drop |= unix.S_ISUID
	}
	if !gid {
		drop |= unix.S_ISGID
	}
	return drop, nil
}

// isUnmapped reports whether a change of owner failed because of the id: it is
// not in the map (EINVAL), or we may not give files away (EPERM).
func isUnmapped(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM)
}

// validID reports whether id can belong to anybody; the largest number means
// "leave it alone" to the kernel.
func validID(id int) bool {
	return id >= 0 && int64(id) < math.MaxUint32
}

// mtime is the modification time of h. Where the file system cannot hold it,
// the kernel stores the nearest that it can.
func mtime(h *tar.Header) unix.Timespec {
	ts, err := unix.TimeToTimespec(h.ModTime)
	if err != nil { // 32-bit machines
		return unix.Timespec{}
	}
	return ts
}

// xattrPrefix is how pax records spell extended attributes.
const xattrPrefix = "SCHILY.xattr."

// checkXattrs refuses the attributes that an overlay file system believes: with
// those, an archive could hide or show files of other layers.
func checkXattrs(h *tar.Header) error {
	for _, record := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		name, ok := strings.CutPrefix(record, xattrPrefix)
		if ok && (strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "user.overlay.")) {
			return fmt.Errorf("the extended attribute %s is not allowed", quote(name))
		}
	}
	return nil
}

func countXattrs(h *tar.Header) int {
	n := 0
	for record := range h.PAXRecords {
		if strings.HasPrefix(record, xattrPrefix) {
			n++
		}
	}
	return n
}

// xattrs sets the extended attributes of the open file fd.
func (u *unpacker) xattrs(fd int, kind uint32, h *tar.Header) error {
	if len(h.PAXRecords) == 0 {
		return nil
	}
	for _, record := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		name, ok := strings.CutPrefix(record, xattrPrefix)
		if !ok {
			continue
		}
		apply := strings.HasPrefix(name, "user.") && (kind == unix.S_IFREG || kind == unix.S_IFDIR) ||
			name == "security.capability" && u.opt.Capabilities && kind == unix.S_IFREG
		if !apply {
			u.stats.IgnoredXattrs++
			continue
		}
		err := call("fsetxattr", func() error { return unix.Fsetxattr(fd, name, []byte(h.PAXRecords[record]), 0) })
		if errors.Is(err, unix.EOPNOTSUPP) {
			u.stats.IgnoredXattrs++
			continue
		}
		if err != nil {
			return fmt.Errorf("set extended attribute %s: %w", quote(name), err)
		}
	}
	return nil
}
