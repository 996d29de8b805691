package seccomp

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// sample is struct seccomp_data without the instruction pointer.
type sample struct {
	nr, arch uint32
	args     [6]uint64
}

// word returns what a 32-bit load at offset sees, little-endian.
func (s sample) word(offset uint32) uint32 {
	switch {
	case offset == 0:
		return s.nr
	case offset == 4:
		return s.arch
	case offset >= 16 && offset%8 == 0:
		return uint32(s.args[(offset-16)/8])
	case offset >= 20 && offset%8 == 4:
		return uint32(s.args[(offset-20)/8] >> 32)
	}
	panic(fmt.Sprintf("load of word %d", offset))
}

// disassemble checks the form of a program and returns its instructions.
func disassemble(text []byte) ([]instruction, error) {
	if len(text)%8 != 0 || len(text) == 0 || len(text)/8 > 4096 {
		return nil, fmt.Errorf("%d bytes", len(text))
	}
	var program []instruction
	for ; len(text) > 0; text = text[8:] {
		program = append(program, instruction{binary.LittleEndian.Uint16(text), text[2], text[3], binary.LittleEndian.Uint32(text[4:])})
	}
	return program, nil
}

// verify checks what the kernel checks: known instructions, aligned loads below
// the end of seccomp_data, jumps that stay inside, and no way past the end.
// Each instruction must be of use as well.
func verify(program []instruction) error {
	reached := make([]bool, len(program)+1)
	reached[0] = true
	for n, i := range program {
		if !reached[n] {
			return fmt.Errorf("instruction %d is never reached", n)
		}
		mark := func(offset uint64) error {
			to := uint64(n) + 1 + offset
			if to >= uint64(len(program)) {
				return fmt.Errorf("instruction %d goes on at %d of %d", n, to, len(program))
			}
			reached[to] = true
			return nil
		}
		var err error
		switch i.code {
		case 0x20:
			if i.k%4 != 0 || i.k >= 64 || i.k == 8 || i.k == 12 {
				err = fmt.Errorf("instruction %d loads word %d", n, i.k)
			} else {
				err = mark(0)
			}
		case 0x54:
			err = mark(0)
		case 0x05:
			err = mark(uint64(i.k))
		case 0x15, 0x25, 0x35, 0x45:
			if err = mark(uint64(i.jt)); err == nil {
				err = mark(uint64(i.jf))
			}
		case 0x06:
		default:
			err = fmt.Errorf("instruction %d has code %#x", n, i.code)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// run interprets a program and returns its answer and the number of steps.
func run(program []instruction, s sample) (action uint32, steps int) {
	var a uint32
	for pc := 0; ; pc++ {
		i := program[pc]
		steps++
		yes := false
		switch i.code {
		case 0x20:
			a = s.word(i.k)
			continue
		case 0x54:
			a &= i.k
			continue
		case 0x05:
			pc += int(i.k)
			continue
		case 0x06:
			return i.k, steps
		case 0x15:
			yes = a == i.k
		case 0x25:
			yes = a > i.k
		case 0x35:
			yes = a >= i.k
		case 0x45:
			yes = a&i.k != 0
		}
		if yes {
			pc += int(i.jt)
		} else {
			pc += int(i.jf)
		}
	}
}

// load disassembles and verifies a filter.
func load(t testing.TB, filter []byte) []instruction {
	t.Helper()
	program, err := disassemble(filter)
	if err != nil {
		t.Fatalf("filter: %v", err)
	}
	if err := verify(program); err != nil {
		t.Fatalf("filter: %v", err)
	}
	return program
}
