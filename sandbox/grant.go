package sandbox

import (
	"strconv"
	"strings"
)

// GrantKind is what a Grant allows, as --allow spells it.
type GrantKind string

// The kinds of grants.
const (
	GrantNetworkHost      GrantKind = "network.host"      // the host's network namespace
	GrantHostLoopback     GrantKind = "host-loopback"     // the host's loopback, on Ports
	GrantSecurityInsecure GrantKind = "security.insecure" // more capabilities, another filter or none
	GrantNesting          GrantKind = "nesting"           // user namespaces inside
	GrantSSH              GrantKind = "ssh"               // the caller's ssh keys
	GrantSecret           GrantKind = "secret"            // the secret with the id Value
	GrantHostWrite        GrantKind = "host.write"        // writes to the host path Value
)

// PortRange is the ports from First to Last, both included.
// First is at least 1 and at most Last.
type PortRange struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// String returns "80", or "8000-8010".
func (r PortRange) String() string {
	first := strconv.Itoa(int(r.First))
	if r.First == r.Last {
		return first
	}
	return first + "-" + strconv.Itoa(int(r.Last))
}

// Grant is one permission that the caller gave to a sandbox.
type Grant struct {
	Kind GrantKind `json:"kind"`
	// Ports is for GrantHostLoopback; none means all of them.
	Ports []PortRange `json:"ports,omitempty"`
	// Value is the id of GrantSecret, or the path of GrantHostWrite as typed.
	Value string `json:"value,omitempty"`
}

// String returns g as the value of the --allow flag that gives it.
func (g Grant) String() string {
	word := string(g.Kind)
	switch g.Kind {
	case GrantHostLoopback:
		for i, ports := range g.Ports {
			if i == 0 {
				word += "=" + ports.String()
			} else {
				word += "," + ports.String()
			}
		}
	case GrantSecret, GrantHostWrite:
		word += "=" + g.Value
		if strings.ContainsAny(word, ",\"") {
			word = `"` + strings.ReplaceAll(word, `"`, `""`) + `"`
		}
	}
	return word
}
