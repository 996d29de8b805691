package seccomp

import (
	"slices"
	"strings"
)

// abi is one numbering of the system calls, an index into syscall.numbers.
type abi uint8

const (
	abiAMD64 abi = iota
	abiI386
	abiX32
	abiARM64
	abiARM
	abiCount
)

// x32Bit marks the numbers of x32 calls, which share AUDIT_ARCH_X86_64 with the
// 64-bit ones.
const x32Bit = 0x40000000

// syscall is a name with its number in each ABI, or -1 where that lacks it. The
// x32 numbers are without x32Bit.
type syscall struct {
	name    string
	numbers [abiCount]int32
}

// family is what one kernel runs: the ABIs that a filter for it may see.
type family struct {
	goarch string
	native abi
	abis   []abi
}

// families lists the architectures that Compile knows.
func families() []family {
	return []family{
		{goarch: "amd64", native: abiAMD64, abis: []abi{abiAMD64, abiI386, abiX32}},
		{goarch: "arm64", native: abiARM64, abis: []abi{abiARM64, abiARM}},
	}
}

// abiOf returns the ABI that libseccomp calls name.
func abiOf(name string) (abi, bool) {
	switch name {
	case "SCMP_ARCH_X86_64":
		return abiAMD64, true
	case "SCMP_ARCH_X86":
		return abiI386, true
	case "SCMP_ARCH_X32":
		return abiX32, true
	case "SCMP_ARCH_AARCH64":
		return abiARM64, true
	case "SCMP_ARCH_ARM":
		return abiARM, true
	}
	return 0, false
}

// foreignArch says whether name is an architecture of the format that is none
// of ours: no call on our kernels can come from there.
func foreignArch(name string) bool {
	switch strings.TrimPrefix(name, "SCMP_ARCH_") {
	case "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64", "PPC64LE",
		"RISCV64", "S390", "S390X", "LOONGARCH64", "PARISC", "PARISC64", "M68K", "SH", "SHEB":
		return strings.HasPrefix(name, "SCMP_ARCH_")
	}
	return false
}

// auditArch returns the value of seccomp_data.arch in calls from a.
func (a abi) auditArch() uint32 {
	switch a {
	case abiI386:
		return 0x40000003
	case abiARM64:
		return 0xc00000b7
	case abiARM:
		return 0x40000028
	}
	return 0xc000003e // x86-64 and x32
}

// base is added to the table's numbers to get seccomp_data.nr.
func (a abi) base() uint32 {
	if a == abiX32 {
		return x32Bit
	}
	return 0
}

// sequential says whether nr belongs to the numbers that grow with every kernel
// release, and not to a block beside them: 512 to 547 of x32 and the private
// calls of arm.
func (a abi) sequential(nr uint32) bool {
	switch a {
	case abiX32:
		return nr < 512
	case abiARM:
		return nr < 0xf0000
	}
	return true
}

// number returns the number of the call name in a, without base.
func (a abi) number(name string) (uint32, bool) {
	i, ok := slices.BinarySearchFunc(syscalls[:], name, func(s syscall, name string) int {
		return strings.Compare(s.name, name)
	})
	if !ok || syscalls[i].numbers[a] < 0 {
		return 0, false
	}
	return uint32(syscalls[i].numbers[a]), true
}

// multiplexer returns the i386 call that does what the call name does, when its
// first argument, masked, is sub.
//
// Source: linux include/uapi/linux/net.h and include/uapi/linux/ipc.h.
func multiplexer(name string) (call string, mask, sub uint64, ok bool) {
	switch name {
	case "socket":
		sub = 1
	case "bind":
		sub = 2
	case "connect":
		sub = 3
	case "listen":
		sub = 4
	case "accept":
		sub = 5
	case "getsockname":
		sub = 6
	case "getpeername":
		sub = 7
	case "socketpair":
		sub = 8
	case "send":
		sub = 9
	case "recv":
		sub = 10
	case "sendto":
		sub = 11
	case "recvfrom":
		sub = 12
	case "shutdown":
		sub = 13
	case "setsockopt":
		sub = 14
	case "getsockopt":
		sub = 15
	case "sendmsg":
		sub = 16
	case "recvmsg":
		sub = 17
	case "accept4":
		sub = 18
	case "recvmmsg":
		sub = 19
	case "sendmmsg":
		sub = 20
	}
	if sub != 0 {
		return "socketcall", 0xffffffff, sub, true
	}
	switch name {
	case "semop":
		sub = 1
	case "semget":
		sub = 2
	case "semctl":
		sub = 3
	case "semtimedop":
		sub = 4
	case "msgsnd":
		sub = 11
	case "msgrcv":
		sub = 12
	case "msgget":
		sub = 13
	case "msgctl":
		sub = 14
	case "shmat":
		sub = 21
	case "shmdt":
		sub = 22
	case "shmget":
		sub = 23
	case "shmctl":
		sub = 24
	default:
		return "", 0, 0, false
	}
	return "ipc", 0xffff, sub, true // the upper half is a version
}
