package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools"
	"golang.org/x/sys/unix"
)

func TestParseRanges(t *testing.T) {
	tests := []struct {
		name, text string
		want       []idtools.SubIDRange
		err        string
	}{
		{name: "empty"},
		{name: "by name", text: "bob:1:2\nann:100000:65536\n", want: []idtools.SubIDRange{{Start: 100000, Length: 65536}}},
		{name: "by uid", text: "1000:5:6", want: []idtools.SubIDRange{{Start: 5, Length: 6}}},
		{name: "several", text: "ann:1:2\n1000:3:4\n", want: []idtools.SubIDRange{{Start: 1, Length: 2}, {Start: 3, Length: 4}}},
		{name: "comments and blank lines", text: "# x\n\n  ann:1:2  \n", want: []idtools.SubIDRange{{Start: 1, Length: 2}}},
		{name: "somebody else", text: "bob:1:2\n10001:1:2\nannie:1:2\n"},
		{name: "a broken line of another", text: "bob 1 2\nann:1:2\n", err: `line "bob 1 2" is not NAME:FIRST:COUNT`},
		{name: "no numbers", text: "ann:x:2\n", err: "must be numbers"},
		{name: "another's bad numbers", text: "bob:x:2\nann:1:2\n", want: []idtools.SubIDRange{{Start: 1, Length: 2}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseRanges("/etc/subuid", tt.text, 1000, "ann")
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q in it", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMapArgs(t *testing.T) {
	tests := []struct {
		name string
		list []idtools.SubIDRange
		want string
	}{
		{"no range", nil, "7 0 1000 1"},
		{"one", []idtools.SubIDRange{{Start: 100000, Length: 65536}}, "7 0 1000 1 1 100000 65536"},
		{"two", []idtools.SubIDRange{{Start: 10, Length: 5}, {Start: 100, Length: 7}}, "7 0 1000 1 1 10 5 6 100 7"},
		{"ourselves inside", []idtools.SubIDRange{{Start: 990, Length: 20}}, "7 0 1000 1 1 990 10 11 1001 9"},
		{"ourselves first", []idtools.SubIDRange{{Start: 1000, Length: 2}}, "7 0 1000 1 1 1001 1"},
		{"ourselves last", []idtools.SubIDRange{{Start: 999, Length: 2}}, "7 0 1000 1 1 999 1"},
	}
	for _, tt := range tests {
		if got := strings.Join(mapArgs(7, 1000, tt.list), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRangesFinding(t *testing.T) {
	full := []idtools.SubIDRange{{Start: 100000, Length: 65536}}
	tests := []struct {
		name   string
		r      ranges
		works  bool
		ok     bool
		detail string
		cause  string
	}{
		{"full", ranges{uids: full, owner: "ann"}, true, true, `65536 ids for "ann": 100000-165535`, ""},
		{"by getsubids", ranges{uids: full, owner: "ann", where: " by getsubids"}, true, true, "by getsubids", ""},
		{"few", ranges{uids: []idtools.SubIDRange{{Start: 1, Length: 1000}}, owner: "ann"}, true, false, "1000 ids", "fewer than 65536"},
		{"two that suffice", ranges{uids: []idtools.SubIDRange{{Start: 1, Length: 60000}, {Start: 99999, Length: 5536}}}, true, true, "65536 ids", ""},
		{"none", ranges{owner: "ann"}, false, false, "no range", `/etc/subuid has no line for "ann"`},
		{"no file", ranges{owner: "ann", uidErr: os.ErrNotExist}, false, false, "no range", "has no line"},
		{"broken", ranges{uidErr: errors.New("line 3 is bad")}, false, false, "not readable", "line 3 is bad"},
		{"getsubids fails", ranges{source: errors.New("exit status 1")}, false, false, "no range from getsubids", "exit status 1"},
	}
	for _, tt := range tests {
		f := tt.r.finding("uid")
		if f.Works() != tt.works || f.OK() != tt.ok || !strings.Contains(f.Detail, tt.detail) || !strings.Contains(f.Cause, tt.cause) {
			t.Errorf("%s: %+v", tt.name, f)
		}
	}
}

func TestExplainCreate(t *testing.T) {
	for errno, cause := range map[syscall.Errno]string{
		syscall.ENOSPC: "user.max_user_namespaces is",
		syscall.EUSERS: "too deep",
		syscall.EINVAL: "CONFIG_USER_NS",
		syscall.EPERM:  "",
	} {
		f := ExplainCreate(errno)
		if f.Cause == "" || f.Cure == "" || f.Who == "" || !strings.Contains(f.Cause, cause) || !strings.Contains(f.Detail, errno.Error()) {
			t.Errorf("%v: %+v", errno, f)
		}
	}
}

func TestCheckHelper(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if f := checkHelper("newuidmap"); f.Works() || !strings.Contains(f.Cause, "not installed") {
		t.Errorf("with none: %+v", f)
	}
	path := filepath.Join(dir, "newgidmap")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 { // what we make is ours, and so of no use to anybody
		if f := checkHelper("newgidmap"); f.Works() || !strings.Contains(f.Cause, "does not belong to root") {
			t.Errorf("not root's: %+v", f)
		}
		t.Skip("needs root, to make a helper that belongs to it")
	}
	if f := checkHelper("newgidmap"); f.Works() || !strings.Contains(f.Cause, "capability cap_setgid") || !strings.Contains(f.Cure, "setcap cap_setgid+ep") {
		t.Errorf("without rights: %+v", f)
	}
	// struct vfs_cap_data, revision 2: CAP_SETGID permitted and effective.
	caps := []byte{1, 0, 0, 2, 1 << 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if err := unix.Setxattr(path, "security.capability", caps, 0); err != nil {
		t.Skipf("a file capability needs root and a file system that has them: %v", err)
	}
	if f := checkHelper("newgidmap"); !strings.Contains(f.Detail, "with cap_setgid") {
		t.Errorf("with a file capability: %+v", f)
	}
}

func TestExpect(t *testing.T) {
	empty := t.TempDir()
	tests := []struct {
		asked string
		path  string
		user  Way // what an ordinary user gets; root's way does not depend on this
		root  Way
		why   string
	}{
		{"", empty, Single, Root, "newuidmap is not installed"},
		{"auto", empty, Single, Root, "newuidmap is not installed"},
		{"subuid", empty, None, Root, "newuidmap is not installed"},
		{"single", empty, Single, Single, "SANDBOX_USERNS is single"},
		{"identity", empty, None, None, "write auto, subuid or single"},
	}
	ids, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.asked, func(t *testing.T) {
			t.Setenv("SANDBOX_USERNS", tt.asked)
			t.Setenv("PATH", tt.path)
			want := tt.user
			if os.Geteuid() == 0 && capable() {
				switch want = tt.root; {
				case want == Root && !ids.full():
					want = Nested
				case want == Single && ids.full():
					want = Root // with one id of its range
				}
			}
			way, why := Expect()
			if way != want {
				t.Errorf("way %v (%s), want %v", way, why, want)
			}
			if way != Root && way != Nested && !strings.Contains(why, tt.why) {
				t.Errorf("why is %q, want %q in it", why, tt.why)
			}
		})
	}
}

func TestInspect(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l := Inspect(ctx)
	if len(l.Ways) != 4 {
		t.Fatalf("ways: %+v", l.Ways)
	}
	for i, way := range []Way{Held, Root, Nested, Single} {
		if l.Ways[i].Way != way {
			t.Errorf("way %d is %v, want %v", i, l.Ways[i].Way, way)
		}
	}
	if w, ok := l.Taken(); ok && (w.Way != l.Expected || !w.Works()) {
		t.Errorf("taken is %+v, expected %v", w, l.Expected)
	}
	if !l.Create.OK() {
		if _, ok := l.Taken(); ok {
			t.Errorf("a way is open without user namespaces: %+v", l)
		}
		t.Skipf("needs user namespaces: %s", l.Create.Cause)
	}
	if single := l.Ways[3]; !single.OK() || !strings.Contains(single.Detail, fmt.Sprint(os.Geteuid())) {
		t.Errorf("single id: %+v", single)
	}
}

func TestInspectEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l := Inspect(ctx); l.Create.OK() {
		t.Errorf("a namespace was made under a context that had ended: %+v", l.Create)
	}
}

func TestFindHolder(t *testing.T) {
	dir := t.TempDir()
	if _, found, err := FindHolder(dir); found || err != nil {
		t.Errorf("with none: %v, %v", found, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "holder"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "holder", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("lease", "")
	start, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	write("record", fmt.Sprintf("%d %s\n", os.Getpid(), start))
	h, found, err := FindHolder(dir)
	if !found || err != nil || h.PID != os.Getpid() || h.Used || h.Joinable || h.Idle > time.Minute {
		t.Errorf("ourselves as the holder: %+v, %v, %v", h, found, err)
	}

	lease, err := os.Open(filepath.Join(dir, "holder", "lease"))
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Close()
	if err := unix.Flock(int(lease.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if h, _, err := FindHolder(dir); err != nil || !h.Used {
		t.Errorf("a lease in use: %+v, %v", h, err)
	}

	write("record", fmt.Sprintf("%d 1%s\n", os.Getpid(), start))
	if _, found, err := FindHolder(dir); found || err != nil {
		t.Errorf("another process with its pid: %v, %v", found, err)
	}
	write("record", "nonsense\n")
	if _, _, err := FindHolder(dir); err == nil || !strings.Contains(err.Error(), "holder/record") {
		t.Errorf("a broken record: %v", err)
	}
}

func TestChildOfOurs(t *testing.T) {
	if childOfOurs("/proc/self/ns/user") {
		t.Error("our own namespace is not a child of ours")
	}
	b, err := startBlocked(t.Context(), single(os.Geteuid()), single(os.Getegid()))
	if err != nil {
		t.Skipf("needs user namespaces: %v", err)
	}
	defer b.stop()
	if !childOfOurs(fmt.Sprintf("/proc/%d/ns/user", b.cmd.Process.Pid)) {
		t.Error("a namespace made by us is a child of ours")
	}
}
