package seccomp

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Target is what a filter is made for. Conditions of a profile ("includes",
// "excludes") are evaluated against it. The zero value is a process without
// capabilities on this machine.
type Target struct {
	Arch   string   // GOARCH name, amd64 or arm64; default: of this program
	Caps   []string // bounding set, as "CAP_SYS_ADMIN"; default: none
	Kernel string   // release, as "6.1" or "6.1.0-13-amd64"; default: the running one
}

// host is a checked Target.
type host struct {
	family
	caps   []string
	kernel version
}

func (t Target) resolve() (host, error) {
	h := host{caps: t.Caps}
	arch := t.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	known := families()
	n := slices.IndexFunc(known, func(f family) bool { return f.goarch == arch })
	if n < 0 {
		return host{}, fmt.Errorf("filters can be made for amd64 and arm64, not for %q", arch)
	}
	h.family = known[n]
	release := t.Kernel
	if release == "" {
		var name unix.Utsname
		if err := unix.Uname(&name); err != nil {
			return host{}, fmt.Errorf("read kernel release: %w", err)
		}
		release = unix.ByteSliceToString(name.Release[:])
	}
	var ok bool
	if h.kernel, ok = parseRelease(release); !ok {
		return host{}, fmt.Errorf("kernel release %q does not start with two numbers", release)
	}
	return h, nil
}

// applies evaluates the conditions of g as moby does: each capability and the
// version of includes must be there, one of its architectures; any of excludes
// is enough to leave the group out.
func (g *fileGroup) applies(h host) (bool, error) {
	applies := true
	if x := g.Excludes; x != nil {
		newer, err := h.kernel.atLeast(x.MinKernel)
		if err != nil {
			return false, fmt.Errorf("excludes: %w", err)
		}
		has := func(c string) bool { return slices.Contains(h.caps, c) }
		if slices.Contains(x.Archs, h.goarch) || slices.ContainsFunc(x.Caps, has) || x.MinKernel != "" && newer {
			applies = false
		}
	}
	if in := g.Includes; in != nil {
		newer, err := h.kernel.atLeast(in.MinKernel)
		if err != nil {
			return false, fmt.Errorf("includes: %w", err)
		}
		lacks := func(c string) bool { return !slices.Contains(h.caps, c) }
		if len(in.Archs) > 0 && !slices.Contains(in.Archs, h.goarch) || slices.ContainsFunc(in.Caps, lacks) || !newer {
			applies = false
		}
	}
	return applies, nil
}

// version is the first two numbers of a kernel release.
type version [2]uint64

// atLeast compares v with a "minKernel" value; the empty one is met by all.
func (v version) atLeast(minimum string) (bool, error) {
	if minimum == "" {
		return true, nil
	}
	m, ok := parseRelease(minimum)
	if !ok || minimum != fmt.Sprintf("%d.%d", m[0], m[1]) {
		return false, fmt.Errorf("minKernel is %q, want two numbers as in \"4.8\"", minimum)
	}
	return v[0] > m[0] || v[0] == m[0] && v[1] >= m[1], nil
}

// parseRelease reads "6.1" from "6.1.0-13-amd64" or "6.1-rc5".
func parseRelease(release string) (version, bool) {
	first, rest, ok := strings.Cut(release, ".")
	if !ok {
		return version{}, false
	}
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		rest = rest[:end]
	}
	major, err1 := strconv.ParseUint(first, 10, 16)
	minor, err2 := strconv.ParseUint(rest, 10, 16)
	return version{major, minor}, err1 == nil && err2 == nil
}
