package sandbox

import (
	"fmt"
	"io"
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
	b, err := readProfile(spec.Seccomp)
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile: %w", err)
	}
	filter, err := seccomp.Compile(b, target)
	if err != nil {
		return nil, fmt.Errorf("compile seccomp profile %q: %w", spec.Seccomp, err)
	}
	return filter, nil
}

// readProfile reads a file that may be anything, /dev/zero too.
func readProfile(path string) ([]byte, error) {
	const most = 4 << 20 // docker's own profile has 20 kB
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("%q is larger than %d bytes", path, most)
	}
	return b, err
}
