package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/userns"
)

// TestMain lets this test binary be the two processes that the checks need:
// the probe that Diagnose starts, and a doctor in a place made worse first.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "doctor" {
		probe, _ := strings.CutPrefix(os.Args[2], "--probe=")
		if err := RunProbe(probe, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(125)
		}
		exitNow()
	}
	if worsen := os.Getenv("TEST_DOCTOR_WORSEN"); worsen != "" {
		if err := doctorRole(worsen); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(125)
		}
		exitNow()
	}
	os.Exit(m.Run())
}

// exitNow ends without the second that the race detector waits at exit: the
// checks have a time limit.
func exitNow() { unix.Exit(0) }

// doctorRole makes its own surroundings worse and prints a report.
// Runs in: a child of a test, mostly root of new namespaces.
func doctorRole(worsen string) error {
	if worse, ok := worsenings()[worsen]; !ok {
		return fmt.Errorf("no such worsening %q", worsen)
	} else if err := worse(); err != nil {
		return fmt.Errorf("make it worse by %q: %w", worsen, err)
	}
	return json.NewEncoder(os.Stdout).Encode(Diagnose(context.Background()))
}

func worsenings() map[string]func() error {
	return map[string]func() error{
		"nothing": func() error { return nil },
		"no user namespaces": func() error {
			return os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
		},
		"no network namespaces": func() error {
			return os.WriteFile("/proc/sys/user/max_net_namespaces", []byte("0"), 0)
		},
		"masked proc": func() error { return unix.Mount("none", "/proc/irq", "tmpfs", 0, "") },
		"masked sys":  func() error { return unix.Mount("none", "/sys/firmware", "tmpfs", 0, "") },
		"no devices": func() error {
			null, err := cloneTree("/dev/null")
			if err != nil {
				return err
			}
			if err := unix.Mount("none", "/dev", "tmpfs", 0, ""); err != nil {
				return err
			}
			if err := os.WriteFile("/dev/null", nil, 0o600); err != nil {
				return err
			}
			dst, err := os.OpenFile("/dev/null", unix.O_PATH, 0)
			if err != nil {
				return err
			}
			return attach(null, dst)
		},
		"small store": func() error {
			return unix.Mount("none", os.Getenv("XDG_DATA_HOME"), "tmpfs", 0, "size=8m,nr_inodes=200")
		},
		"overlay store": func() error {
			data := os.Getenv("XDG_DATA_HOME")
			for _, d := range []string{"/l", "/u", "/w", "/m"} {
				if err := os.Mkdir(data+d, 0o700); err != nil {
					return err
				}
			}
			opts := fmt.Sprintf("lowerdir=%s/l,upperdir=%[1]s/u,workdir=%[1]s/w,userxattr", data)
			return errors.Join(unix.Mount("overlay", data+"/m", "overlay", 0, opts), os.Setenv("XDG_DATA_HOME", data+"/m"))
		},
		"read-only store": func() error {
			return unix.Mount("none", os.Getenv("XDG_DATA_HOME"), "tmpfs", unix.MS_RDONLY, "")
		},
		"no locked memory": func() error {
			return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 0, Max: 0})
		},
		"filtered clone":    func() error { return filter(unix.SYS_CLONE, unix.CLONE_NEWUSER) },
		"filtered unshare":  func() error { return filter(unix.SYS_UNSHARE, unix.CLONE_NEWNS) },
		"no new privileges": func() error { return filter(unix.SYS_GETPID, 0) }, // a filter implies it
	}
}

// filter makes system call nr fail with EPERM when its first argument has a
// bit of bits: what outer containers do.
func filter(nr, bits uint32) error {
	const ret, data, jeq, jset = 0x06, 0x20, 0x15, 0x45 // BPF_RET|K, LD|W|ABS, JMP|JEQ|K, JMP|JSET|K
	prog := []unix.SockFilter{
		{Code: data, K: 0},
		{Code: jeq, K: nr, Jf: 3},
		{Code: data, K: 16},
		{Code: jset, K: bits, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return nil
}

// doctorIn is a doctor for runDoctor to run.
type doctorIn struct {
	worsen string
	flags  uintptr // new namespaces; with a user namespace: one id
	uid    int     // 0: ours
	env    []string
}

// runDoctor returns the report of a doctor in its own home.
func runDoctor(t *testing.T, d doctorIn) Report {
	t.Helper()
	requireUserns(t)
	if d.uid != 0 && os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	home, err := os.MkdirTemp("", "sandbox-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command("/proc/self/exe")
	cmd.Dir = "/"
	cmd.Env = append([]string{"TEST_DOCTOR_WORSEN=" + d.worsen, "HOME=" + home, "PATH=" + os.Getenv("PATH")}, d.env...)
	for _, name := range []string{"DATA_HOME", "STATE_HOME", "CACHE_HOME", "RUNTIME_DIR"} {
		dir := filepath.Join(home, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "XDG_"+name+"="+dir)
		if d.uid != 0 {
			if err := errors.Join(os.Chown(dir, d.uid, d.uid), os.Chown(home, d.uid, d.uid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: d.flags}
	if d.flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	} else if d.flags&syscall.CLONE_NEWNS != 0 {
		t.Fatal("a mount namespace without a user namespace would share its mounts")
	}
	if d.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(d.uid), Gid: uint32(d.uid)}
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("doctor: %v: %s", err, stderr.String())
	}
	var r Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("report %q: %v", out, err)
	}
	checkReport(t, r)
	if left, err := filepath.Glob(filepath.Join(home, "*", "*")); err != nil || len(left) > 0 && d.worsen != "overlay store" {
		t.Errorf("doctor left %q behind (%v)", left, err)
	}
	return r
}

// checkReport is what holds for every report.
func checkReport(t *testing.T, r Report) {
	t.Helper()
	seen := make(map[string]bool)
	for _, c := range r.Checks {
		if seen[c.Name] {
			t.Errorf("check %q comes twice", c.Name)
		}
		seen[c.Name] = true
		if c.Detail == "" {
			t.Errorf("check %q has no detail", c.Name)
		}
		if told := c.Cause != "" && c.Cure != "" && c.Who != ""; told != (c.Status != CheckOK) {
			t.Errorf("check %q is %s, with cause %q, cure %q for %q", c.Name, c.Status, c.Cause, c.Cure, c.Who)
		}
	}
	names := []string{"way", "userns", "newuidmap", "newgidmap", "subuid", "subgid", "namespaces", "syscalls",
		"proc", "sysfs", "memfd", "seccomp", "store.runtime", "store.state", "store.data", "store.cache",
		"overlay", "idmap", "fuse", "tun", "cgroup", "mlock"}
	for _, name := range names {
		if !seen[name] {
			t.Errorf("check %q is missing", name)
		}
	}
	taken := "none"
	for _, w := range r.Ways {
		if w.Taken {
			taken = w.Name
		}
	}
	if len(r.Ways) != 4 || r.Way != taken {
		t.Errorf("way is %q, ways are %+v", r.Way, r.Ways)
	}
	if way := r.find("way"); (way.Status == CheckMissing) != (r.Way == "none") {
		t.Errorf("check way is %s, the way %q", way.Status, r.Way)
	}
}

func requireUserns(t *testing.T) {
	t.Helper()
	l := userns.Inspect(t.Context())
	if !l.Create.OK() {
		t.Skipf("needs user namespaces: %s", l.Create.Cause)
	}
}

func TestDiagnose(t *testing.T) {
	inside := uintptr(syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS)
	tests := []struct {
		name   string
		in     doctorIn
		status CheckStatus
		way    string
		want   map[string]CheckStatus
		cause  map[string]string // parts of causes
	}{
		{
			name:   "nested, one id",
			in:     doctorIn{worsen: "nothing", flags: inside},
			status: CheckDegraded, way: "nested",
			want:  map[string]CheckStatus{"way": CheckDegraded, "userns": CheckOK, "namespaces": CheckOK, "syscalls": CheckOK, "overlay": CheckOK, "seccomp": CheckOK, "memfd": CheckOK},
			cause: map[string]string{"way": "fewer than 65536 ids"},
		},
		{
			name:   "user namespaces forbidden",
			in:     doctorIn{worsen: "no user namespaces", flags: inside},
			status: CheckMissing, way: "none",
			want:  map[string]CheckStatus{"way": CheckMissing, "userns": CheckMissing, "namespaces": CheckMissing, "overlay": CheckMissing, "store.data": CheckOK},
			cause: map[string]string{"userns": "user.max_user_namespaces is 0", "way": "user.max_user_namespaces is 0", "fuse": ""},
		},
		{
			name:   "network namespaces forbidden",
			in:     doctorIn{worsen: "no network namespaces", flags: inside},
			status: CheckMissing, way: "none",
			want:  map[string]CheckStatus{"userns": CheckOK, "namespaces": CheckMissing, "way": CheckMissing},
			cause: map[string]string{"namespaces": "user.max_*_namespaces"},
		},
		{
			name:   "seccomp refuses user namespaces",
			in:     doctorIn{worsen: "filtered clone", flags: inside},
			status: CheckMissing, way: "none",
			want:  map[string]CheckStatus{"userns": CheckMissing},
			cause: map[string]string{"userns": "a seccomp filter around this process"},
		},
		{
			name:   "no rights in user namespaces",
			in:     doctorIn{worsen: "filtered unshare", flags: inside},
			status: CheckMissing, way: "none",
			want:  map[string]CheckStatus{"userns": CheckOK, "namespaces": CheckMissing, "way": CheckMissing, "fuse": CheckMissing},
			cause: map[string]string{"namespaces": "a seccomp filter around this process"},
		},
		{
			name: "masked proc",
			in:   doctorIn{worsen: "masked proc", flags: inside}, status: CheckDegraded, way: "nested",
			want:  map[string]CheckStatus{"proc": CheckDegraded},
			cause: map[string]string{"proc": "masks parts of /proc"},
		},
		{
			name: "masked sys",
			in:   doctorIn{worsen: "masked sys", flags: inside}, status: CheckDegraded, way: "nested",
			want: map[string]CheckStatus{"sysfs": CheckDegraded},
		},
		{
			name: "no devices",
			in:   doctorIn{worsen: "no devices", flags: inside}, status: CheckDegraded, way: "nested",
			want:  map[string]CheckStatus{"fuse": CheckMissing, "tun": CheckMissing},
			cause: map[string]string{"fuse": "/dev/fuse does not exist", "tun": "/dev/net/tun does not exist"},
		},
		{
			name: "small store",
			in:   doctorIn{worsen: "small store", flags: inside}, status: CheckDegraded, way: "nested",
			want:  map[string]CheckStatus{"store.data": CheckDegraded},
			cause: map[string]string{"store.data": "less than 256MiB or 10000 inodes"},
		},
		{
			name: "store on an overlay",
			in:   doctorIn{worsen: "overlay store", flags: inside}, status: CheckDegraded, way: "nested",
			want:  map[string]CheckStatus{"overlay": CheckOK, "store.data": CheckDegraded},
			cause: map[string]string{"store.data": "does not take this file system for its upper layer"},
		},
		{
			name: "read-only store",
			in:   doctorIn{worsen: "read-only store", flags: inside}, status: CheckDegraded, way: "nested",
			want:  map[string]CheckStatus{"store.data": CheckMissing, "overlay": CheckOK},
			cause: map[string]string{"store.data": "read-only file system"},
		},
		{
			name: "no locked memory",
			in:   doctorIn{worsen: "no locked memory", flags: inside}, status: CheckDegraded, way: "nested",
			want: map[string]CheckStatus{"mlock": CheckDegraded},
		},
		{
			name: "a user without ranges",
			in:   doctorIn{worsen: "nothing", uid: 64123}, status: CheckDegraded, way: "single",
			want:  map[string]CheckStatus{"way": CheckDegraded, "userns": CheckOK, "subuid": CheckMissing, "subgid": CheckMissing, "idmap": CheckOK, "store.data": CheckOK},
			cause: map[string]string{"subuid": `/etc/subuid has no line for`},
		},
		{
			name: "newuidmap hidden",
			in:   doctorIn{worsen: "nothing", uid: 64123, env: []string{"PATH=/nowhere"}}, status: CheckDegraded, way: "single",
			want:  map[string]CheckStatus{"way": CheckDegraded, "newuidmap": CheckMissing, "newgidmap": CheckMissing},
			cause: map[string]string{"way": "newuidmap is not installed", "newuidmap": "not in PATH"},
		},
		{
			name: "a user without user namespaces",
			in:   doctorIn{worsen: "filtered clone", uid: 64123}, status: CheckMissing, way: "none",
			want: map[string]CheckStatus{"way": CheckMissing, "userns": CheckMissing},
		},
		{
			name: "helpers without rights",
			in:   doctorIn{worsen: "no new privileges", uid: 64123}, status: CheckDegraded, way: "single",
			want:  map[string]CheckStatus{"newuidmap": CheckMissing, "newgidmap": CheckMissing},
			cause: map[string]string{"newuidmap": "no_new_privs"},
		},
		{
			name: "one id asked for",
			in:   doctorIn{worsen: "nothing", flags: inside, env: []string{"SANDBOX_USERNS=single"}}, status: CheckDegraded, way: "single",
			want:  map[string]CheckStatus{"way": CheckDegraded},
			cause: map[string]string{"way": "SANDBOX_USERNS is single"},
		},
		{
			name: "identity asked for by the environment",
			in:   doctorIn{worsen: "nothing", flags: inside, env: []string{"SANDBOX_USERNS=identity"}}, status: CheckMissing, way: "none",
			want: map[string]CheckStatus{"way": CheckMissing},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := runDoctor(t, tt.in)
			if r.Status != tt.status || r.Way != tt.way {
				t.Errorf("status %s by way %q, want %s by %q", r.Status, r.Way, tt.status, tt.way)
			}
			for name, status := range tt.want {
				if c := r.find(name); c.Status != status {
					t.Errorf("check %s is %+v, want %s", name, c, status)
				}
			}
			for name, part := range tt.cause {
				if c := r.find(name); !strings.Contains(c.Cause, part) {
					t.Errorf("cause of %s is %q, want %q in it", name, c.Cause, part)
				}
			}
		})
	}
}

func TestDiagnoseHere(t *testing.T) {
	before, start := tempLeftovers(t), time.Now()
	r := Diagnose(t.Context())
	if took := time.Since(start); took > 2*probeTimeout {
		t.Errorf("it took %v", took)
	}
	checkReport(t, r)
	if after := tempLeftovers(t); !slices.Equal(before, after) {
		t.Errorf("directories left behind: %q, before %q", after, before)
	}
	if mounts := readFile(t, "/proc/self/mountinfo"); strings.Contains(mounts, "sandbox-doctor") {
		t.Errorf("mounts left behind:\n%s", mounts)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func tempLeftovers(t *testing.T) []string {
	t.Helper()
	d := UserDirs()
	var out []string
	for _, dir := range []string{d.State, d.Data, d.Cache, os.TempDir()} {
		if base, _, err := nearest(dir); err == nil {
			found, err := filepath.Glob(filepath.Join(globQuote(base), tempPrefix+"*"))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, found...)
		}
	}
	return out
}
