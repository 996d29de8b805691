package userns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/parent"
	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/dynidtools"
	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools"
	"golang.org/x/sys/unix"
)

// wantIDs is how many ids images and packages expect to exist.
const wantIDs = 65536

const installHelpers = "install the package uidmap (Debian, Ubuntu), shadow-utils (Fedora) or shadow (Arch, Alpine: shadow-uidmap)"

// checkHelper looks at newuidmap or newgidmap: is it there, and may it do what
// it is for?
func checkHelper(name string) Finding {
	path, err := exec.LookPath(name)
	if err != nil {
		return Finding{Detail: "not in PATH", Cause: name + " is not installed, or not in PATH", Cure: installHelpers, Who: Administrator}
	}
	f := Finding{Detail: strconv.Quote(path), Who: Administrator}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		f.Cause, f.Cure = fmt.Sprintf("stat %q: %v", path, err), "reinstall it: "+installHelpers
		return f
	}
	id := strings.TrimSuffix(strings.TrimPrefix(name, "new"), "map") // uid, gid
	need := uint(7)                                                  // CAP_SETUID
	if id == "gid" {
		need = 6
	}
	switch {
	case st.Uid != 0: // or root of the machine, which is not mapped here
		f.Cause, f.Cure = name+" does not belong to root", "reinstall it: "+installHelpers
		return f
	case st.Mode&unix.S_ISUID != 0:
		f.Detail += ", setuid root"
	case fileCaps(path)&(1<<need) != 0:
		f.Detail += ", with cap_set" + id
	default:
		f.Cause = name + " is neither setuid root nor has it the file capability cap_set" + id
		f.Cure = fmt.Sprintf("chmod u+s %q, or setcap cap_set%s+ep %q", path, id, path)
		return f
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err == nil && fs.Flags&unix.ST_NOSUID != 0 {
		f.Cause, f.Cure = name+" is on a file system that is mounted nosuid", fmt.Sprintf("mount the file system of %q without nosuid", path)
	} else if statusField("NoNewPrivs") == "1" {
		f.Cause = "this process runs with no_new_privs: " + name + " gets no rights"
		f.Cure, f.Who = "start without no_new_privs (docker: without --security-opt no-new-privileges; systemd: NoNewPrivileges=no)", OuterContainer
	}
	return f
}

// fileCaps returns the permitted set of a file (the first 32 bits), 0 if it
// has none. The attribute is struct vfs_cap_data of linux/capability.h.
func fileCaps(path string) uint32 {
	var b [64]byte
	n, err := unix.Getxattr(path, "security.capability", b[:])
	if err != nil || n < 8 {
		return 0
	}
	return binary.LittleEndian.Uint32(b[4:])
}

// ranges are the subordinate ids of this user, and where they were looked for.
type ranges struct {
	uids, gids     []idtools.SubIDRange
	uidErr, gidErr error
	owner          string // who we are
	where          string // where they come from, "" for the files
	source         error  // of getsubids
}

// findRanges looks where rootlesskit will look.
func findRanges() ranges {
	r := ranges{owner: strconv.Itoa(os.Geteuid())}
	if u, err := user.Current(); err == nil {
		r.owner = u.Username
	}
	r.uids, r.uidErr = lookupRanges("/etc/subuid")
	r.gids, r.gidErr = lookupRanges("/etc/subgid")
	if len(r.uids) > 0 && len(r.gids) > 0 || !subidByName() {
		return r
	}
	source, err := subidSource()
	if err != nil || source != parent.SubidSourceDynamic {
		return r
	}
	uids, gids, err := dynidtools.GetSubIDRanges(os.Geteuid(), r.owner)
	if err != nil {
		r.source = fmt.Errorf("run getsubids: %w", err)
		return r
	}
	r.uids, r.gids, r.uidErr, r.gidErr, r.where = uids, gids, nil, nil, " by getsubids"
	return r
}

// lookupRanges returns this user's lines of /etc/subuid or /etc/subgid.
func lookupRanges(path string) ([]idtools.SubIDRange, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return parseRanges(path, string(b), os.Geteuid(), name)
}

// parseRanges reads "NAME:FIRST:COUNT" lines (subuid(5)).
func parseRanges(path, text string, uid int, name string) ([]idtools.SubIDRange, error) {
	var out []idtools.SubIDRange
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, ":")
		if len(f) != 3 { // rootlesskit refuses the whole file
			return out, fmt.Errorf("read %s: line %q is not NAME:FIRST:COUNT", path, line)
		}
		if f[0] != strconv.Itoa(uid) && (name == "" || f[0] != name) {
			continue
		}
		first, err1 := strconv.Atoi(f[1])
		n, err2 := strconv.Atoi(f[2])
		if err := errors.Join(err1, err2); err != nil {
			return out, fmt.Errorf("read %s: line %q: first id and count must be numbers", path, line)
		}
		out = append(out, idtools.SubIDRange{Start: first, Length: n})
	}
	return out, nil
}

// subidByName tells whether nsswitch.conf names another source of ranges.
func subidByName() bool {
	b, err := os.ReadFile("/etc/nsswitch.conf")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "subid:") {
			return true
		}
	}
	return false
}

// finding is about the ranges of one kind, "uid" or "gid".
func (r ranges) finding(kind string) Finding {
	list, err := r.uids, r.uidErr
	if kind == "gid" {
		list, err = r.gids, r.gidErr
	}
	path := "/etc/sub" + kind
	f := Finding{Who: Administrator}
	var total int
	var text []string
	for _, l := range list {
		total += l.Length
		text = append(text, fmt.Sprintf("%d-%d", l.Start, l.Start+l.Length-1))
	}
	f.Detail = fmt.Sprintf("%d ids for %q%s: %s", total, r.owner, r.where, strings.Join(text, ", "))
	give := fmt.Sprintf("usermod --add-sub%ss 100000-165535 %s, or the line %q in %s (a range that no other line there has)",
		kind, r.owner, r.owner+":100000:65536", path)
	switch {
	case r.source != nil:
		f.Detail, f.Cause, f.Cure = "no range from getsubids", r.source.Error(), "correct what the line subid: in /etc/nsswitch.conf names"
	case err != nil && !errors.Is(err, os.ErrNotExist):
		f.Detail, f.Cause, f.Cure = "not readable", err.Error(), "correct "+path
	case total == 0:
		f.Detail, f.Cause, f.Cure = fmt.Sprintf("no range for %q", r.owner), fmt.Sprintf("%s has no line for %q", path, r.owner), give
	case total < wantIDs:
		f.Cause, f.Partial = fmt.Sprintf("%d ids are fewer than %d: users and groups above have no id inside", total, wantIDs), true
		f.Cure = give
	}
	return f
}

// checkMap makes a user namespace with all ids of ours through newuidmap and
// newgidmap: what rootlesskit will do for the holder.
func (l Look) checkMap(ctx context.Context, r ranges) Finding {
	for _, f := range []Finding{l.Create, l.NewUIDMap, l.NewGIDMap, l.SubUID, l.SubGID} {
		if !f.Works() {
			return f
		}
	}
	b, err := startBlocked(ctx, nil, nil)
	if err != nil {
		return Finding{Detail: "not tried", Cause: err.Error(), Cure: "try again", Who: User}
	}
	defer b.stop()
	pid := b.cmd.Process.Pid
	for _, m := range []struct {
		prog  string
		self  int
		extra []idtools.SubIDRange
	}{{"newuidmap", os.Geteuid(), r.uids}, {"newgidmap", os.Getegid(), r.gids}} {
		if err := runHelper(ctx, m.prog, mapArgs(pid, m.self, m.extra)); err != nil {
			return Finding{Detail: m.prog + " was run and failed", Cause: err.Error(), Who: Administrator,
				Cure: "correct the ranges in /etc/subuid and /etc/subgid and the rights of " + m.prog + ", or use --userns=single"}
		}
	}
	uids, err := readMap(fmt.Sprintf("/proc/%d/uid_map", pid))
	if err != nil {
		return Finding{Detail: "mapped, but not readable", Cause: err.Error(), Cure: "mount /proc", Who: OuterContainer}
	}
	f := Finding{Detail: "uids " + Format(uids) + " by newuidmap and newgidmap"}
	if !l.SubUID.OK() {
		f.Cause, f.Cure, f.Who, f.Partial = l.SubUID.Cause, l.SubUID.Cure, l.SubUID.Who, true
	} else if !l.SubGID.OK() {
		f.Cause, f.Cure, f.Who, f.Partial = l.SubGID.Cause, l.SubGID.Cure, l.SubGID.Who, true
	}
	return f
}

// mapArgs are newuidmap's arguments: 0 is the caller, from 1 on the ranges.
// Our own id must not come twice, so a range that has it is split.
func mapArgs(pid, self int, list []idtools.SubIDRange) []string {
	args := []string{strconv.Itoa(pid), "0", strconv.Itoa(self), "1"}
	next := 1
	add := func(start, n int) {
		if n > 0 {
			args = append(args, strconv.Itoa(next), strconv.Itoa(start), strconv.Itoa(n))
			next += n
		}
	}
	for _, r := range list {
		if self < r.Start || self >= r.Start+r.Length {
			add(r.Start, r.Length)
			continue
		}
		add(r.Start, self-r.Start)
		add(self+1, r.Start+r.Length-self-1)
	}
	return args
}

func runHelper(ctx context.Context, name string, args []string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 200 * time.Millisecond
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("run %s: no answer in time", name)
	}
	if text := strings.TrimSpace(string(out)); text != "" {
		return fmt.Errorf("run %s: %q: %w", name, text, err)
	}
	return fmt.Errorf("run %s: %w", name, err)
}
