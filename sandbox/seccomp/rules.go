package seccomp

import (
	"encoding/binary"
	"slices"
)

// Actions, from linux/seccomp.h. The low 16 bits of actErrno are the errno.
const (
	actKillProcess = 0x80000000
	actKillThread  = 0x00000000
	actTrap        = 0x00030000
	actErrno       = 0x00050000
	actLog         = 0x7ffc0000
	actAllow       = 0x7fff0000

	errnoPERM  = 1
	errnoNOSYS = 38
	maxErrno   = 4095 // the kernel takes larger ones for this
)

// strictness orders actions as the kernel does when several filters answer.
func strictness(action uint32) int {
	switch action &^ 0xffff {
	case actKillProcess:
		return 5
	case actKillThread:
		return 4
	case actTrap:
		return 3
	case actErrno:
		return 2
	case actLog:
		return 1
	}
	return 0
}

// refuses says whether a call with this action does not take place.
func refuses(action uint32) bool { return strictness(action) >= strictness(actErrno) }

// operator compares an argument with a value.
type operator uint8

const (
	opMaskedEQ operator = iota
	opNE
	opLT
	opLE
	opGT
	opGE
)

// condition holds for calls whose argument, with mask applied in opMaskedEQ,
// compares so with value.
type condition struct {
	index uint32
	op    operator
	mask  uint64 // opMaskedEQ only; value has no bits outside of it
	value uint64
}

// rule gives the action for calls for which all conditions hold.
type rule struct {
	order      int // place in the file
	action     uint32
	conditions []condition
}

// call is what a profile says about one name.
type call struct {
	rules  []rule
	orElse *uint32 // the action when no rule matches, in place of the default
}

// ruleset is a profile whose conditions on the target have been evaluated.
type ruleset struct {
	defaultAction uint32
	abis          []abi
	calls         map[string]*call
	mentioned     map[string]bool // names in the profile, of rules that do not apply too
}

// decision is what is done with one number: the action of the first of rules
// whose conditions hold, or otherwise.
type decision struct {
	rules     []rule
	otherwise uint32
}

// decide puts the rules for one number in the order of evaluation: strictest
// first, then as in the file, and none that can change nothing.
func decide(c call, defaultAction uint32) decision {
	d := decision{otherwise: defaultAction}
	if c.orElse != nil {
		d.otherwise = *c.orElse
	}
	rules := slices.Clone(c.rules)
	slices.SortStableFunc(rules, func(a, b rule) int {
		if n := strictness(b.action) - strictness(a.action); n != 0 {
			return n
		}
		return a.order - b.order
	})
	for _, r := range rules {
		if len(r.conditions) == 0 {
			d.otherwise = r.action
			break
		}
		d.rules = append(d.rules, r)
	}
	for n := len(d.rules); n > 0 && d.rules[n-1].action == d.otherwise; n-- {
		d.rules = d.rules[:n-1]
	}
	return d
}

// worst returns the one action that stands for d where arguments cannot be
// seen: ENOSYS, which sends the caller elsewhere, if they might lead to a
// refusal.
func (d decision) worst() uint32 {
	same, action := true, d.otherwise
	for _, r := range d.rules {
		same = same && r.action == d.otherwise
		if strictness(r.action) > strictness(action) {
			action = r.action
		}
	}
	if !same && refuses(action) {
		return actErrno | errnoNOSYS
	}
	return action
}

// key is equal for decisions that are compiled to the same instructions.
func (d decision) key() string {
	b := binary.LittleEndian.AppendUint32(nil, d.otherwise)
	for _, r := range d.rules {
		b = binary.LittleEndian.AppendUint32(b, r.action)
		b = append(b, byte(len(r.conditions)))
		for _, c := range r.conditions {
			b = append(b, byte(c.index), byte(c.op))
			b = binary.LittleEndian.AppendUint64(b, c.mask)
			b = binary.LittleEndian.AppendUint64(b, c.value)
		}
	}
	return string(b)
}

// byNumber returns what the profile says about each number of a.
func (s *ruleset) byNumber(a abi) map[uint32]call {
	numbers := make(map[uint32]call, len(s.calls))
	add := func(nr uint32, c call) {
		have := numbers[nr]
		have.rules = append(have.rules, c.rules...)
		if have.orElse == nil {
			have.orElse = c.orElse
		}
		numbers[nr] = have
	}
	// The table's order and not the map's makes the result reproducible.
	for _, known := range syscalls {
		c := s.calls[known.name]
		if c == nil {
			continue
		}
		if nr, ok := a.number(known.name); ok {
			add(nr, *c)
		}
		name, mask, sub, ok := multiplexer(known.name)
		if !ok {
			continue
		}
		if nr, ok := a.number(name); ok && a == abiI386 {
			add(nr, call{rules: []rule{{
				order:      1 << 30, // after those of the multiplexer itself
				action:     decide(*c, s.defaultAction).worst(),
				conditions: []condition{{0, opMaskedEQ, mask, sub}},
			}}})
		}
	}
	return numbers
}

// newest returns the largest number of a that the profile mentions, and false
// if it mentions none. Who wrote it did not think of newer calls.
func (s *ruleset) newest(a abi) (newest uint32, ok bool) {
	for name := range s.mentioned {
		if nr, known := a.number(name); known && a.sequential(nr) {
			newest, ok = max(newest, nr), true
		}
	}
	return newest, ok
}

// unknownAction is for numbers that have no name or that the profile is too old
// for.
func (s *ruleset) unknownAction() uint32 {
	if refuses(s.defaultAction) {
		return actErrno | errnoNOSYS
	}
	return s.defaultAction
}

// span is a decision for all numbers from start to that of the next span.
type span struct {
	start uint32
	decision
}

// spans returns what is done with the numbers of a, ending with those that
// have no name.
func (s *ruleset) spans(a abi) []span {
	unknown := decision{otherwise: s.unknownAction()}
	numbers := s.byNumber(a)
	newest, limited := s.newest(a)
	named := make(map[uint32]decision, len(syscalls))
	for _, known := range syscalls {
		nr, ok := a.number(known.name)
		if !ok || limited && nr > newest && a.sequential(nr) {
			continue
		}
		named[nr] = decide(numbers[nr], s.defaultAction)
	}
	spans := []span{{a.base(), unknown}}
	for _, nr := range sortedKeys(named) {
		if last := &spans[len(spans)-1]; last.start == a.base()+nr {
			last.decision = named[nr]
		} else {
			spans = append(spans, span{a.base() + nr, named[nr]})
		}
		spans = append(spans, span{a.base() + nr + 1, unknown})
	}
	return spans
}
