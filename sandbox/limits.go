package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/runc"
)

// rlimitNumbers are those of getrlimit(2) on the architectures we build for.
var rlimitNumbers = map[string]int{
	"cpu": unix.RLIMIT_CPU, "fsize": unix.RLIMIT_FSIZE, "data": unix.RLIMIT_DATA, "stack": unix.RLIMIT_STACK,
	"core": unix.RLIMIT_CORE, "rss": unix.RLIMIT_RSS, "nproc": unix.RLIMIT_NPROC, "nofile": unix.RLIMIT_NOFILE,
	"memlock": unix.RLIMIT_MEMLOCK, "locks": unix.RLIMIT_LOCKS, "sigpending": unix.RLIMIT_SIGPENDING,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME,
}

// rlimits turns limits into the kernel's numbers. Core files are off unless
// asked for: they would hold whatever the process has in memory.
func rlimits(limits []Rlimit) ([]runc.Rlimit, error) {
	out := []runc.Rlimit{{Type: unix.RLIMIT_CORE}}
	for _, l := range limits {
		number, ok := rlimitNumbers[l.Name]
		if !ok {
			return nil, fmt.Errorf("ulimit %q: no such limit", l.Name)
		}
		var now unix.Rlimit
		if err := unix.Getrlimit(number, &now); err != nil {
			return nil, fmt.Errorf("ulimit %q: %w", l.Name, err)
		}
		// Raising a hard limit needs CAP_SYS_RESOURCE outside of user
		// namespaces (prlimit(2)): try it on ourselves, and put it back.
		if l.Hard > now.Max {
			err := unix.Setrlimit(number, &unix.Rlimit{Cur: now.Cur, Max: l.Hard})
			if errors.Is(err, unix.EPERM) {
				return nil, &LimitError{Name: l.Name, Want: l.Hard, Have: now.Max}
			}
			if err == nil {
				err = unix.Setrlimit(number, &now)
			}
			if err != nil {
				return nil, fmt.Errorf("ulimit %q: %w", l.Name, err)
			}
		}
		out = append(out, runc.Rlimit{Type: number, Soft: l.Soft, Hard: l.Hard})
	}
	return out, nil
}

// LimitError says that a hard limit cannot be raised.
type LimitError struct {
	Name       string
	Want, Have uint64
}

// Error names the limit and the two values.
func (e *LimitError) Error() string {
	return fmt.Sprintf("ulimit %s=%d: more than your own hard limit, %d", e.Name, e.Want, e.Have)
}
