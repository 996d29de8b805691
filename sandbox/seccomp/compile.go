package seccomp

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// maxInstructions is the kernel's BPF_MAXINSNS.
const maxInstructions = 4096

// compile returns the filter program for s:
//
//	load arch; one section per ABI, else kill
//	section: load nr; binary search over the spans of numbers
//	leaf: a return, or the tests of arguments that lead to one
func (s *ruleset) compile() ([]byte, error) {
	p := &program{returns: map[uint32]label{}}
	type section struct {
		arch  uint32
		start label
	}
	var sections []section
	for _, a := range slices.Backward(s.abis) {
		if a == abiX32 {
			continue // in the section of abiAMD64, always listed
		}
		spans := s.spans(a)
		if a == abiAMD64 {
			if slices.Contains(s.abis, abiX32) {
				spans = append(spans, s.spans(abiX32)...)
			} else {
				// What has the x32 bit is another ABI, except -1: that is
				// how a tracer says "skip this call".
				spans = append(spans, span{x32Bit, decision{otherwise: actKillProcess}},
					span{0xffffffff, decision{otherwise: s.unknownAction()}})
			}
		}
		// The section begins with the search: jump there if it is not next.
		if search := p.search(mergeSpans(spans), map[string]label{}); search != label(len(p.reversed)-1) {
			p.emit(instruction{code: opJump, k: uint32(p.distance(search))})
		}
		sections = append(sections, section{a.auditArch(), p.emit(instruction{code: opLoad, k: offNumber})})
	}
	// The native ABI comes last here, and first in the program.
	start := p.ret(actKillProcess)
	for _, section := range sections {
		start = p.jump(opEqual, section.arch, section.start, start)
	}
	p.emit(instruction{code: opLoad, k: offArch})
	if n := len(p.reversed); n > maxInstructions {
		return nil, fmt.Errorf("the filter has %d instructions, the kernel takes %d: use fewer rules with arguments", n, maxInstructions)
	}
	return p.bytes(), nil
}

// search emits a balanced binary search over spans for the number in the
// accumulator. Code for the same decision is shared through leaves.
func (p *program) search(spans []span, leaves map[string]label) label {
	if len(spans) == 1 {
		return p.leaf(spans[0].decision, leaves)
	}
	middle := len(spans) / 2
	above := p.search(spans[middle:], leaves)
	below := p.search(spans[:middle], leaves)
	return p.jump(opAtLeast, spans[middle].start, above, below)
}

// leaf emits the instructions that carry out d.
func (p *program) leaf(d decision, leaves map[string]label) label {
	if len(d.rules) == 0 {
		return p.ret(d.otherwise)
	}
	key := d.key()
	if l, ok := leaves[key]; ok {
		return l
	}
	next := p.ret(d.otherwise)
	for _, r := range slices.Backward(d.rules) {
		match := p.ret(r.action)
		for _, c := range slices.Backward(r.conditions) {
			match = p.condition(c, match, next)
		}
		next = match
	}
	leaves[key] = next
	return next
}

// mergeSpans joins neighbours that have the same decision.
func mergeSpans(spans []span) []span {
	return slices.CompactFunc(spans, func(a, b span) bool { return a.key() == b.key() })
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
