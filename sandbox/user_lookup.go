package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// maxUserFile and maxUserLine bound /etc/passwd and /etc/group, which may
	// come from anybody. A group of 50,000 members still fits a line.
	maxUserFile = 10 << 20
	maxUserLine = 1 << 20
	// maxGroups is the kernel's NGROUPS_MAX.
	maxGroups = 65536
)

// findUser returns the first entry for a name or, without one, for a uid.
func findUser(passwd []byte, want userWord) (user User, found bool, err error) {
	err = eachUserLine(passwd, "/etc/passwd", func(line string) bool {
		entry, ok := parsePasswdLine(line)
		if ok && (entry.Name == want.name || want.name == "" && entry.UID == want.id) {
			user, found = entry, true
		}
		return !found
	})
	return user, found, err
}

// parsePasswdLine parses name:password:uid:gid:comment:home:shell. ok is false
// for all that is no entry: an unreadable uid must never be read as 0.
func parsePasswdLine(line string) (user User, ok bool) {
	fields := strings.SplitN(line, ":", 7)
	if len(fields) < 4 || !isUserName(fields[0]) {
		return User{}, false
	}
	uid, uidOK := parseUserID(fields[2])
	gid, gidOK := parseUserID(fields[3])
	if !uidOK || !gidOK {
		return User{}, false
	}
	user = User{UID: uid, GID: gid, Name: fields[0]}
	if len(fields) > 5 {
		user.Home = absolutePathOrNone(fields[5])
	}
	if len(fields) > 6 {
		user.Shell = absolutePathOrNone(fields[6])
	}
	return user, true
}

// absolutePathOrNone returns s, or "" if it would be no path for a variable.
func absolutePathOrNone(s string) string {
	if !strings.HasPrefix(s, "/") || len(s) >= unix.PathMax || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return s
}

// findGroup returns the gid of the first group with a name.
func findGroup(groups []byte, name string) (int, error) {
	gid, found := 0, false
	err := eachUserLine(groups, "/etc/group", func(line string) bool {
		var groupName string
		if groupName, gid, _, found = parseGroupLine(line); found {
			found = groupName == name
		}
		return !found
	})
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("no group %q in /etc/group of the root", name)
	}
	return gid, nil
}

// findMemberships returns the gids of the groups that list user as a member.
func findMemberships(groups []byte, user User) ([]int, error) {
	var gids []int
	err := eachUserLine(groups, "/etc/group", func(line string) bool {
		_, gid, members, ok := parseGroupLine(line)
		if ok && gid != user.GID {
			for member := range strings.SplitSeq(members, ",") {
				if member == user.Name {
					gids = append(gids, gid)
					break
				}
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(gids)
	gids = slices.Compact(gids)
	if len(gids) > maxGroups {
		return nil, fmt.Errorf("user %q is in %d groups of the root, more than %d; name one as USER:GROUP", user.Name, len(gids), maxGroups)
	}
	return gids, nil
}

// parseGroupLine parses name:password:gid:member,member.
func parseGroupLine(line string) (name string, gid int, members string, ok bool) {
	fields := strings.SplitN(line, ":", 4)
	if len(fields) < 3 || !isUserName(fields[0]) {
		return "", 0, "", false
	}
	if gid, ok = parseUserID(fields[2]); !ok {
		return "", 0, "", false
	}
	if len(fields) == 4 {
		members = strings.TrimSuffix(fields[3], "\r")
	}
	return fields[0], gid, members, true
}

// eachUserLine calls visit with each line of the file until it returns false.
func eachUserLine(data []byte, file string, visit func(line string) bool) error {
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		if len(line) > maxUserLine {
			return fmt.Errorf("read %s of the root: a line is longer than %d bytes", file, maxUserLine)
		}
		if !visit(string(line)) {
			return nil
		}
		data = rest
	}
	return nil
}

// readUserFile returns the content of a file below root, or nil if there is
// none. It neither leaves root by a symlink, nor blocks on a FIFO, nor touches
// a device, nor reads more than maxUserFile bytes, whatever is found there.
func readUserFile(root *os.File, name string) ([]byte, error) {
	data, err := readRegularBelow(root, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read /%s of the root: %w", name, err)
	}
	return data, nil
}

func readRegularBelow(root *os.File, name string) ([]byte, error) {
	// Opening a device may do something, so look first, without opening.
	place, err := openInRoot(root, name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	err = checkUserFile(place)
	place.Close() // an O_PATH descriptor has nothing to lose
	if err != nil {
		return nil, err
	}
	// It may have been swapped since, if processes run in this root: then
	// O_NONBLOCK keeps a FIFO from blocking, and the second look refuses it.
	file, err := openInRoot(root, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	defer file.Close() // only read from
	if err := checkUserFile(file); err != nil {
		return nil, err
	}
	// The size above is only what a file system claims.
	data, err := io.ReadAll(io.LimitReader(file, maxUserFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxUserFile {
		return nil, fmt.Errorf("larger than %d bytes", maxUserFile)
	}
	return data, nil
}

func checkUserFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if info.Size() > maxUserFile {
		return fmt.Errorf("larger than %d bytes", maxUserFile)
	}
	return nil
}

// openInRoot opens name with root as "/": symlinks are followed, inside of it.
func openInRoot(root *os.File, name string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(int(root.Fd()), name, &how)
		runtime.KeepAlive(root)
		if err == nil {
			return os.NewFile(uintptr(fd), "/"+name), nil
		}
		// EAGAIN: something was renamed meanwhile, and the kernel could not
		// tell whether the path stayed inside.
		retry := err == unix.EINTR || err == unix.EAGAIN
		if !retry || tries == 100 {
			return nil, &os.PathError{Op: "openat2", Path: "/" + name, Err: err}
		}
	}
}
