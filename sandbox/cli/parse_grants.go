package cli

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"sandbox.example/sandbox"
)

// grantWords are the kinds of --allow, those that people type first.
var grantWords = [...]string{
	string(sandbox.GrantNetworkHost), string(sandbox.GrantHostLoopback),
	string(sandbox.GrantSecurityInsecure), string(sandbox.GrantNesting),
	string(sandbox.GrantSSH), string(sandbox.GrantSecret), string(sandbox.GrantHostWrite),
}

// parseGrants parses the value of --allow, a comma list. Numbers that follow
// host-loopback=PORTS are more ports: host-loopback=5432,8000-8010,nesting.
func parseGrants(flag string) ([]sandbox.Grant, error) {
	words, err := splitFlagFields(flag)
	if err != nil {
		return nil, fmt.Errorf("allow %q: %w", flag, err)
	}
	var grants []sandbox.Grant
	for _, word := range words {
		last := len(grants) - 1
		if last >= 0 && len(grants[last].Ports) > 0 && word[0] >= '0' && word[0] <= '9' {
			ports, err := parsePortRange(word)
			if err != nil {
				return nil, fmt.Errorf("allow %q: %w", flag, err)
			}
			grants[last].Ports = append(grants[last].Ports, ports)
			continue
		}
		grant, err := parseGrant(word)
		if err != nil {
			return nil, fmt.Errorf("allow %q: %w", flag, err)
		}
		grants = append(grants, grant)
	}
	return grants, nil
}

func parseGrant(word string) (sandbox.Grant, error) {
	kind, value, hasValue := strings.Cut(word, "=")
	grant := sandbox.Grant{Kind: sandbox.GrantKind(kind)}
	switch grant.Kind {
	case sandbox.GrantNetworkHost, sandbox.GrantSecurityInsecure, sandbox.GrantNesting, sandbox.GrantSSH:
		if hasValue {
			return grant, fmt.Errorf("%s takes no value", kind)
		}
		return grant, nil
	case sandbox.GrantHostLoopback:
		if !hasValue {
			return grant, nil
		}
		ports, err := parsePortRange(value)
		grant.Ports = []sandbox.PortRange{ports}
		return grant, err
	case sandbox.GrantSecret:
		grant.Value = value
		if !hasValue {
			return grant, errors.New("write secret=ID")
		}
		return grant, checkName("secret id", value)
	case sandbox.GrantHostWrite:
		if !hasValue {
			return grant, errors.New("write host.write=PATH")
		}
		var err error
		grant.Value, err = parseHostPath("host.write", value)
		return grant, err
	}
	return grant, fmt.Errorf("unknown grant %q%s", kind, didYouMean(kind, grantWords[:]))
}

// parsePortRange parses PORT or FIRST-LAST.
func parsePortRange(s string) (sandbox.PortRange, error) {
	firstWord, lastWord, isRange := strings.Cut(s, "-")
	if !isRange {
		lastWord = firstWord
	}
	first, okFirst := parseDigits(firstWord, math.MaxUint16)
	last, okLast := parseDigits(lastWord, math.MaxUint16)
	if !okFirst || !okLast || first == 0 || first > last {
		return sandbox.PortRange{}, fmt.Errorf("port %q: not a port or a range such as 8000-8010", s)
	}
	return sandbox.PortRange{First: uint16(first), Last: uint16(last)}, nil
}
