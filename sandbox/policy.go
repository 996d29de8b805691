package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/capability"

	"sandbox.example/sandbox/seccomp"
)

// ErrDenied is wrapped by every refusal of the policy.
var ErrDenied = errors.New("is not allowed")

// allow is the one gate of the policy: Create and every Start cross it,
// whoever asks. It returns the capabilities that the process may have.
func allow(grants []Grant, spec Spec, user User) (caps []string, err error) {
	granted := func(k GrantKind) bool {
		return slices.ContainsFunc(grants, func(g Grant) bool { return g.Kind == k })
	}
	switch spec.Network {
	case "", NetworkNone:
	case NetworkHost:
		if !granted(GrantNetworkHost) {
			return nil, denied("network.host", "the sandbox would share every network service of this machine")
		}
	default:
		return nil, fmt.Errorf("network %q: it is none or host; private networks come later", spec.Network)
	}
	insecure := spec.Security == SecurityInsecure
	switch {
	case insecure && !granted(GrantSecurityInsecure):
		return nil, denied("security.insecure", "all capabilities of the sandbox's user namespace, no filter, no masks")
	case !insecure && spec.Security != "" && spec.Security != SecuritySandbox:
		return nil, fmt.Errorf("invalid security mode %q", spec.Security)
	case spec.Seccomp != "" && !granted(GrantSecurityInsecure):
		return nil, denied("security.insecure", "another seccomp filter than the default")
	}
	caps, err = capabilities(spec)
	if err != nil {
		return nil, err
	}
	for _, c := range caps {
		if !granted(GrantSecurityInsecure) && !slices.Contains(seccomp.DefaultCaps(), c) {
			return nil, denied("security.insecure", c+" is not in the default set")
		}
	}
	if user.UID != 0 { // a capability would be lost with the first exec anyway
		caps = nil
	}
	return caps, nil
}

// DeniedError is a refusal of the policy: Grant is the word that --allow takes.
type DeniedError struct {
	Grant string
	Why   string
}

func denied(grant, why string) error { return &DeniedError{grant, why} }

// Error is BuildKit's text.
func (e *DeniedError) Error() string { return fmt.Sprintf("%s %v", e.Grant, ErrDenied) }

// Unwrap returns ErrDenied.
func (e *DeniedError) Unwrap() error { return ErrDenied }

// capabilities returns the set of uid 0: the default, or all of them when
// insecure, with the spec's additions and without what it drops.
func capabilities(spec Spec) ([]string, error) {
	set := seccomp.DefaultCaps()
	if spec.Security == SecurityInsecure {
		set = allCapabilities()
	}
	names := func(flag string, words []string) ([]string, error) {
		var out []string
		for _, w := range words {
			name := "CAP_" + strings.TrimPrefix(strings.ToUpper(w), "CAP_")
			switch {
			case name == "CAP_ALL":
				out = append(out, allCapabilities()...)
			case slices.Contains(allCapabilities(), name):
				out = append(out, name)
			default:
				return nil, fmt.Errorf("--cap-%s %q: no such capability", flag, w)
			}
		}
		return out, nil
	}
	drop, err := names("drop", spec.CapDrop)
	if err != nil {
		return nil, err
	}
	add, err := names("add", spec.CapAdd)
	if err != nil {
		return nil, err
	}
	// docker's order: drop first, so that --cap-drop ALL --cap-add X leaves X.
	set = slices.DeleteFunc(set, func(c string) bool { return slices.Contains(drop, c) })
	set = append(set, add...)
	slices.Sort(set)
	return slices.Compact(set), nil
}

// allCapabilities lists what this kernel has.
func allCapabilities() []string {
	last, err := capability.LastCap()
	if err != nil {
		last = capability.CAP_CHECKPOINT_RESTORE
	}
	var out []string
	for _, c := range capability.ListKnown() {
		if c <= last {
			out = append(out, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	return out
}
