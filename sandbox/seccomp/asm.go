package seccomp

import "encoding/binary"

// Instructions, from linux/bpf_common.h. Seccomp allows few others.
const (
	opLoad    = 0x20 // A = 32-bit word k of struct seccomp_data
	opAnd     = 0x54 // A &= k
	opJump    = 0x05 // skip k instructions
	opEqual   = 0x15 // A == k
	opGreater = 0x25 // A > k
	opAtLeast = 0x35 // A >= k
	opAnyBit  = 0x45 // A&k != 0
	opReturn  = 0x06 // the action k
)

// Offsets in struct seccomp_data. An argument's low half comes first, on all
// architectures that we know.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// instruction is struct sock_filter.
type instruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// label is the place of an instruction, counted from the end of the program.
type label int

// program is assembled from its last instruction to its first, because BPF only
// jumps forward: whatever an instruction refers to is there already and its
// distance is known.
type program struct {
	reversed []instruction
	returns  map[uint32]label // the nearest return of each action
}

// reach is how far a conditional jump is allowed to go. Its offsets have 8 bits;
// the rest is room for the two detours that one jump may need.
const reach = 250

// distance is the number of instructions between the next one to be emitted and l.
func (p *program) distance(l label) int { return len(p.reversed) - 1 - int(l) }

// emit puts an instruction before all others. Execution falls through to the
// one emitted before.
func (p *program) emit(i instruction) label {
	p.reversed = append(p.reversed, i)
	return label(len(p.reversed) - 1)
}

// ret returns the place of an instruction that ends with action.
func (p *program) ret(action uint32) label {
	l, ok := p.returns[action]
	if !ok || p.distance(l) > reach {
		l = p.emit(instruction{code: opReturn, k: action})
		p.returns[action] = l
	}
	return l
}

// near returns a place in reach from where one gets to l.
func (p *program) near(l label) label {
	if p.distance(l) <= reach {
		return l
	}
	if i := p.reversed[l]; i.code == opReturn {
		return p.ret(i.k)
	}
	return p.emit(instruction{code: opJump, k: uint32(p.distance(l))})
}

// jump compares the accumulator with k and goes on at yes or at no. The
// instruction is the last one emitted, unless both are the same place.
func (p *program) jump(op uint16, k uint32, yes, no label) label {
	if yes == no {
		return yes
	}
	yes, no = p.near(yes), p.near(no)
	return p.emit(instruction{code: op, jt: uint8(p.distance(yes)), jf: uint8(p.distance(no)), k: k})
}

// test loads a word of struct seccomp_data and then does what jump does.
func (p *program) test(offset uint32, op uint16, k uint32, yes, no label) label {
	if yes == no {
		return yes
	}
	p.jump(op, k, yes, no)
	return p.emit(instruction{code: opLoad, k: offset})
}

// testMasked goes on at yes if the word at offset, masked, is value.
func (p *program) testMasked(offset, mask, value uint32, yes, no label) label {
	switch {
	case mask == 0, yes == no:
		return yes // nothing is compared
	case mask == 0xffffffff:
		return p.test(offset, opEqual, value, yes, no)
	case value == 0:
		return p.test(offset, opAnyBit, mask, no, yes)
	case value == mask && mask&(mask-1) == 0:
		return p.test(offset, opAnyBit, mask, yes, no)
	}
	p.jump(opEqual, value, yes, no)
	p.emit(instruction{code: opAnd, k: mask})
	return p.emit(instruction{code: opLoad, k: offset})
}

// condition goes on at yes if c holds.
func (p *program) condition(c condition, yes, no label) label {
	if yes == no {
		return yes
	}
	low := offArgs + 8*c.index
	high := low + 4
	switch c.op {
	case opNE:
		return p.condition(condition{c.index, opMaskedEQ, ^uint64(0), c.value}, no, yes)
	case opLT:
		return p.condition(condition{c.index, opGE, 0, c.value}, no, yes)
	case opLE:
		return p.condition(condition{c.index, opGT, 0, c.value}, no, yes)
	case opGT, opGE:
		op := uint16(opGreater)
		if c.op == opGE {
			op = opAtLeast
		}
		equal := p.test(low, op, uint32(c.value), yes, no)
		notGreater := p.jump(opEqual, uint32(c.value>>32), equal, no)
		return p.test(high, opGreater, uint32(c.value>>32), yes, notGreater)
	}
	rest := p.testMasked(low, uint32(c.mask), uint32(c.value), yes, no)
	return p.testMasked(high, uint32(c.mask>>32), uint32(c.value>>32), rest, no)
}

// bytes returns the program as an array of struct sock_filter.
func (p *program) bytes() []byte {
	out := make([]byte, 0, 8*len(p.reversed))
	for n := len(p.reversed) - 1; n >= 0; n-- {
		i := p.reversed[n]
		out = binary.LittleEndian.AppendUint16(out, i.code)
		out = append(out, i.jt, i.jf)
		out = binary.LittleEndian.AppendUint32(out, i.k)
	}
	return out
}
