package seccomp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sandbox.example/sandbox/seccomp/internal/gen"
)

// The committed profiles and filters are what the generator makes.
func TestProfilesAndFiltersAreCurrent(t *testing.T) {
	for _, nesting := range []bool{false, true} {
		profile, err := gen.Profile(nesting)
		if err != nil {
			t.Fatal(err)
		}
		committed, variants := profileDefault, []Variant{ForCaps, ForNoCaps}
		if nesting {
			committed, variants = profileNesting, []Variant{ForNesting}
		}
		if string(profile) != committed {
			t.Errorf("profile (nesting %v) differs, run go generate ./sandbox/seccomp", nesting)
		}
		for _, f := range families() {
			for _, v := range variants {
				target := Target{Arch: f.goarch, Caps: DefaultCaps(), Kernel: "99.0"}
				if v == ForNoCaps {
					target.Caps = nil
				}
				made, err := Compile(profile, target)
				if err != nil {
					t.Fatal(err)
				}
				kept, err := Default(f.goarch, v)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(made, kept) {
					t.Errorf("filter %s %v differs, run go generate ./sandbox/seccomp", f.goarch, v)
				}
			}
		}
	}
}

// The table is from the x/sys that the module is built with, and is what the
// generator makes of it. Where a test binary runs without the go command or the
// module cache, only the version is compared.
func TestTableIsCurrent(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok {
		i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == "golang.org/x/sys" })
		if i >= 0 && info.Deps[i].Version != syscallsVersion {
			t.Errorf("table is from x/sys %s, the build has %s: run go generate ./sandbox/seccomp", syscallsVersion, info.Deps[i].Version)
		}
	}
	out, err := exec.Command("go", "list", "-m", "-json", "golang.org/x/sys").Output()
	var module struct{ Dir, Version string }
	if err != nil || json.Unmarshal(out, &module) != nil || module.Dir == "" {
		t.Logf("compared the version only: go list: %v", err)
		return
	}
	made, err := gen.Tables(module.Dir, module.Version)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile("zz_syscalls.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, kept) {
		t.Error("zz_syscalls.go differs, run go generate ./sandbox/seccomp")
	}
}

func TestTableIsSorted(t *testing.T) {
	if len(syscalls) < 450 {
		t.Errorf("table has %d calls", len(syscalls))
	}
	if !slices.IsSortedFunc(syscalls[:], func(a, b syscall) int { return strings.Compare(a.name, b.name) }) {
		t.Error("table is not sorted by name")
	}
}

// The kernel's own headers are another source for the numbers, x32's above all.
// They may be older than the table.
func TestTableAgreesWithKernelHeaders(t *testing.T) {
	for a, file := range map[abi]string{
		abiAMD64: "unistd_64.h", abiI386: "unistd_32.h", abiX32: "unistd_x32.h",
	} {
		text, err := os.ReadFile("/usr/include/x86_64-linux-gnu/asm/" + file)
		if err != nil {
			t.Logf("not compared: %v", err)
			continue
		}
		there := map[string]bool{}
		newest := int32(0)
		for _, m := range regexp.MustCompile(`(?m)^#define __NR_(\w+) (?:\(__X32_SYSCALL_BIT \+ )?(\d+)`).FindAllStringSubmatch(string(text), -1) {
			want, err := strconv.ParseUint(m[2], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			there[m[1]] = true
			if want < 512 {
				newest = max(newest, int32(want))
			}
			if got, ok := a.number(m[1]); !ok || got != uint32(want) {
				t.Errorf("%s: %s is %d (%v) in the table and %d in the header", file, m[1], got, ok, want)
			}
		}
		for _, s := range syscalls {
			// uretprobe (335) took a number below the newest, in Linux 6.11.
			if nr := s.numbers[a]; nr >= 0 && nr <= newest && !there[s.name] && s.name != "uretprobe" && s.name != "uprobe" {
				t.Errorf("%s: %s (%d) is in the table and not in the header", file, s.name, nr)
			}
		}
	}
}

// Every call that is younger than moby's profile gets ENOSYS, or is refused by
// a rule of ours.
func TestNewCallsAreUnknown(t *testing.T) {
	m := read(t, []byte(profileDefault), "amd64", DefaultCaps())
	for name, want := range map[string]uint32{
		"removexattrat":    0x7fff0000,
		"open_tree_attr":   0x00050001,
		"file_getattr":     0x00050026,
		"file_setattr":     0x00050026,
		"listns":           0x00050026,
		"rseq_slice_yield": 0x00050026,
	} {
		for _, a := range []abi{abiAMD64, abiI386, abiX32} {
			nr, ok := a.number(name)
			if !ok {
				t.Errorf("%s has no number in ABI %d", name, a)
			}
			if got := m.evaluate(t, a, sample{nr: nr}); got != want {
				t.Errorf("%s in ABI %d: action %#x, want %#x", name, a, got, want)
			}
		}
	}
}

// What SECURITY.md and the package comment promise, by name.
func TestDefaultProfilePromises(t *testing.T) {
	const allow, perm, nosys, noFamily = 0x7fff0000, 0x00050001, 0x00050026, 0x00050061
	const newUser, newNS = 0x10000000, 0x00020000
	type test struct {
		name string
		args [6]uint64
		want uint32
	}
	everywhere := []test{
		{"clone3", [6]uint64{}, nosys},
		{"clone", [6]uint64{17}, allow},
		{"ioctl", [6]uint64{0, 0x5412}, perm},
		{"ioctl", [6]uint64{0, 0xdeadbeef00005412}, perm},
		{"ioctl", [6]uint64{0, 0x541c}, perm},
		{"ioctl", [6]uint64{0, 1<<63 | 0x541c}, perm},
		{"ioctl", [6]uint64{0, 0x5413}, allow},
		{"ioctl", [6]uint64{0, 0x15412}, allow},
		{"socket", [6]uint64{1}, allow},
		{"socket", [6]uint64{2, 3, 255}, allow},
		{"socket", [6]uint64{10}, allow},
		{"socket", [6]uint64{1<<32 + 10}, allow},
		{"socket", [6]uint64{16, 3, 0}, allow},
		{"socket", [6]uint64{16, 3, 1 << 32}, allow},
		{"socket", [6]uint64{16, 3, 9}, noFamily},
		{"socket", [6]uint64{1<<32 + 16, 3, 9}, noFamily},
		{"socket", [6]uint64{17}, noFamily},
		{"socket", [6]uint64{38}, noFamily},
		{"socket", [6]uint64{40}, noFamily},
		{"socket", [6]uint64{1<<32 + 40}, noFamily},
		{"socketpair", [6]uint64{1}, allow},
		{"socketpair", [6]uint64{30}, noFamily},
		{"personality", [6]uint64{0xffffffff}, allow},
		{"personality", [6]uint64{0x0040000}, perm},
		{"getpid", [6]uint64{}, allow},
		{"ptrace", [6]uint64{}, allow},
		{"reboot", [6]uint64{}, perm},
		{"init_module", [6]uint64{}, perm},
	}
	for _, name := range []string{
		"io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "keyctl", "add_key", "request_key",
		"userfaultfd", "perf_event_open",
	} {
		everywhere = append(everywhere, test{name, [6]uint64{}, perm})
	}
	namespaces := []test{
		{"clone", [6]uint64{newUser | 17}, perm},
		{"clone", [6]uint64{newNS}, perm},
		{"unshare", [6]uint64{newUser}, perm},
		{"unshare", [6]uint64{0}, perm},
		{"pivot_root", [6]uint64{}, perm},
	}
	for _, name := range []string{
		"open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_tree_attr",
		"setns", "mount", "umount2", "sethostname",
	} {
		namespaces = append(namespaces, test{name, [6]uint64{}, perm})
	}
	var nested []test
	for _, n := range namespaces {
		n.want = allow
		nested = append(nested, n)
	}
	admin := append(everywhere, []test{
		{"clone", [6]uint64{newNS}, allow},
		{"clone", [6]uint64{newUser | newNS}, perm},
		{"unshare", [6]uint64{newNS}, allow},
		{"unshare", [6]uint64{newUser}, perm},
		{"mount", [6]uint64{}, allow},
		{"open_tree_attr", [6]uint64{}, allow},
	}...)
	for _, f := range families() {
		for title, c := range map[string]struct {
			caps    []string
			nesting bool
			tests   []test
		}{
			"default":   {DefaultCaps(), false, slices.Concat(everywhere, namespaces, []test{{"chroot", [6]uint64{}, allow}})},
			"no caps":   {nil, false, slices.Concat(everywhere, namespaces, []test{{"chroot", [6]uint64{}, perm}})},
			"nesting":   {nil, true, slices.Concat(everywhere, nested, []test{{"chroot", [6]uint64{}, allow}})},
			"sys_admin": {[]string{"CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON"}, false, admin},
			"nest+":     {[]string{"CAP_SYS_PTRACE"}, true, slices.Concat(everywhere, nested, []test{{"kcmp", [6]uint64{}, allow}})},
		} {
			filter, err := DefaultFor(Target{Arch: f.goarch, Caps: c.caps}, c.nesting)
			if err != nil {
				t.Fatal(err)
			}
			program := load(t, filter)
			for _, a := range f.abis {
				for _, test := range c.tests {
					nr, ok := a.number(test.name)
					if !ok {
						t.Errorf("%s has no number in ABI %d", test.name, a)
						continue
					}
					s := sample{nr: nr + a.base(), arch: a.auditArch(), args: test.args}
					if got, _ := run(program, s); got != test.want {
						t.Errorf("%s/%s: ABI %d: %s%v: action %#x, want %#x", f.goarch, title, a, test.name, test.args, got, test.want)
					}
				}
			}
		}
	}
}

func TestDefaultRefusesOthers(t *testing.T) {
	for _, c := range []struct {
		arch string
		v    Variant
		want string
	}{
		{"riscv64", ForCaps, `find seccomp filter: no filter for architecture "riscv64", only for amd64 and arm64`},
		{"amd64", 7, `find seccomp filter: no variant Variant(7)`},
	} {
		if _, err := Default(c.arch, c.v); fmt.Sprint(err) != c.want {
			t.Errorf("Default(%q, %v): %v", c.arch, c.v, err)
		}
	}
}
