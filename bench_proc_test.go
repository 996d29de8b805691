//go:build bench

package main_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// benchSleeper says that it runs, and ends when its stdin does. It starts no process.
	benchSleeper = "echo ready; read line || exit 0"
	benchReady   = "ready\n"

	// benchHolderArgv is the whole argv of both processes of the holder, as /proc shows it.
	benchHolderArgv = "sandbox\x00holder"

	benchExitLimit = 10 * time.Second // for processes that are on their way out
)

// pidSet holds process ids.
type pidSet map[int]bool

// benchDescendants are the living children of pid, their children, and so on.
func benchDescendants(pid int) (pidSet, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	children := make(map[int][]int)
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		parent, state, err := benchParent(child)
		if err != nil {
			return nil, err
		}
		if state != 'Z' && state != 0 {
			children[parent] = append(children[parent], child)
		}
	}
	found := make(pidSet)
	for todo := children[pid]; len(todo) > 0; todo = todo[1:] {
		found[todo[0]] = true
		todo = append(todo, children[todo[0]]...)
	}
	return found, nil
}

// benchParent reads parent and state of a process; the state is 0 when it has gone.
func benchParent(pid int) (parent int, state byte, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if benchGone(err) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	// "12 (name, may hold anything) S 11 …"
	_, rest, ok := bytes.Cut(text[max(0, bytes.LastIndexByte(text, ')')):], []byte(") "))
	fields := bytes.Fields(rest)
	if !ok || len(fields) < 2 {
		return 0, 0, fmt.Errorf("parse stat of process %d: %q", pid, text)
	}
	parent, err = strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0, 0, fmt.Errorf("parse stat of process %d: %w", pid, err)
	}
	return parent, fields[0][0], nil
}

// benchGone tells whether a file of /proc/PID is unreadable because the process has ended.
func benchGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// benchPSS adds up the proportional set size of pids, in MB of 1,000,000 bytes. Processes that
// made themselves non-dumpable can be read by root alone.
func benchPSS(pids pidSet) (float64, error) {
	var kib int64
	for pid := range maps.Keys(pids) {
		n, err := benchPSSOf(pid)
		if err != nil {
			return 0, err
		}
		kib += n
	}
	return float64(kib) * 1024 / 1e6, nil
}

func benchPSSOf(pid int) (kib int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if benchGone(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d (run as root): %w", pid, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		// "Pss:                 496 kB"
		if field := strings.Fields(lines.Text()); len(field) == 3 && field[0] == "Pss:" {
			return strconv.ParseInt(field[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("read memory of process %d: no line %q", pid, "Pss:")
}

// holders are the processes of the benchmark's own holder.
func (r *benchRunner) holders() (pidSet, error) {
	all, err := benchDescendants(r.stage.Keeper)
	if err != nil {
		return nil, err
	}
	found := make(pidSet)
	for pid := range maps.Keys(all) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if benchGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// A process that wrote over its argv may leave zeros behind it.
		if strings.TrimRight(string(text), "\x00") == benchHolderArgv {
			found[pid] = true
		}
	}
	return found, nil
}

// stopHolder ends the holder and returns when its processes have gone. A product that cannot
// stop it is helped with SIGKILL: what is measured is the start that follows.
func (r *benchRunner) stopHolder(p *benchPeers) error {
	_, stopErr := r.output(r.dir, p.sandbox("system", "stop").Args...)
	left, err := r.holders()
	if err != nil {
		return err
	}
	if stopErr != nil {
		if len(left) == 0 {
			return stopErr
		}
		for pid := range maps.Keys(left) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return errors.Join(stopErr, fmt.Errorf("kill holder process %d: %w", pid, err))
			}
		}
	}
	return benchAwaitExit(left)
}

// settle waits for everything that a command left running, but for the processes of base.
func (r *benchRunner) settle(base pidSet) error {
	for {
		left, err := benchDescendants(r.stage.Keeper)
		if err != nil {
			return err
		}
		maps.DeleteFunc(left, func(pid int, _ bool) bool { return base[pid] })
		if len(left) == 0 {
			return nil
		}
		if err := benchAwaitExit(left); err != nil {
			return err
		}
	}
}

// benchAwaitExit returns when all pids have ended.
func benchAwaitExit(pids pidSet) error {
	deadline := time.Now().Add(benchExitLimit)
	for _, pid := range slices.Sorted(maps.Keys(pids)) {
		if err := benchAwaitOne(pid, deadline); err != nil {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
	}
	return nil
}

func benchAwaitOne(pid int, deadline time.Time) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("still there after %s", benchExitLimit)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
		if n > 0 {
			return nil
		}
	}
}

// memory measures, in MB and per sandbox, all processes of ours while count sandboxes sleep:
// everything that was not there before, the holder, but not the commands inside.
func (r *benchRunner) memory(name string, argv benchArgv, count int) *benchCase {
	c := &benchCase{Name: name, Ours: true, err: argv.Err}
	c.Sample = func() (value float64, err error) {
		before, err := benchDescendants(r.stage.Keeper)
		if err != nil {
			return 0, err
		}
		var sleepers []*sleeper
		defer func() {
			for _, s := range sleepers {
				err = errors.Join(err, s.stop(r))
			}
		}()
		for range count {
			s, err := r.startSleeper(argv.Args)
			if err != nil {
				return 0, err
			}
			sleepers = append(sleepers, s)
		}
		ours, err := r.holders()
		if err != nil {
			return 0, err
		}
		now, err := benchDescendants(r.stage.Keeper)
		if err != nil {
			return 0, err
		}
		commands := 0
		for pid := range maps.Keys(now) {
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			switch {
			case benchGone(err):
			case err != nil:
				return 0, fmt.Errorf("look at process %d (run as root): %w", pid, err)
			case before[pid]:
			case filepath.Base(exe) == "busybox":
				commands++
			default:
				ours[pid] = true
			}
		}
		if commands != count {
			return 0, fmt.Errorf("start %d sandboxes: %d commands sleep in them", count, commands)
		}
		total, err := benchPSS(ours)
		return total / float64(count), err
	}
	return c
}

// idleHolder measures the holder, in MB, while no sandbox runs.
func (r *benchRunner) idleHolder(name string, argv benchArgv) *benchCase {
	c := &benchCase{Name: name, Ours: true, err: argv.Err}
	c.Sample = func() (float64, error) {
		if _, err := r.output(r.dir, argv.Args...); err != nil {
			return 0, err
		}
		pids, err := r.holders()
		if err != nil {
			return 0, err
		}
		if len(pids) == 0 {
			return 0, fmt.Errorf("find the holder: no process has the argv %q", strings.ReplaceAll(benchHolderArgv, "\x00", " "))
		}
		return benchPSS(pids)
	}
	return c
}

// sleeper is a command that runs until its stdin is closed.
type sleeper struct {
	process *os.Process
	stdin   *os.File
	stdout  *os.File
}

// startSleeper returns when the command inside runs.
func (r *benchRunner) startSleeper(args []string) (*sleeper, error) {
	in, out, err := benchPipes()
	if err != nil {
		return nil, err
	}
	p, err := r.start(args, [3]*os.File{in.r, out.w, nil})
	in.r.Close()
	out.w.Close()
	s := &sleeper{process: p, stdin: in.w, stdout: out.r}
	if err != nil {
		s.stdin.Close()
		s.stdout.Close()
		return nil, err
	}
	timer := time.AfterFunc(benchSampleLimit, func() { p.Kill() })
	line, err := bufio.NewReader(s.stdout).ReadString('\n')
	timer.Stop()
	if err == nil && line != benchReady {
		err = fmt.Errorf("got %q", line)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the command to say %q: %w", benchReady, err), s.stop(r))
	}
	return s, nil
}

// stop lets the command end, and waits for it.
func (s *sleeper) stop(r *benchRunner) error {
	err := s.stdin.Close()
	return errors.Join(err, r.wait(s.process, benchSampleLimit), s.stdout.Close())
}
