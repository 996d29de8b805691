package seccomp

import (
	"errors"
	"fmt"
	"slices"
)

// Compile translates a profile in docker's JSON format into a filter program
// for t. The error says where in the profile the mistake is. Unlike docker it
// refuses fields that it does not know, so that a misspelt "args" does not
// allow more than was meant, and an empty profile, which docker takes for none.
func Compile(profile []byte, t Target) ([]byte, error) {
	var file fileProfile
	if err := decode(profile, &file); err != nil {
		return nil, fmt.Errorf("parse seccomp profile: %w", err)
	}
	s, err := file.resolve(t)
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile: %w", err)
	}
	filter, err := s.compile()
	if err != nil {
		return nil, fmt.Errorf("compile seccomp profile: %w", err)
	}
	return filter, nil
}

// resolve checks everything in f and evaluates its conditions for t.
func (f *fileProfile) resolve(t Target) (*ruleset, error) {
	host, err := t.resolve()
	if err != nil {
		return nil, err
	}
	if f.DefaultAction == "" {
		return nil, errors.New("defaultAction is missing")
	}
	if f.DefaultErrno != "" && f.DefaultErrnoRet == nil {
		return nil, errors.New("defaultErrno needs the number in defaultErrnoRet beside it")
	}
	s := &ruleset{calls: map[string]*call{}, mentioned: map[string]bool{}}
	if s.defaultAction, err = action(f.DefaultAction, f.DefaultErrnoRet); err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	if f.ListenerPath != "" || f.ListenerMetadata != "" {
		return nil, errors.New("listenerPath and listenerMetadata are not supported: no agent is asked about calls")
	}
	for _, flag := range f.Flags {
		// The filter is installed before there is a second thread.
		if flag != "SECCOMP_FILTER_FLAG_TSYNC" {
			return nil, fmt.Errorf("flag %q is not supported, leave it out", flag)
		}
	}
	if s.abis, err = f.abis(host.family); err != nil {
		return nil, err
	}
	for n, group := range f.Syscalls {
		if group == nil {
			return nil, fmt.Errorf("syscalls[%d] is null", n)
		}
		if err := s.add(group, n, host); err != nil {
			return nil, fmt.Errorf("syscalls[%d]%s: %w", n, group.label(), err)
		}
	}
	return s, nil
}

// abis returns the ABIs that the profile covers, the native one first.
func (f *fileProfile) abis(host family) ([]abi, error) {
	if len(f.Architectures) > 0 && len(f.ArchMap) > 0 {
		return nil, errors.New("use either architectures or archMap, not both")
	}
	listed := slices.Clone(f.Architectures)
	for _, entry := range f.ArchMap {
		if a, ok := abiOf(entry.Arch); ok && a == host.native {
			listed = append(listed, entry.SubArchs...)
			break
		}
	}
	abis := []abi{host.native}
	for _, name := range listed {
		a, ok := abiOf(name)
		if !ok && !foreignArch(name) {
			return nil, fmt.Errorf("unknown architecture %q, they look like SCMP_ARCH_X86_64", name)
		}
		if ok && slices.Contains(host.abis, a) && !slices.Contains(abis, a) {
			abis = append(abis, a)
		}
	}
	return abis, nil
}

// label names a group in messages by its first call.
func (g *fileGroup) label() string {
	switch {
	case g.Name != "":
		return fmt.Sprintf(" (%q)", g.Name)
	case len(g.Names) == 1:
		return fmt.Sprintf(" (%q)", g.Names[0])
	case len(g.Names) > 1:
		return fmt.Sprintf(" (%q, …)", g.Names[0])
	}
	return ""
}

// add checks the group at place n of the file and adds its rules.
func (s *ruleset) add(g *fileGroup, n int, host host) error {
	names := g.Names
	switch {
	case g.Name != "" && len(names) > 0:
		return errors.New("use either name or names, not both")
	case g.Name != "":
		names = []string{g.Name}
	case len(names) == 0:
		return errors.New("names is missing")
	case g.Action == "":
		return errors.New("action is missing")
	case g.Errno != "" && g.ErrnoRet == nil:
		return errors.New("errno needs the number in errnoRet beside it")
	}
	act, err := action(g.Action, g.ErrnoRet)
	if err != nil {
		return err
	}
	var orElse *uint32
	if g.ElseErrnoRet != nil {
		if strictness(s.defaultAction) != strictness(actErrno) {
			return errors.New("elseErrnoRet needs the defaultAction SCMP_ACT_ERRNO")
		}
		value, err := action("SCMP_ACT_ERRNO", g.ElseErrnoRet)
		if err != nil {
			return fmt.Errorf("elseErrnoRet: %w", err)
		}
		orElse = &value
	}
	rules, err := g.rules(act)
	if err != nil {
		return err
	}
	applies, err := g.applies(host)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == "" {
			return errors.New("a name is empty")
		}
		s.mentioned[name] = true
		if !applies {
			continue
		}
		c := s.calls[name]
		if c == nil {
			c = &call{}
			s.calls[name] = c
		}
		for _, r := range rules {
			r.order = n
			c.rules = append(c.rules, r)
		}
		if c.orElse == nil {
			c.orElse = orElse
		}
	}
	return nil
}

// rules returns what the arguments of g come to: one rule, or one for each of
// them if an index is there twice.
func (g *fileGroup) rules(act uint32) ([]rule, error) {
	var conditions []condition
	var seen [6]bool
	repeated := false
	for n, arg := range g.Args {
		if arg == nil {
			return nil, fmt.Errorf("args[%d] is null", n)
		}
		c, err := arg.condition()
		if err != nil {
			return nil, fmt.Errorf("args[%d]: %w", n, err)
		}
		repeated = repeated || seen[c.index]
		seen[c.index] = true
		conditions = append(conditions, c)
	}
	groups := [][]condition{conditions}
	if repeated {
		groups = slices.Collect(slices.Chunk(conditions, 1))
	}
	var rules []rule
	for _, conditions := range groups {
		always := func(c condition) bool { return c.op == opMaskedEQ && c.mask == 0 }
		rules = append(rules, rule{action: act, conditions: slices.DeleteFunc(conditions, always)})
	}
	return rules, nil
}

// condition checks and translates one argument.
func (a *fileArg) condition() (condition, error) {
	if a.Index > 5 {
		return condition{}, fmt.Errorf("index is %d, calls have arguments 0 to 5", a.Index)
	}
	c := condition{index: uint32(a.Index), value: a.Value}
	switch a.Op {
	case "SCMP_CMP_EQ":
		c.mask = ^uint64(0)
	case "SCMP_CMP_MASKED_EQ":
		c.mask, c.value = a.Value, a.Value&a.ValueTwo
	case "SCMP_CMP_NE":
		c.op = opNE
	case "SCMP_CMP_LT":
		c.op = opLT
	case "SCMP_CMP_LE":
		c.op = opLE
	case "SCMP_CMP_GT":
		c.op = opGT
	case "SCMP_CMP_GE":
		c.op = opGE
	case "":
		return condition{}, errors.New("op is missing")
	default:
		return condition{}, fmt.Errorf("unknown op %q, use SCMP_CMP_ with NE, LT, LE, EQ, GE, GT or MASKED_EQ", a.Op)
	}
	return c, nil
}

// action returns the value for the filter.
func action(name string, errnoRet *uint64) (uint32, error) {
	if errnoRet != nil && name != "SCMP_ACT_ERRNO" {
		return 0, fmt.Errorf("an errno goes with SCMP_ACT_ERRNO only, not with %q", name)
	}
	switch name {
	case "SCMP_ACT_ALLOW":
		return actAllow, nil
	case "SCMP_ACT_LOG":
		return actLog, nil
	case "SCMP_ACT_TRAP":
		return actTrap, nil
	case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD":
		return actKillThread, nil
	case "SCMP_ACT_KILL_PROCESS":
		return actKillProcess, nil
	case "SCMP_ACT_ERRNO":
		if errnoRet == nil {
			return actErrno | errnoPERM, nil
		}
		if *errnoRet > maxErrno {
			return 0, fmt.Errorf("errno %d is more than %d", *errnoRet, maxErrno)
		}
		return actErrno | uint32(*errnoRet), nil
	case "SCMP_ACT_TRACE":
		return 0, errors.New("action \"SCMP_ACT_TRACE\" is not supported: it needs a tracer, and sandbox attaches none")
	case "SCMP_ACT_NOTIFY":
		return 0, errors.New("action \"SCMP_ACT_NOTIFY\" is not supported: it needs an agent that answers, and sandbox has none")
	}
	return 0, fmt.Errorf("unknown action %q, use SCMP_ACT_ with ALLOW, ERRNO, LOG, TRAP, KILL_THREAD or KILL_PROCESS", name)
}
