package sandbox

import (
	"fmt"
	"os"
	"slices"

	"sandbox.example/sandbox/seccomp"
)

// filter returns the seccomp filter of a process with caps; nil is none.
func (sb *Sandbox) filter(caps []string) ([]byte, error) {
	spec := sb.spec
	target := seccomp.Target{Caps: caps}
	switch {
	case spec.Seccomp == "unconfined", spec.Seccomp == "" && spec.Security == SecurityInsecure:
		return nil, nil
	case spec.Seccomp == "":
		return seccomp.DefaultFor(target, slices.ContainsFunc(spec.Grants, func(g Grant) bool { return g.Kind == GrantNesting }))
	}
	b, err := os.ReadFile(spec.Seccomp)
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile: %w", err)
	}
	filter, err := seccomp.Compile(b, target)
	if err != nil {
		return nil, fmt.Errorf("compile seccomp profile %q: %w", spec.Seccomp, err)
	}
	return filter, nil
}
