package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sandbox.example/sandbox"
)

// maxFD is the largest descriptor number that we look at: the usual soft limit
// of open files less one, so that passing one never depends on the limit.
const maxFD = 1023

// ulimitNames are the limits that docker knows. RLIMIT_AS is not among them:
// it would also hold back what starts the command.
var ulimitNames = [...]string{
	"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice",
	"nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
}

// parseUlimit parses the value of --ulimit: NAME=SOFT[:HARD], where -1 is no
// limit and one number stands for both.
func parseUlimit(flag string) (sandbox.Rlimit, error) {
	name, values, found := strings.Cut(flag, "=")
	if !found {
		return sandbox.Rlimit{}, fmt.Errorf("ulimit %q: not NAME=SOFT[:HARD], such as nofile=1024:2048", flag)
	}
	if !slices.Contains(ulimitNames[:], name) {
		return sandbox.Rlimit{}, fmt.Errorf("ulimit %q: unknown limit %q%s", flag, name, didYouMean(name, ulimitNames[:]))
	}
	limit := sandbox.Rlimit{Name: name}
	soft, hard, two := strings.Cut(values, ":")
	if !two {
		hard = soft
	}
	var err error
	if limit.Soft, err = parseUlimitValue(soft); err == nil {
		limit.Hard, err = parseUlimitValue(hard)
	}
	if err == nil && limit.Soft > limit.Hard {
		err = fmt.Errorf("soft limit %s is more than the hard limit %s", soft, hard)
	}
	if err != nil {
		return sandbox.Rlimit{}, fmt.Errorf("ulimit %q: %w", flag, err)
	}
	return limit, nil
}

func parseUlimitValue(s string) (uint64, error) {
	if s == "-1" {
		return sandbox.RlimitInfinity, nil
	}
	if strings.Trim(s, "0123456789") == "" {
		// The largest number is RLIM_INFINITY to the kernel.
		if n, err := strconv.ParseUint(s, 10, 63); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("value %q: not a number, or -1 for no limit", s)
}

// parseAddHost parses the value of --add-host: NAME:IP, or NAME=IP as newer
// docker has it. IPv6 addresses may be in brackets. The name has only letters,
// digits, dots, dashes and underscores.
func parseAddHost(flag string) (sandbox.HostEntry, error) {
	at := strings.IndexAny(flag, ":=")
	if at < 0 {
		return sandbox.HostEntry{}, fmt.Errorf("host %q: not NAME:IP", flag)
	}
	entry := sandbox.HostEntry{Name: flag[:at]}
	if err := checkHostName(entry.Name); err != nil {
		return sandbox.HostEntry{}, fmt.Errorf("host %q: %w", flag, err)
	}
	word := flag[at+1:]
	if word == "host-gateway" {
		return sandbox.HostEntry{}, fmt.Errorf("host %q: host-gateway is not supported; write an IP address", flag)
	}
	inner, opened := strings.CutPrefix(word, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	addr, err := netip.ParseAddr(inner)
	if err != nil || opened != closed || opened && !addr.Is6() || addr.Zone() != "" {
		return sandbox.HostEntry{}, fmt.Errorf("host %q: address %q: not an IP address", flag, word)
	}
	entry.IP = addr
	return entry, nil
}

// checkHostName accepts what may stand in /etc/hosts and be asked for: a blank
// or a newline would make other entries of it.
func checkHostName(name string) error {
	if name == "" {
		return errors.New("empty name; write NAME:IP")
	}
	bad := fmt.Errorf("name %q: not a host name of letters, digits, dots, dashes and underscores", name)
	if len(name) > 253 {
		return bad
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return bad
		}
		for _, c := range []byte(label) {
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
			if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
				return bad
			}
		}
	}
	return nil
}

// passedFD is one --fd: the descriptor Number inside is the caller's own of
// that number, or what opening Path gives.
type passedFD struct {
	Number int
	Path   string
}

// parseFD parses the value of --fd: N or N=PATH.
func parseFD(flag string) (passedFD, error) {
	number, path, hasPath := strings.Cut(flag, "=")
	n, ok := parseDigits(number, maxFD)
	if !ok || n < 3 {
		return passedFD{}, fmt.Errorf("fd %q: number %q is not from 3 to %d; write N or N=PATH", flag, number, maxFD)
	}
	if !hasPath {
		return passedFD{Number: n}, nil
	}
	path, err := parseHostPath("path", path)
	if err != nil {
		return passedFD{}, fmt.Errorf("fd %q: %w", flag, err)
	}
	return passedFD{Number: n, Path: path}, nil
}
