package seccomp

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// meaning is a profile, read with moby's types and evaluated the slow way: for
// one call at a time, straight from the text. It shares nothing with the
// compiler but the table of numbers.
type meaning struct {
	moby.Seccomp
	orElse []struct {
		Names        []string `json:"names"`
		ElseErrnoRet *uint32  `json:"elseErrnoRet"`
	}
	goarch string
	caps   []string
	limit  int               // of argument samples for one name
	action map[sample]uint32 // worst of multiplexed calls
	names  [abiCount]map[uint32][]string
	newest map[abi]int64 // number that the profile mentions
}

func read(t testing.TB, profile []byte, goarch string, caps []string) *meaning {
	t.Helper()
	m := &meaning{goarch: goarch, caps: caps, limit: 2000, action: map[sample]uint32{}, newest: map[abi]int64{}}
	for a := range m.names {
		m.names[a] = map[uint32][]string{}
		for _, c := range syscalls {
			if nr := c.numbers[a]; nr >= 0 {
				m.names[a][uint32(nr)] = append(m.names[a][uint32(nr)], c.name)
			}
		}
	}
	if err := json.Unmarshal(profile, &m.Seccomp); err != nil {
		t.Fatalf("read profile: %v", err)
	}
	for _, s := range m.Syscalls {
		for _, f := range []*moby.Filter{s.Includes, s.Excludes} {
			if f != nil && f.MinKernel != nil && *f.MinKernel != (moby.KernelVersion{Kernel: 4, Major: 8}) {
				t.Fatalf("profile has a rule for Linux %v; here all kernels are taken for newer", f.MinKernel)
			}
		}
	}
	extra := struct{ Syscalls any }{&m.orElse}
	if err := json.Unmarshal(profile, &extra); err != nil {
		t.Fatalf("read profile: %v", err)
	}
	return m
}

func jsonOf(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (m *meaning) applies(s *moby.Syscall) bool {
	if x := s.Excludes; x != nil {
		if slices.Contains(x.Arches, m.goarch) || x.MinKernel != nil {
			return false
		}
		for _, c := range x.Caps {
			if slices.Contains(m.caps, c) {
				return false
			}
		}
	}
	if in := s.Includes; in != nil {
		if len(in.Arches) > 0 && !slices.Contains(in.Arches, m.goarch) {
			return false
		}
		for _, c := range in.Caps {
			if !slices.Contains(m.caps, c) {
				return false
			}
		}
	}
	return true
}

func actionValue(t testing.TB, action specs.LinuxSeccompAction, errno *uint) uint32 {
	switch action {
	case specs.ActAllow:
		return 0x7fff0000
	case specs.ActLog:
		return 0x7ffc0000
	case specs.ActErrno:
		if errno == nil {
			return 0x00050001
		}
		return 0x00050000 + uint32(*errno)
	case specs.ActTrap:
		return 0x00030000
	case specs.ActKill, specs.ActKillThread:
		return 0
	case specs.ActKillProcess:
		return 0x80000000
	}
	t.Fatalf("action %q", action)
	return 0
}

// rank orders actions: the kernel takes the smallest as a signed number.
func rank(action uint32) int { return -int(int32(action & 0xffff0000)) }

func holds(t testing.TB, a specs.LinuxSeccompArg, args [6]uint64) bool {
	got := args[a.Index]
	switch a.Op {
	case specs.OpEqualTo:
		return got == a.Value
	case specs.OpNotEqual:
		return got != a.Value
	case specs.OpLessThan:
		return got < a.Value
	case specs.OpLessEqual:
		return got <= a.Value
	case specs.OpGreaterThan:
		return got > a.Value
	case specs.OpGreaterEqual:
		return got >= a.Value
	case specs.OpMaskedEqual:
		return got&a.Value == a.ValueTwo&a.Value
	}
	t.Fatalf("operator %q", a.Op)
	return false
}

func matches(t testing.TB, s *moby.Syscall, args [6]uint64) bool {
	var seen [6]int
	any, all, twice := false, true, false
	for _, a := range s.Args {
		h := holds(t, a, args)
		any, all = any || h, all && h
		seen[a.Index]++
		twice = twice || seen[a.Index] == 2
	}
	if twice {
		return any
	}
	return all
}

// ofName evaluates the rules that name one of names.
func (m *meaning) ofName(t testing.TB, names []string, args [6]uint64) (action uint32, matched bool) {
	named := func(s []string) bool {
		return slices.ContainsFunc(s, func(n string) bool { return slices.Contains(names, n) })
	}
	action = actionValue(t, m.DefaultAction, m.DefaultErrnoRet)
	for n, s := range m.Syscalls {
		if named(s.Names) && m.applies(s) && m.orElse[n].ElseErrnoRet != nil {
			action = 0x00050000 + *m.orElse[n].ElseErrnoRet
			break
		}
	}
	for _, s := range m.Syscalls {
		if !named(s.Names) || !m.applies(s) || !matches(t, s, args) {
			continue
		}
		if a := actionValue(t, s.Action, s.ErrnoRet); !matched || rank(a) > rank(action) {
			action, matched = a, true
		}
	}
	return action, matched
}

// withoutArguments returns m less the rules that have arguments.
func (m *meaning) withoutArguments() *meaning {
	plain := *m
	plain.Syscalls, plain.orElse = nil, nil
	for n, s := range m.Syscalls {
		if !slices.ContainsFunc(s.Args, func(a specs.LinuxSeccompArg) bool { return a.Op != specs.OpMaskedEqual || a.Value != 0 }) {
			plain.Syscalls, plain.orElse = append(plain.Syscalls, s), append(plain.orElse, m.orElse[n])
		} else if m.orElse[n].ElseErrnoRet != nil {
			never := *s
			never.Args = []specs.LinuxSeccompArg{{Op: specs.OpLessThan, Value: 0}}
			plain.Syscalls, plain.orElse = append(plain.Syscalls, &never), append(plain.orElse, m.orElse[n])
		}
	}
	return &plain
}

// evaluate returns the action for a call in ABI a; s.nr is without the x32 bit.
func (m *meaning) evaluate(t testing.TB, a abi, s sample) uint32 {
	unknown := actionValue(t, m.DefaultAction, m.DefaultErrnoRet)
	if m.DefaultAction != specs.ActAllow && m.DefaultAction != specs.ActLog {
		unknown = 0x00050026
	}
	special := a == abiX32 && s.nr >= 512 || a == abiARM && s.nr >= 0xf0000
	names := m.names[a][s.nr]
	newest, ok := m.newest[a]
	if !ok {
		newest = -1
		for _, c := range syscalls {
			nr := int64(c.numbers[a])
			if nr > newest && !(a == abiX32 && nr >= 512 || a == abiARM && nr >= 0xf0000) &&
				slices.ContainsFunc(m.Syscalls, func(rule *moby.Syscall) bool { return slices.Contains(rule.Names, c.name) }) {
				newest = nr
			}
		}
		m.newest[a] = newest
	}
	if len(names) == 0 || !special && newest >= 0 && int64(s.nr) > newest {
		return unknown
	}
	action, matched := m.ofName(t, names, s.args)
	if a != abiI386 || names[0] != "socketcall" && names[0] != "ipc" {
		return action
	}
	sub := uint32(s.args[0])
	direct := map[uint32]string{1: "socket", 2: "bind", 3: "connect", 4: "listen", 5: "accept", 6: "getsockname",
		7: "getpeername", 8: "socketpair", 9: "send", 10: "recv", 11: "sendto", 12: "recvfrom", 13: "shutdown",
		14: "setsockopt", 15: "getsockopt", 16: "sendmsg", 17: "recvmsg", 18: "accept4", 19: "recvmmsg", 20: "sendmmsg"}[sub]
	if names[0] == "ipc" {
		sub &= 0xffff
		direct = map[uint32]string{1: "semop", 2: "semget", 3: "semctl", 4: "semtimedop", 11: "msgsnd", 12: "msgrcv",
			13: "msgget", 14: "msgctl", 21: "shmat", 22: "shmdt", 23: "shmget", 24: "shmctl"}[sub]
	}
	if !slices.ContainsFunc(m.Syscalls, func(s *moby.Syscall) bool { return m.applies(s) && slices.Contains(s.Names, direct) }) {
		return action
	}
	key := sample{nr: s.nr, args: [6]uint64{uint64(sub)}}
	worst, known := m.action[key]
	if !known {
		// Whatever the direct call comes to without rules that have arguments,
		// and with each of these that is stricter; conditions that never or
		// always hold are not recognized.
		plain, matched := m.withoutArguments().ofName(t, []string{direct}, [6]uint64{})
		worst = plain
		outcomes := map[uint32]bool{plain: true}
		for _, s := range m.Syscalls {
			act := actionValue(t, s.Action, s.ErrnoRet)
			if !slices.Contains(s.Names, direct) || !m.applies(s) || matched && rank(act) <= rank(plain) {
				continue
			}
			outcomes[act] = true
			if rank(act) > rank(worst) {
				worst = act
			}
		}
		if len(outcomes) > 1 && worst != 0x7fff0000 && worst != 0x7ffc0000 {
			worst = 0x00050026
		}
		m.action[key] = worst
	}
	if !matched || rank(worst) > rank(action) {
		return worst
	}
	return action
}

// arguments returns samples around the values that the rules for name compare
// with: every combination of them for the indexes that occur.
func (m *meaning) arguments(name string) [][6]uint64 {
	values := [6][]uint64{}
	for i := range values {
		values[i] = []uint64{0}
	}
	for _, s := range m.Syscalls {
		if !slices.Contains(s.Names, name) {
			continue
		}
		for _, a := range s.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo} {
				values[a.Index] = append(values[a.Index], v, v-1, v+1, v|1<<32, v|1<<63, v^1<<32, v<<32, v>>32, ^v, v&0xffffffff, ^uint64(0), 1<<32)
			}
		}
	}
	all := [][6]uint64{{}}
	for i := range values {
		slices.Sort(values[i])
		var next [][6]uint64
		for _, v := range slices.Compact(values[i]) {
			for _, args := range all {
				args[i] = v
				next = append(next, args)
			}
		}
		if all = next; len(all) > m.limit {
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
			all = all[:m.limit]
		}
	}
	return all
}

// interestingNumbers are all that have a name, their neighbours, and outliers.
func interestingNumbers() []uint32 {
	numbers := []uint32{9999, 1 << 29, 1<<30 - 1}
	for nr := range uint32(600) {
		numbers = append(numbers, nr)
	}
	for nr := uint32(0xf0000 - 1); nr < 0xf0010; nr++ {
		numbers = append(numbers, nr)
	}
	return numbers
}

// compare runs the filter for all numbers of all ABIs that it covers and
// reports where it differs from the meaning of the profile.
func compare(t *testing.T, m *meaning, filter []byte, covered []abi) {
	t.Helper()
	program := load(t, filter)
	check := func(s sample, want uint32, what string) {
		if got, _ := run(program, s); got != want {
			t.Errorf("%s: number %#x of arch %#x with %#x: got action %#x, want %#x", what, s.nr, s.arch, s.args, got, want)
		}
	}
	for _, a := range []abi{abiAMD64, abiI386, abiX32, abiARM64, abiARM} {
		arch := map[abi]uint32{abiAMD64: 0xc000003e, abiX32: 0xc000003e, abiI386: 0x40000003, abiARM64: 0xc00000b7, abiARM: 0x40000028}[a]
		bit := map[abi]uint32{abiX32: 0x40000000}[a]
		for _, nr := range interestingNumbers() {
			samples := [][6]uint64{{}}
			for _, name := range m.names[a][nr] {
				samples = append(samples, m.arguments(name)...)
				if a == abiI386 && (name == "ipc" || name == "socketcall") {
					for sub := range uint64(30) {
						samples = append(samples, [6]uint64{sub}, [6]uint64{sub | 0x10000})
					}
				}
			}
			for _, args := range samples {
				if a == abiI386 || a == abiARM {
					for i := range args {
						args[i] &= 0xffffffff // as the kernel shows them
					}
				}
				want := uint32(0x80000000)
				if slices.Contains(covered, a) {
					want = m.evaluate(t, a, sample{nr: nr, args: args})
				}
				check(sample{nr: nr + bit, arch: arch, args: args}, want, fmt.Sprintf("ABI %d", a))
				if t.Failed() {
					return
				}
			}
		}
	}
	for _, arch := range []uint32{0, 0x14, 0x40000014, 0xc0000015, 0xffffffff} {
		for _, nr := range []uint32{0, 39, 0x40000000, 0xffffffff} {
			check(sample{nr: nr, arch: arch}, 0x80000000, "unknown arch")
		}
	}
	if slices.Contains(covered, abiAMD64) {
		want := m.evaluate(t, abiAMD64, sample{nr: 9999})
		for _, nr := range []uint32{0x3fffffff, 0xffffffff} {
			check(sample{nr: nr, arch: 0xc000003e}, want, "no number")
		}
	}
}

func TestDefaultMeansWhatTheProfileSays(t *testing.T) {
	for _, f := range families() {
		for _, v := range []Variant{ForCaps, ForNoCaps, ForNesting} {
			t.Run(f.goarch+"/"+v.String(), func(t *testing.T) {
				profile, caps := profileDefault, DefaultCaps()
				if v == ForNoCaps {
					caps = nil
				}
				if v == ForNesting {
					profile = profileNesting
				}
				filter, err := Default(f.goarch, v)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, read(t, []byte(profile), f.goarch, caps), filter, f.abis)
			})
		}
	}
}

// Profiles made of random rules mean what an evaluation of their text says.
func TestRandomProfiles(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	value := func() uint64 {
		return []uint64{0, 1, 2, 5, 0xff, 0x80000000, 0xffffffff, 1 << 32, 1<<32 + 5, 1 << 63, ^uint64(0), r.Uint64(), uint64(r.Uint32())}[r.IntN(13)]
	}
	for round := range 25 {
		action := func() string {
			a := pick("ALLOW", "ALLOW", "ERRNO", "LOG", "TRAP", "KILL", "KILL_THREAD", "KILL_PROCESS")
			if a == "ERRNO" {
				return fmt.Sprintf(`"action": "SCMP_ACT_ERRNO", "errnoRet": %d`, r.IntN(100))
			}
			return fmt.Sprintf(`"action": "SCMP_ACT_%s"`, a)
		}
		var groups []string
		for range 1 + r.IntN(60) {
			var args, names []string
			for range r.IntN(4) {
				names = append(names, fmt.Sprintf("%q", syscalls[r.IntN(len(syscalls))].name))
			}
			names = append(names, fmt.Sprintf("%q", pick("read", "ioctl", "socket", "send", "semop", "shmat", "clone", "socketcall", "ipc", "set_tls", "nonsense")))
			for range r.IntN(3) {
				args = append(args, fmt.Sprintf(`{"index": %d, "value": %d, "valueTwo": %d, "op": "SCMP_CMP_%s"}`,
					r.IntN(3), value(), value(), pick("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")))
			}
			groups = append(groups, fmt.Sprintf(`{"names": [%s], %s, "args": [%s]}`, strings.Join(names, ","), action(), strings.Join(args, ",")))
		}
		goarch := pick("amd64", "arm64")
		archs, covered := "", []abi{abiAMD64}
		if goarch == "arm64" {
			covered = []abi{abiARM64}
		}
		switch r.IntN(3) {
		case 1:
			archs = `"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
				{"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],`
			covered = map[string][]abi{"amd64": {abiAMD64, abiI386, abiX32}, "arm64": {abiARM64, abiARM}}[goarch]
		case 2:
			archs = `"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_ARM", "SCMP_ARCH_S390X"],`
			covered = map[string][]abi{"amd64": {abiAMD64, abiI386}, "arm64": {abiARM64, abiARM}}[goarch]
		}
		profile := fmt.Sprintf(`{%s "defaultAction": "SCMP_ACT_%s", "syscalls": [%s]}`,
			archs, pick("ERRNO", "ALLOW", "LOG", "KILL_PROCESS", "TRAP"), strings.Join(groups, ",\n"))
		filter, err := Compile([]byte(profile), Target{Arch: goarch})
		if err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, profile)
		}
		m := read(t, []byte(profile), goarch, nil)
		m.limit = 200
		compare(t, m, filter, covered)
		if t.Failed() {
			t.Fatalf("round %d, %s:\n%s", round, goarch, profile)
		}
	}
}
