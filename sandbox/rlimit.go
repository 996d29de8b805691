package sandbox

import "math"

// RlimitInfinity is the value of a limit that limits nothing.
const RlimitInfinity uint64 = math.MaxUint64

// Rlimit is one resource limit of a process.
type Rlimit struct {
	// Name is the kernel's name in lower case without RLIMIT_, such as "nofile".
	Name string `json:"name"`
	// Soft is never more than Hard.
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}
