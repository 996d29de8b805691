package seccomp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// childVariable tells the test binary to be a program under the filter.
const childVariable = "SECCOMP_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := ordinaryProgram(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// buildProbe compiles testdata/probe.c.
func buildProbe(t *testing.T) string {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	if out, err := exec.Command("cc", "-O1", "-Wall", "-o", probe, "testdata/probe.c").CombinedOutput(); err != nil {
		t.Fatalf("compile testdata/probe.c: %v\n%s", err, out)
	}
	return probe
}

// writeFilter puts the filter for the default profile into a file.
func writeFilter(t *testing.T, v Variant) string {
	t.Helper()
	filter, err := Default(runtime.GOARCH, v)
	if err != nil {
		t.Skipf("this architecture has no filter: %v", err)
	}
	return writeBytes(t, filter)
}

func writeBytes(t *testing.T, filter []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "filter")
	if err := os.WriteFile(file, filter, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// request is a system call to be made by the probe.
type request struct {
	abi  abi
	nr   uint32
	args [6]uint64
}

// ask makes the calls under a filter ("-": none) and returns what came of each:
// "ret N" or "signal N".
func ask(t *testing.T, probe, filter string, requests []request) []string {
	t.Helper()
	var in strings.Builder
	for _, r := range requests {
		name := map[abi]string{abiI386: "i386", abiX32: "x32"}[r.abi]
		if name == "" {
			name = "native"
		}
		a := r.args
		fmt.Fprintln(&in, name, r.nr, a[0], a[1], a[2], a[3], a[4], a[5])
	}
	cmd := exec.Command(probe, filter)
	cmd.Stdin = strings.NewReader(in.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("probe: %v\n%s", err, &stderr)
	}
	answers := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(answers) != len(requests) {
		t.Fatalf("probe: %d answers to %d requests\n%s", len(answers), len(requests), out)
	}
	return answers
}

// kernelABIs returns the ABIs a process on this kernel may call from. A kernel
// without x32 still shows x32 numbers to the filter; one without i386 ends the
// caller at int 0x80.
func kernelABIs(t *testing.T, probe string) []abi {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		return []abi{abiARM64}
	}
	if got := ask(t, probe, "-", []request{{abi: abiI386, nr: 20}})[0]; strings.HasPrefix(got, "signal") {
		t.Logf("this kernel has no i386 ABI: int 0x80 gave %s", got)
		return []abi{abiAMD64, abiX32}
	}
	return []abi{abiAMD64, abiI386, abiX32}
}

// The kernel, asked from every ABI, does what the default profile promises.
func TestKernelDefault(t *testing.T) {
	probe := buildProbe(t)
	perm, nosys, noFamily := -int(unix.EPERM), -int(unix.ENOSYS), -int(unix.EAFNOSUPPORT)
	const asWithout = 1 // the same as without a filter
	type test struct {
		name string
		args [6]uint64
		want int
	}
	tests := []test{
		{"bpf", [6]uint64{}, perm},
		{"keyctl", [6]uint64{}, perm},
		{"add_key", [6]uint64{}, perm},
		{"request_key", [6]uint64{}, perm},
		{"io_uring_setup", [6]uint64{}, perm},
		{"userfaultfd", [6]uint64{}, perm},
		{"perf_event_open", [6]uint64{}, perm},
		{"open_tree", [6]uint64{}, perm},
		{"move_mount", [6]uint64{}, perm},
		{"fsopen", [6]uint64{}, perm},
		{"mount_setattr", [6]uint64{}, perm},
		{"open_tree_attr", [6]uint64{}, perm},
		{"mount", [6]uint64{}, perm},
		{"pivot_root", [6]uint64{}, perm},
		{"clone3", [6]uint64{}, nosys},
		{"unshare", [6]uint64{unix.CLONE_NEWUSER}, perm},
		{"unshare", [6]uint64{unix.CLONE_NEWNS}, perm},
		{"setns", [6]uint64{0xffffffff}, perm},
		{"clone", [6]uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, perm},
		{"clone", [6]uint64{unix.CLONE_NEWNET | uint64(unix.SIGCHLD)}, perm},
		{"ioctl", [6]uint64{0, unix.TIOCSTI}, perm},
		{"ioctl", [6]uint64{0, unix.TIOCSTI | 1<<32}, perm},
		{"ioctl", [6]uint64{0, unix.TIOCSTI | 0xdeadbeef<<32}, perm},
		{"ioctl", [6]uint64{0, unix.TIOCLINUX | 1<<63}, perm},
		{"ioctl", [6]uint64{0, unix.TCGETS}, asWithout},
		{"socket", [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, noFamily},
		{"socket", [6]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}, noFamily},
		{"socket", [6]uint64{unix.AF_PACKET, unix.SOCK_RAW}, noFamily},
		{"socket", [6]uint64{unix.AF_PACKET | 1<<32, unix.SOCK_RAW}, noFamily},
		{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT}, noFamily},
		{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC}, noFamily},
		{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, asWithout},
		{"socket", [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, asWithout},
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, asWithout},
		{"socket", [6]uint64{unix.AF_INET6 | 1<<40, unix.SOCK_DGRAM}, asWithout},
		{"socketpair", [6]uint64{unix.AF_TIPC, unix.SOCK_STREAM}, noFamily},
		{"getpid", [6]uint64{}, asWithout},
		{"personality", [6]uint64{0xffffffff}, asWithout},
		{"personality", [6]uint64{0x0040000}, perm}, // ADDR_NO_RANDOMIZE
		{"file_getattr", [6]uint64{}, nosys},
	}
	for _, v := range []Variant{ForCaps, ForNoCaps} {
		filter := writeFilter(t, v)
		for _, a := range kernelABIs(t, probe) {
			t.Run(fmt.Sprintf("%v/ABI %d", v, a), func(t *testing.T) {
				var requests []request
				var wants []int
				add := func(nr uint32, args [6]uint64, want int) {
					requests, wants = append(requests, request{a, nr, args}), append(wants, want)
				}
				for _, test := range tests {
					nr, ok := a.number(test.name)
					if !ok {
						t.Errorf("no number for %s", test.name)
					}
					add(nr, test.args, test.want)
				}
				add(9999, [6]uint64{}, nosys)
				add(472, [6]uint64{}, nosys)
				add(0x3fffffff, [6]uint64{}, nosys)
				if a == abiI386 {
					add(102, [6]uint64{1}, nosys) // socketcall(SYS_SOCKET)
					add(102, [6]uint64{8}, nosys) // socketcall(SYS_SOCKETPAIR)
					add(102, [6]uint64{2}, asWithout)
					add(102, [6]uint64{99}, asWithout)
					add(117, [6]uint64{2, 0, 0, 0}, asWithout) // ipc(SEMGET)
				}
				got := ask(t, probe, filter, requests)
				without := ask(t, probe, "-", requests)
				for n, r := range requests {
					want := fmt.Sprintf("ret %d", wants[n])
					if wants[n] == asWithout {
						if want = without[n]; strings.HasPrefix(want, "ret ") && !strings.HasPrefix(want, "ret -") {
							want = "ret N" // a pid or a descriptor
							if !strings.HasPrefix(got[n], "ret -") && strings.HasPrefix(got[n], "ret ") {
								got[n] = want
							}
						}
					}
					if got[n] != want {
						t.Errorf("number %d with %#x: got %q, want %q", r.nr, r.args, got[n], want)
					}
				}
			})
		}
	}
}

// Under --allow nesting the calls reach the kernel.
func TestKernelNesting(t *testing.T) {
	probe := buildProbe(t)
	filter := writeFilter(t, ForNesting)
	for _, a := range kernelABIs(t, probe) {
		var requests []request
		for name, args := range map[string][6]uint64{
			"unshare":       {unix.CLONE_NEWUSER | unix.CLONE_NEWNS},
			"setns":         {0xffffffff},
			"pivot_root":    {},
			"move_mount":    {0xffffffff, 0, 0xffffffff},
			"mount_setattr": {0xffffffff},
			"umount2":       {0, 0xff},
		} {
			nr, ok := a.number(name)
			if !ok {
				t.Fatalf("no number for %s", name)
			}
			requests = append(requests, request{a, nr, args})
		}
		got, without := ask(t, probe, filter, requests), ask(t, probe, "-", requests)
		for n, r := range requests {
			if got[n] != without[n] {
				t.Errorf("ABI %d: number %d: %q with the filter, %q without", a, r.nr, got[n], without[n])
			}
		}
		bpf, _ := a.number("bpf")
		if got := ask(t, probe, filter, []request{{abi: a, nr: bpf}})[0]; got != "ret -1" {
			t.Errorf("ABI %d: bpf: %q", a, got)
		}
	}
}

// The kernel takes the other actions as meant, and ABIs that a profile leaves
// out kill the process.
func TestKernelActions(t *testing.T) {
	probe := buildProbe(t)
	native := kernelABIs(t, probe)[0]
	filter, err := Compile([]byte(`{
		"defaultAction": "SCMP_ACT_ALLOW",
		"syscalls": [
			{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77},
			{"names": ["getppid"], "action": "SCMP_ACT_KILL"},
			{"names": ["getuid"], "action": "SCMP_ACT_KILL_PROCESS"},
			{"names": ["geteuid"], "action": "SCMP_ACT_TRAP"},
			{"names": ["getgid"], "action": "SCMP_ACT_LOG"},
			{"names": ["dup3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 78,
			 "args": [{"index": 0, "op": "SCMP_CMP_GT", "value": 4294967296}, {"index": 2, "op": "SCMP_CMP_NE", "value": 5}]}
		]}`), Target{})
	if err != nil {
		t.Fatal(err)
	}
	file := writeBytes(t, filter)
	call := func(name string, args ...uint64) request {
		nr, ok := native.number(name)
		if !ok {
			t.Fatalf("no number for %s", name)
		}
		r := request{abi: native, nr: nr}
		copy(r.args[:], args)
		return r
	}
	tests := []struct {
		request
		want string
	}{
		{call("getpid"), "ret -77"},
		{call("getppid"), fmt.Sprintf("signal %d", unix.SIGSYS)},
		{call("getuid"), fmt.Sprintf("signal %d", unix.SIGSYS)},
		{call("geteuid"), fmt.Sprintf("signal %d", unix.SIGSYS)},
		{call("getgid"), fmt.Sprintf("ret %d", os.Getgid())},
		{call("dup3", 1<<32+1, 0, 4), "ret -78"},
		{call("dup3", 1<<32, 0, 4), fmt.Sprintf("ret %d", -int(unix.EINVAL))},
		{call("dup3", 1<<32+1, 0, 5), fmt.Sprintf("ret %d", -int(unix.EINVAL))},
		{request{abi: native, nr: 9999}, fmt.Sprintf("ret %d", -int(unix.ENOSYS))},
	}
	for _, a := range kernelABIs(t, probe)[1:] {
		tests = append(tests, struct {
			request
			want string
		}{request{abi: a, nr: 20}, fmt.Sprintf("signal %d", unix.SIGSYS)})
	}
	var requests []request
	for _, test := range tests {
		requests = append(requests, test.request)
	}
	for n, got := range ask(t, probe, file, requests) {
		if got != tests[n].want {
			t.Errorf("number %d with %#x: got %q, want %q", tests[n].nr, tests[n].args, got, tests[n].want)
		}
	}
}

// Ordinary programs do not notice the filter.
func TestKernelRunsPrograms(t *testing.T) {
	probe := buildProbe(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []Variant{ForCaps, ForNoCaps, ForNesting} {
		filter := writeFilter(t, v)
		cmd := exec.Command(probe, filter, self)
		cmd.Env = append(os.Environ(), childVariable+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: Go program: %v\n%s", v, err, out)
		}
		out, err := exec.Command(probe, filter, "sh", "-c", "echo one | tr o 0; ls / >/dev/null; exit 7").CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 7 || string(out) != "0ne\n" {
			t.Errorf("%v: shell: %v, %q", v, err, out)
		}
	}
}

// ordinaryProgram uses threads, sockets, files and children. It runs under the
// filter.
func ordinaryProgram() error {
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			runtime.LockOSThread() // a thread of its own, which ends with it
		})
	}
	group.Wait()
	dir, err := os.MkdirTemp("", "seccomp")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, address := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", filepath.Join(dir, "s")}} {
		l, err := net.Listen(address[0], address[1])
		if err != nil {
			return err
		}
		defer l.Close()
		client, err := net.Dial(address[0], l.Addr().String())
		if err != nil {
			return err
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			return err
		}
		defer server.Close()
		if _, err := io.WriteString(client, "ping"); err != nil {
			return err
		}
		buf := make([]byte, 4)
		if _, err := io.ReadFull(server, buf); err != nil || string(buf) != "ping" {
			return fmt.Errorf("read %q: %w", buf, err)
		}
	}
	if _, err := net.Interfaces(); err != nil { // NETLINK_ROUTE
		return err
	}
	out, err := exec.Command("sh", "-c", "echo ok").Output()
	if err != nil || string(out) != "ok\n" {
		return fmt.Errorf("run a child: %q: %w", out, err)
	}
	return nil
}
