package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseUser(t *testing.T) {
	const wrong = "error: "
	tests := []struct{ name, in, want string }{
		{"empty is the default", "", ""},
		{"number", "1000", "1000"},
		{"zero", "0", "0"},
		{"leading zeros", "007", "7"},
		{"pair", "1000:50", "1000:50"},
		{"name", "build", "build"},
		{"name and group", "build:staff", "build:staff"},
		{"name and gid", "build:50", "build:50"},
		{"uid and group", "5:staff", "5:staff"},
		{"domain name", `CORP\ann`, `CORP\ann`},
		{"samba machine", "host$", "host$"},
		{"largest id", "4294967294:4294967294", "4294967294:4294967294"},
		{"exponent is a name", "1e3", "1e3"},
		{"hexadecimal is a name", "0x0", "0x0"},
		{"no user", ":5", wrong + `user ":5": no user before the colon`},
		{"only a colon", ":", wrong + `user ":": no user before the colon`},
		{"no group", "1000:", wrong + `user "1000:": no group after the colon`},
		{"two colons", "1:2:3", wrong + `user "1:2:3": group: name "2:3": not a name`},
		{"minus one", "-1", wrong + `user "-1": name "-1": not a name`},
		{"minus one as group", "0:-1", wrong + `user "0:-1": group: name "-1": not a name`},
		{"the id that is none", "4294967295", wrong + "id 4294967295: not from 0 to 4294967294"},
		{"the gid that is none", "0:4294967295", wrong + "group: id 4294967295: not from 0 to 4294967294"},
		{"wraps to zero", "4294967296", wrong + "id 4294967296: not from 0 to 4294967294"},
		{"wraps 64 bits", "18446744073709551616", wrong + "id 18446744073709551616: not from 0"},
		{"plus sign", "+0", wrong + `name "+0": not a name`},
		{"leading blank", " 0", wrong + `name " 0": not a name`},
		{"trailing blank", "0 ", wrong + `name "0 ": not a name`},
		{"newline", "0\n", wrong + `name "0\n": not a name`},
		{"NUL", "root\x00", wrong + `name "root\x00": not a name`},
		{"comment", "#root", wrong + `name "#root": not a name`},
		{"slash", "../root", wrong + `name "../root": not a name`},
		{"comma", "a,b", wrong + `name "a,b": not a name`},
		{"invalid UTF-8", "\xff", wrong + `name "\xff": not a name`},
		{"too long", strings.Repeat("a", 256), wrong + "not a name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := ParseUser(tt.in)
			if message, isError := strings.CutPrefix(tt.want, wrong); isError {
				if err == nil || !strings.Contains(err.Error(), message) {
					t.Fatalf("ParseUser(%q) = %q, %v; want an error with %q", tt.in, u, err, message)
				}
				if u != (UserSpec{}) {
					t.Errorf("ParseUser(%q) = %q beside its error", tt.in, u)
				}
				return
			}
			if err != nil || u.String() != tt.want {
				t.Fatalf("ParseUser(%q) = %q, %v; want %q", tt.in, u, err, tt.want)
			}
			if u.IsZero() != (tt.in == "") {
				t.Errorf("IsZero of %q = %v", tt.in, u.IsZero())
			}
		})
	}
}

func TestUserSpecJSON(t *testing.T) {
	for _, in := range []string{"", "0", "ann:staff", "1:2"} {
		want, err := ParseUser(in)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got UserSpec
		if err := json.Unmarshal(data, &got); err != nil || got != want {
			t.Errorf("%s unmarshals to %q, %v", data, got, err)
		}
	}
	var u UserSpec
	if err := json.Unmarshal([]byte(`"1:"`), &u); err == nil {
		t.Error(`"1:" unmarshals`)
	}
}

const testPasswd = `# a comment
root:x:0:0:root:/root:/bin/sh

+nis::0:0:::
-nis::0:0:::
broken:x:zero:0::/:/bin/sh
huge:x:4294967296:0::/:/bin/sh
minus:x:-1:0::/:/bin/sh
short:x:5
1000:x:0:0:a name like a number:/evil:/bin/sh
ann:x:1000:100:Ann,,,:/home/ann:/bin/bash
ann:x:0:0:the second is not looked at:/root:/bin/sh
bob:x:1001:100::relative/home:bash
nul:x:1002:100::/home/` + "\x00" + `:/bin/sh
crlf:x:1003:100::/home/crlf:/bin/sh` + "\r" + `
bare:x:1004:7
1e3:x:1005:7::/:
`

const testGroup = `root:x:0:
staff:x:50:ann,bob
users:x:100:ann
wheel:x:10:bob,ann
again:x:50:ann
bad:x:1x:ann
prefix:x:60:anna,xann
crlf:x:70:bob,ann` + "\r" + `
last:x:80:ann`

// testRoot returns a root directory with the files given, opened.
func testRoot(t *testing.T, files map[string]string) *os.File {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return openTestRoot(t, dir)
}

func openTestRoot(t *testing.T, dir string) *os.File {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	root := os.NewFile(uintptr(fd), dir)
	t.Cleanup(func() { root.Close() })
	return root
}

func mustParseUser(t *testing.T, s string) UserSpec {
	t.Helper()
	u, err := ParseUser(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestResolveUser(t *testing.T) {
	root := testRoot(t, map[string]string{"etc/passwd": testPasswd, "etc/group": testGroup})
	ann := User{UID: 1000, GID: 100, Groups: []int{10, 50, 70, 80}, Name: "ann", Home: "/home/ann", Shell: "/bin/bash"}
	annIn := func(gid int) User {
		u := ann
		u.GID, u.Groups = gid, nil
		return u
	}
	tests := []struct {
		name, in string
		want     User
		err      string
	}{
		{name: "default", in: "", want: User{Name: "root", Home: "/root", Shell: "/bin/sh"}},
		{name: "root by name", in: "root", want: User{Name: "root", Home: "/root", Shell: "/bin/sh"}},
		{name: "name", in: "ann", want: ann},
		{name: "number with an entry", in: "1000", want: ann},
		{name: "a number is no name", in: "01000", want: ann},
		{name: "number without an entry", in: "7777", want: User{UID: 7777}},
		{name: "pair is not looked up", in: "1000:100", want: User{UID: 1000, GID: 100}},
		{name: "name and group", in: "ann:wheel", want: annIn(10)},
		{name: "name and gid", in: "ann:12345", want: annIn(12345)},
		{name: "uid and group", in: "1000:staff", want: annIn(50)},
		{name: "unknown uid and group", in: "7777:staff", want: User{UID: 7777, GID: 50}},
		{name: "relative home and shell", in: "bob", want: User{UID: 1001, GID: 100, Groups: []int{10, 50, 70}, Name: "bob"}},
		{name: "home with NUL", in: "nul", want: User{UID: 1002, GID: 100, Name: "nul", Shell: "/bin/sh"}},
		{name: "carriage return", in: "crlf", want: User{UID: 1003, GID: 100, Name: "crlf", Home: "/home/crlf"}},
		{name: "four fields", in: "bare", want: User{UID: 1004, GID: 7, Name: "bare"}},
		{name: "exponent as a name", in: "1e3", want: User{UID: 1005, GID: 7, Name: "1e3", Home: "/"}},
		{name: "unknown name", in: "x", err: `no user "x" in /etc/passwd of the root`},
		{name: "unknown group", in: "ann:x", err: `no group "x" in /etc/group of the root`},
		{name: "unreadable uid is not 0", in: "broken", err: `no user "broken" in /etc/passwd of the root`},
		{name: "too large uid is not 0", in: "huge", err: `no user "huge" in /etc/passwd of the root`},
		{name: "negative uid", in: "minus", err: `no user "minus" in /etc/passwd of the root`},
		{name: "too few fields", in: "short", err: `no user "short" in /etc/passwd of the root`},
		{name: "unreadable gid", in: "ann:bad", err: `no group "bad" in /etc/group of the root`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mustParseUser(t, tt.in).Resolve(root)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("got %+v, %v; want error %q", got, err, tt.err)
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

func TestLookupHome(t *testing.T) {
	root := testRoot(t, map[string]string{"etc/passwd": testPasswd})
	for uid, want := range map[int]string{0: "/root", 1000: "/home/ann", 1001: "", 9: ""} {
		if got, err := LookupHome(root, uid); err != nil || got != want {
			t.Errorf("home of %d = %q, %v; want %q", uid, got, err, want)
		}
	}
}

// TestResolveOddFiles has a root whose /etc/passwd is what an attacker likes.
// A pair of numbers must work in each: it reads nothing.
func TestResolveOddFiles(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(outside, []byte("evil:x:5:5::/evil:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	write := func(path, content string) error { return os.WriteFile(path, []byte(content), 0o644) }
	const noUser = `no user "evil" in /etc/passwd of the root`
	const notRegular = "read /etc/passwd of the root: not a regular file"
	tests := []struct {
		name    string
		prepare func(dir string) error
		byName  string // error of -u evil; "" is uid 5
		byID    string // error of -u 0; "" is none
	}{
		{"missing", func(dir string) error { return nil }, noUser, ""},
		{"etc is a file", func(dir string) error {
			return errors.Join(os.Remove(dir+"/etc"), write(dir+"/etc", ""))
		}, noUser, ""},
		{"FIFO", func(dir string) error { return unix.Mkfifo(dir+"/etc/passwd", 0o644) }, notRegular, notRegular},
		{"directory", func(dir string) error { return os.Mkdir(dir+"/etc/passwd", 0o755) }, notRegular, notRegular},
		{"link to the outside", func(dir string) error { return os.Symlink(outside, dir+"/etc/passwd") }, noUser, ""},
		{"link that climbs", func(dir string) error {
			return os.Symlink("../../../../../../../.."+outside, dir+"/etc/passwd")
		}, noUser, ""},
		{"etc links to the outside", func(dir string) error {
			return errors.Join(os.Remove(dir+"/etc"), os.Symlink(filepath.Dir(outside), dir+"/etc"))
		}, noUser, ""},
		{"link inside", func(dir string) error {
			return errors.Join(write(dir+"/users", "evil:x:5:5::/:/\n"), os.Symlink("/users", dir+"/etc/passwd"))
		}, "", ""},
		{"link to itself", func(dir string) error { return os.Symlink("passwd", dir+"/etc/passwd") },
			"too many levels of symbolic links", "too many levels of symbolic links"},
		{"link to /proc/self/fd of a proc that is not there", func(dir string) error {
			return os.Symlink("/proc/self/fd/0", dir+"/etc/passwd")
		}, noUser, ""},
		{"largest size", func(dir string) error {
			return write(dir+"/etc/passwd", strings.Repeat("#"+strings.Repeat(" ", 1022)+"\n", maxUserFile/1024-1)+"evil:x:5:5::/:/"+strings.Repeat("\n", 1024-15))
		}, "", ""},
		{"one byte too large", func(dir string) error {
			return errors.Join(write(dir+"/etc/passwd", "evil:x:5:5::/:/\n"), os.Truncate(dir+"/etc/passwd", maxUserFile+1))
		}, "larger than 10485760 bytes", "larger than 10485760 bytes"},
		{"huge and sparse", func(dir string) error {
			return errors.Join(write(dir+"/etc/passwd", ""), os.Truncate(dir+"/etc/passwd", 1<<40))
		}, "larger than 10485760 bytes", "larger than 10485760 bytes"},
		{"one long line", func(dir string) error { return write(dir+"/etc/passwd", strings.Repeat("x", maxUserLine+1)) },
			"a line is longer than 1048576 bytes", "a line is longer than 1048576 bytes"},
		{"binary", func(dir string) error { return write(dir+"/etc/passwd", "\x7fELF\x00:\xff::::\n:::::::\n") }, noUser, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(dir+"/etc", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := tt.prepare(dir); err != nil {
				t.Fatal(err)
			}
			root := openTestRoot(t, dir)
			u, err := mustParseUser(t, "evil").Resolve(root)
			checkResolved(t, "evil", u, err, 5, tt.byName)
			u, err = mustParseUser(t, "").Resolve(root)
			checkResolved(t, "", u, err, 0, tt.byID)
			u, err = mustParseUser(t, "3:4").Resolve(root)
			checkResolved(t, "3:4", u, err, 3, "")
		})
	}
}

func checkResolved(t *testing.T, in string, u User, err error, uid int, wantErr string) {
	t.Helper()
	switch {
	case wantErr == "" && (err != nil || u.UID != uid):
		t.Errorf("%q resolves to %+v, %v; want uid %d", in, u, err, uid)
	case wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)):
		t.Errorf("%q resolves to %+v, %v; want error %q", in, u, err, wantErr)
	}
}

// TestReadUserFileOfHost reads below the host's own root, where files lie
// about their size and devices wait.
func TestReadUserFileOfHost(t *testing.T) {
	root := openTestRoot(t, "/")
	if _, err := readUserFile(root, "dev/zero"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("/dev/zero: %v", err)
	}
	data, err := readUserFile(root, "proc/self/status") // st_size is 0
	if err != nil || len(data) == 0 {
		t.Errorf("/proc/self/status: %d bytes, %v", len(data), err)
	}
	if _, err := readUserFile(root, "proc/self/exe"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("/proc/self/exe, a magic link: %v", err)
	}
	if _, err := readUserFile(root, "proc/self/pagemap"); err == nil { // st_size is 0, content without end
		t.Error("/proc/self/pagemap was read whole")
	}
}

func TestTooManyGroups(t *testing.T) {
	var groups strings.Builder
	for i := range maxGroups + 1 {
		fmt.Fprintf(&groups, "g%d:x:%d:ann\n", i, i+200)
	}
	root := testRoot(t, map[string]string{"etc/passwd": testPasswd, "etc/group": groups.String()})
	if _, err := mustParseUser(t, "ann").Resolve(root); err == nil || !strings.Contains(err.Error(), `user "ann" is in 65537 groups`) {
		t.Errorf("ann in too many groups: %v", err)
	}
	if u, err := mustParseUser(t, "ann:g7").Resolve(root); err != nil || u.GID != 207 {
		t.Errorf("ann:g7 = %+v, %v", u, err)
	}
}

func FuzzParseUser(f *testing.F) {
	for _, s := range []string{"", ":5", "1000:", "-1", "4294967295", "4294967296", "1e3", "+0", " 0", "ann:staff", "0:0", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUser(s)
		if err != nil {
			if u != (UserSpec{}) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("ParseUser(%q) = %#v, %q", s, u, err)
			}
			return
		}
		again, err := ParseUser(u.String())
		if err != nil || again != u {
			t.Fatalf("ParseUser(%q) = %q, which parses to %q, %v", s, u, again, err)
		}
		for _, id := range []int{u.user.id, u.group.id} {
			if id < 0 || id > maxUserID {
				t.Fatalf("ParseUser(%q) has the id %d", s, id)
			}
		}
	})
}

func FuzzPasswd(f *testing.F) {
	f.Add([]byte(testPasswd), []byte(testGroup), "ann", 1000)
	f.Add([]byte("a:b:1:2"), []byte("a::3:a"), "a", 1)
	f.Add([]byte("::::::\n\n:"), []byte(":::,\n"), "", 0)
	f.Add([]byte("1000:x:0:0::/:/"), []byte("1000:x:0:1000"), "1000", 1000)
	f.Fuzz(func(t *testing.T, passwd, group []byte, name string, uid int) {
		if uid < 0 || uid > maxUserID {
			return
		}
		for _, want := range []userWord{{name: name}, {id: uid}} {
			user, found, err := findUser(passwd, want)
			if err != nil || !found {
				continue
			}
			if user.UID < 0 || user.UID > maxUserID || user.GID < 0 || user.GID > maxUserID || !isUserName(user.Name) {
				t.Fatalf("%+v", user)
			}
			if want.name != "" && user.Name != want.name || want.name == "" && user.UID != want.id {
				t.Fatalf("asked for %q, got %+v", want, user)
			}
			for _, path := range []string{user.Home, user.Shell} {
				if path != "" && path[0] != '/' || strings.ContainsAny(path, "\x00\n\r") {
					t.Fatalf("path %q", path)
				}
			}
			gids, err := findMemberships(group, user)
			for i, gid := range gids {
				if err != nil || gid < 0 || gid > maxUserID || gid == user.GID || i > 0 && gids[i-1] >= gid {
					t.Fatalf("groups %v, %v", gids, err)
				}
			}
		}
		if gid, err := findGroup(group, name); err == nil && (gid < 0 || gid > maxUserID || !isUserName(name)) {
			t.Fatalf("group %q is %d", name, gid)
		}
	})
}
