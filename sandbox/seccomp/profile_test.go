package seccomp

import (
	"fmt"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
)

func TestCompileErrors(t *testing.T) {
	rule := func(rule string) string {
		return `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, ` + rule + `]}`
	}
	arg := func(arg string) string {
		return rule(`{"names": ["ioctl", "read"], "action": "SCMP_ACT_ALLOW", "args": [` + arg + `]}`)
	}
	for profile, want := range map[string]string{
		``:                         `parse seccomp profile: the file is empty`,
		` `:                        `parse seccomp profile: the file is empty`,
		`{`:                        `parse seccomp profile: line 1, column 1: the text ends too early`,
		"{\n  \"defaultAction\" 3": `parse seccomp profile: line 2, column 19: invalid character '3' after object key`,
		`[]`:                       `parse seccomp profile: line 1, column 1: want an object, not an array`,
		`{"defaultAction": 3}`:     `parse seccomp profile: line 1, column 19: "defaultAction" cannot be a number`,
		"{\"defaultAction\": \"SCMP_ACT_ALLOW\"}\n}": `parse seccomp profile: line 2, column 1: more text after the profile`,
		`{"defaultAktion": "SCMP_ACT_ALLOW"}`:        `parse seccomp profile: unknown field "defaultAktion"`,
		`{}`:                                         `read seccomp profile: defaultAction is missing`,
		`null`:                                       `read seccomp profile: defaultAction is missing`,
		`{"defaultAction": "ALLOW"}`:                 `read seccomp profile: defaultAction: unknown action "ALLOW", use SCMP_ACT_ with ALLOW, ERRNO, LOG, TRAP, KILL_THREAD or KILL_PROCESS`,
		`{"defaultAction": "SCMP_ACT_TRACE"}`:        `read seccomp profile: defaultAction: action "SCMP_ACT_TRACE" is not supported: it needs a tracer, and sandbox attaches none`,
		`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}`:                                                     `read seccomp profile: defaultAction: errno 4096 is more than 4095`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}`:                                                        `read seccomp profile: defaultAction: an errno goes with SCMP_ACT_ERRNO only, not with "SCMP_ACT_ALLOW"`,
		`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EPERM"}`:                                                     `read seccomp profile: defaultErrno needs the number in defaultErrnoRet beside it`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86_64"]}`:                                                 `read seccomp profile: unknown architecture "x86_64", they look like SCMP_ARCH_X86_64`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{}]}`:                         `read seccomp profile: use either architectures or archMap, not both`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}`:                                 `read seccomp profile: flag "SECCOMP_FILTER_FLAG_SPEC_ALLOW" is not supported, leave it out`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent"}`:                                                `read seccomp profile: listenerPath and listenerMetadata are not supported: no agent is asked about calls`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [null]}`:                                                          `read seccomp profile: syscalls[0] is null`,
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG", "elseErrnoRet": 1}]}`: `read seccomp profile: syscalls[0] ("a"): elseErrnoRet needs the defaultAction SCMP_ACT_ERRNO`,
		rule(`{"action": "SCMP_ACT_ALLOW"}`):                                                                               `read seccomp profile: syscalls[1]: names is missing`,
		rule(`{"name": "write"}`):                                                                                          `read seccomp profile: syscalls[1] ("write"): unknown action "", use SCMP_ACT_ with ALLOW, ERRNO, LOG, TRAP, KILL_THREAD or KILL_PROCESS`,
		rule(`{"names": ["write"]}`):                                                                                       `read seccomp profile: syscalls[1] ("write"): action is missing`,
		rule(`{"names": [""], "action": "SCMP_ACT_ALLOW"}`):                                                                `read seccomp profile: syscalls[1] (""): a name is empty`,
		rule(`{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}`):                                                  `read seccomp profile: syscalls[1] ("a"): use either name or names, not both`,
		rule(`{"names": ["a"], "action": "SCMP_ACT_NOTIFY"}`):                                                              `read seccomp profile: syscalls[1] ("a"): action "SCMP_ACT_NOTIFY" is not supported: it needs an agent that answers, and sandbox has none`,
		rule(`{"names": ["a"], "action": "SCMP_ACT_ERRNO", "errno": "EPERM"}`):                                             `read seccomp profile: syscalls[1] ("a"): errno needs the number in errnoRet beside it`,
		rule(`{"names": ["a"], "action": "SCMP_ACT_ERRNO", "elseErrnoRet": 99999}`):                                        `read seccomp profile: syscalls[1] ("a"): elseErrnoRet: errno 99999 is more than 4095`,
		rule(`{"names": ["a"], "action": "SCMP_ACT_ALLOW", "arg": []}`):                                                    `parse seccomp profile: unknown field "arg"`,
		rule(`{"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "six"}}`):                             `read seccomp profile: syscalls[1] ("a"): includes: minKernel is "six", want two numbers as in "4.8"`,
		rule(`{"names": ["a"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8.1"}}`):                           `read seccomp profile: syscalls[1] ("a"): excludes: minKernel is "4.8.1", want two numbers as in "4.8"`,
		arg(`{"index": 6, "op": "SCMP_CMP_EQ"}`):                                                                           `read seccomp profile: syscalls[1] ("ioctl", …): args[0]: index is 6, calls have arguments 0 to 5`,
		arg(`{"index": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "op": "EQ"}`):                                                 `read seccomp profile: syscalls[1] ("ioctl", …): args[1]: unknown op "EQ", use SCMP_CMP_ with NE, LT, LE, EQ, GE, GT or MASKED_EQ`,
		arg(`{"index": 0}`): `read seccomp profile: syscalls[1] ("ioctl", …): args[0]: op is missing`,
		arg(`null`):         `read seccomp profile: syscalls[1] ("ioctl", …): args[0] is null`,
		"{\"defaultAction\": \"SCMP_ACT_ALLOW\",\n \"syscalls\": [{\"args\": [{\"index\": -1}]}]}": `parse seccomp profile: line 2, column 36: "syscalls.args.index" cannot be the number -1`,
	} {
		_, err := Compile([]byte(profile), Target{Arch: "amd64"})
		if fmt.Sprint(err) != want {
			t.Errorf("%s\n got %v\nwant %v", profile, err, want)
		}
	}
	for target, want := range map[[2]string]string{
		{"mips", ""}:      `read seccomp profile: filters can be made for amd64 and arm64, not for "mips"`,
		{"amd64", "rc"}:   `read seccomp profile: kernel release "rc" does not start with two numbers`,
		{"amd64", "6.rc"}: `read seccomp profile: kernel release "6.rc" does not start with two numbers`,
	} {
		_, err := Compile([]byte(`{"defaultAction": "SCMP_ACT_ALLOW"}`), Target{Arch: target[0], Kernel: target[1]})
		if fmt.Sprint(err) != want {
			t.Errorf("%q: got %v, want %v", target, err, want)
		}
	}
}

// The rules of the format that are easy to get wrong.
func TestCompileMeaning(t *testing.T) {
	const allow, log, perm, nosys = 0x7fff0000, 0x7ffc0000, 0x00050001, 0x00050026
	type test struct {
		name string
		arg0 uint64
		want uint32
	}
	for title, c := range map[string]struct {
		profile string
		target  Target
		tests   []test
	}{
		"a refusal with arguments beats an allowance without": {
			`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
				{"names": ["dup", "close"], "action": "SCMP_ACT_ALLOW"},
				{"name": "dup", "action": "SCMP_ACT_ERRNO", "errnoRet": 9, "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 7}]}]}`,
			Target{},
			[]test{{"dup", 7, 0x00050009}, {"dup", 1<<32 + 7, allow}, {"dup", 8, allow}, {"close", 7, allow}},
		},
		"a refusal without arguments beats an allowance with": {
			`{"defaultAction": "SCMP_ACT_LOG", "syscalls": [
				{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 7}]},
				{"names": ["dup"], "action": "SCMP_ACT_ERRNO"}]}`,
			Target{},
			[]test{{"dup", 7, perm}, {"dup", 8, perm}, {"close", 0, log}},
		},
		"an index twice means or": {
			`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": [
				{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 0, "op": "SCMP_CMP_EQ", "value": 2}]}]}`,
			Target{},
			[]test{{"dup", 0, perm}, {"dup", 1, allow}, {"dup", 2, allow}},
		},
		"masked values lose the bits outside": {
			`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": [
				{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 255, "valueTwo": 4097}]}]}`,
			Target{},
			[]test{{"dup", 1, allow}, {"dup", 0x101, allow}, {"dup", 1<<63 + 1, allow}, {"dup", 2, perm}},
		},
		"conditions on the target": {
			`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
				{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.1", "arches": ["amd64"], "caps": ["CAP_KILL"]}},
				{"names": ["write"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
				{"names": ["open"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL", "CAP_CHOWN"]}},
				{"names": ["close"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "6.1"}},
				{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_KILL"]}},
				{"names": ["pipe"], "action": "SCMP_ACT_ALLOW", "includes": {}, "excludes": {"minKernel": "7.0"}},
				{"names": ["stat"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
				{"names": ["sysinfo"], "action": "SCMP_ACT_ALLOW"}]}`,
			Target{Caps: []string{"CAP_KILL"}, Kernel: "6.1.0-13-amd64"},
			[]test{{"read", 0, allow}, {"write", 0, perm}, {"open", 0, perm}, {"close", 0, perm}, {"dup", 0, perm}, {"pipe", 0, allow}, {"stat", 0, perm}},
		},
		"calls newer than the profile": {
			`{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{"names": ["statx", "no_such_call"], "action": "SCMP_ACT_ALLOW"}]}`,
			Target{},
			[]test{{"statx", 0, allow}, {"mount", 0, 0x80000000}, {"io_pgetevents", 0, nosys}, {"mseal", 0, nosys}},
		},
		"podman's and OCI's extra fields": {
			`{"comment": "x", "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS", "flags": ["SECCOMP_FILTER_FLAG_TSYNC"],
				"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": "EPERM", "errnoRet": 1, "args": null, "comment": ""},
				{"names": ["sysinfo"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 0, "valueTwo": 0}]}]}`,
			Target{},
			[]test{{"read", 0, perm}, {"write", 0, nosys}, {"sysinfo", 0, allow}},
		},
	} {
		t.Run(title, func(t *testing.T) {
			c.target.Arch = "amd64"
			filter, err := Compile([]byte(c.profile), c.target)
			if err != nil {
				t.Fatal(err)
			}
			program := load(t, filter)
			for _, test := range c.tests {
				nr, ok := abiAMD64.number(test.name)
				if !ok {
					t.Fatalf("no number for %s", test.name)
				}
				got, _ := run(program, sample{nr: nr, arch: abiAMD64.auditArch(), args: [6]uint64{test.arg0}})
				if got != test.want {
					t.Errorf("%s(%#x): action %#x, want %#x", test.name, test.arg0, got, test.want)
				}
			}
		})
	}
}

// manyRules allows n values of an argument.
func manyRules(n int) string {
	var b strings.Builder
	b.WriteString(`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": [`)
	for i := range n {
		fmt.Fprintf(&b, `{"index": 0, "op": "SCMP_CMP_EQ", "value": %d},`, i*3)
	}
	return strings.TrimSuffix(b.String(), ",") + `]}]}`
}

// Filters up to the kernel's limit work, jumps of any length included.
func TestCompileSize(t *testing.T) {
	filter, err := Compile([]byte(manyRules(1000)), Target{Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	program := load(t, filter)
	for arg := range uint64(3100) {
		want := uint32(0x00050001)
		if arg%3 == 0 && arg < 3000 {
			want = 0x7fff0000
		}
		if got, _ := run(program, sample{nr: 32, arch: 0xc000003e, args: [6]uint64{arg}}); got != want {
			t.Fatalf("dup(%d): action %#x, want %#x", arg, got, want)
		}
	}
	_, err = Compile([]byte(manyRules(1200)), Target{Arch: "amd64"})
	if err == nil || !strings.HasPrefix(err.Error(), "compile seccomp profile: the filter has ") ||
		!strings.HasSuffix(err.Error(), " instructions, the kernel takes 4096: use fewer rules with arguments") {
		t.Errorf("1200 rules: %v", err)
	}
}

// moby's own profile is a custom profile like any other.
func TestCompileMobyProfile(t *testing.T) {
	for _, f := range families() {
		for _, caps := range [][]string{nil, DefaultCaps(), {"CAP_SYS_ADMIN"}} {
			profile := jsonOf(t, moby.DefaultProfile())
			filter, err := Compile(profile, Target{Arch: f.goarch, Caps: caps, Kernel: "6.1"})
			if err != nil {
				t.Fatal(err)
			}
			compare(t, read(t, profile, f.goarch, caps), filter, f.abis)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte(profileDefault))
	f.Add([]byte(profileNesting))
	f.Add([]byte(manyRules(40)))
	f.Add([]byte(`{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}]}`))
	f.Add([]byte(`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_ARM"], "syscalls": [
		{"names": ["socket", "semop"], "action": "SCMP_ACT_KILL", "elseErrnoRet": 5, "includes": {"caps": ["CAP_KILL"], "minKernel": "4.8"},
		 "args": [{"index": 5, "value": 18446744073709551615, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"},
		          {"index": 1, "value": 4294967296, "op": "SCMP_CMP_LE"}, {"index": 1, "value": 0, "op": "SCMP_CMP_GE"}]}]}`))
	f.Fuzz(func(t *testing.T, profile []byte) {
		for _, arch := range []string{"amd64", "arm64"} {
			filter, err := Compile(profile, Target{Arch: arch, Caps: []string{"CAP_KILL"}, Kernel: "6.1"})
			if err != nil {
				if strings.ContainsRune(err.Error(), '\n') {
					t.Errorf("error has several lines: %q", err)
				}
				continue
			}
			again, err := Compile(profile, Target{Arch: arch, Caps: []string{"CAP_KILL"}, Kernel: "6.1"})
			if err != nil || string(again) != string(filter) {
				t.Errorf("the second result differs: %v", err)
			}
			program := load(t, filter)
			for _, nr := range []uint32{0, 39, 102, 0x40000000, 0xffffffff} {
				for _, a := range families()[0].abis {
					run(program, sample{nr: nr, arch: a.auditArch(), args: [6]uint64{1, 1 << 32, 3, 4, 5, ^uint64(0)}})
				}
			}
		}
	})
}

func BenchmarkCompileDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Compile([]byte(profileDefault), Target{Arch: "amd64", Caps: DefaultCaps()}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSteps reports the instructions that one call costs on average,
// where the kernel has not already noted that the call is always allowed.
func BenchmarkSteps(b *testing.B) {
	filter, err := Default("amd64", ForCaps)
	if err != nil {
		b.Fatal(err)
	}
	program := load(b, filter)
	total, calls := 0, 0
	for b.Loop() {
		for nr := range uint32(460) {
			_, steps := run(program, sample{nr: nr, arch: 0xc000003e})
			total += steps
			calls++
		}
	}
	b.ReportMetric(float64(total)/float64(calls), "steps/call")
}
