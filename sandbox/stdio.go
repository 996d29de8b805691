package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// FileError says why a descriptor may not be passed to a sandbox.
type FileError struct {
	Number int
	Why    string
}

// Error names the number.
func (e *FileError) Error() string {
	return fmt.Sprintf("pass descriptor %d: %s", e.Number, e.Why)
}

// kernelFiles are file systems whose regular files are no data: what is read
// there tells of the host, what is written is a request to the kernel. Several
// are mounted below /proc and /sys, the others have no path.
var kernelFiles = []int64{
	unix.AAFS_MAGIC, unix.BINFMTFS_MAGIC, unix.BPF_FS_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.CGROUP_SUPER_MAGIC,
	unix.DEBUGFS_MAGIC, unix.DMA_BUF_MAGIC, unix.EFIVARFS_MAGIC, unix.GUEST_MEMFD_MAGIC, unix.NSFS_MAGIC,
	unix.PID_FS_MAGIC, unix.PSTOREFS_MAGIC, unix.RDTGROUP_SUPER_MAGIC, unix.SECURITYFS_MAGIC, unix.SELINUX_MAGIC,
	unix.SMACK_MAGIC, unix.TRACEFS_MAGIC, unix.XENFS_SUPER_MAGIC,
	0x19800202, // MQUEUE_MAGIC, ipc/mqueue.c
	0x62656570, // CONFIGFS_MAGIC, fs/configfs/mount.c
	0x65735543, // FUSE_CTL_SUPER_MAGIC, fs/fuse/control.c
}

// passFile checks what f is and returns what the process gets for it: f
// itself, or for a regular file that is open for reading only, the same file
// opened through a read-only mount. It returns nil, nil when neither is
// possible and the content must be copied.
//
// A process inside can open /proc/self/fd/N anew (proc(5)), with other rights
// and for other files than the descriptor gave: "..", from a directory; a file
// for writing. So only those kinds are passed that give nothing more.
func passFile(number int, f *os.File) (*os.File, error) {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if errors.Is(err, unix.EBADF) {
		return nil, &FileError{number, "it is not open"}
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if flags&unix.O_PATH != 0 {
		return nil, &FileError{number, "it is open as a path only (O_PATH), not for reading or writing"}
	}
	st, err := stat(f)
	if err != nil {
		return nil, err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return nil, os.NewSyscallError("fstatfs", err)
	}
	if fs.Type == unix.PROC_SUPER_MAGIC || fs.Type == unix.SYSFS_MAGIC {
		return nil, &FileError{number, "it is a file of /proc or /sys"}
	}
	if slices.Contains(kernelFiles, fs.Type) {
		return nil, &FileError{number, "it is an object of the kernel (a namespace, a message queue, a process, a control group or the like)"}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK:
		return f, nil
	case unix.S_IFDIR:
		return nil, &FileError{number, "it is a directory: a process inside could leave the sandbox through it"}
	case unix.S_IFREG:
		return passRegular(f, st, flags)
	case unix.S_IFCHR:
		// null, zero, full, random, urandom: Documentation/admin-guide/devices.txt.
		if unix.Major(st.Rdev) == 1 {
			switch unix.Minor(st.Rdev) {
			case 3, 5, 7, 8, 9:
				return f, nil
			}
		}
		return nil, &FileError{number, fmt.Sprintf("it is the device %d:%d; only null, zero, full, random and urandom may be passed", unix.Major(st.Rdev), unix.Minor(st.Rdev))}
	case unix.S_IFBLK:
		return nil, &FileError{number, "it is a block device"}
	}
	return nil, &FileError{number, "it is an anonymous inode of the kernel (epoll, a mount, a pidfd or the like)"}
}

// passRegular passes a writable file and a memfd as they are. A file that is
// open for reading only is opened again, at its offset, through a detached
// read-only clone of its mount: then no way through /proc/self/fd leads to
// writing.
func passRegular(f *os.File, st unix.Stat_t, flags int) (*os.File, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return f, nil
	}
	const constant = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err == nil && seals&constant == constant {
		return f, nil // a sealed memfd
	}
	if st.Nlink == 0 {
		return nil, nil // a deleted file or a memfd has no name to open
	}
	// By its path: the descriptor's own mount is one of the caller's
	// namespace, which open_tree refuses to clone here.
	path, err := os.Readlink(fdPath(f))
	if err != nil {
		return nil, nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return nil, nil
	}
	mount := os.NewFile(uintptr(fd), path)
	defer mount.Close()
	// Before it is opened: the path may have come to name a FIFO meanwhile.
	same := func(g *os.File) bool {
		got, err := stat(g)
		return err == nil && got.Dev == st.Dev && got.Ino == st.Ino
	}
	if !same(mount) {
		return nil, nil
	}
	if err := setTree(mount, attrSafe|unix.MOUNT_ATTR_RDONLY); err != nil {
		return nil, nil
	}
	// /proc/self/fd of an O_PATH descriptor opens what it names, through the
	// mount it is on.
	again, err := os.OpenFile(fdPath(mount), unix.O_RDONLY|unix.O_NOCTTY|flags&(unix.O_DIRECT|unix.O_NONBLOCK), 0)
	if err != nil {
		return nil, nil
	}
	if !same(again) {
		again.Close()
		return nil, nil
	}
	offset, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_CUR)
	if err == nil && offset != 0 {
		_, err = unix.Seek(int(again.Fd()), offset, unix.SEEK_SET)
	}
	if err != nil {
		again.Close()
		return nil, nil
	}
	return again, nil
}
