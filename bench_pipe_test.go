//go:build bench

package main_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	benchPipeLimit = 10 * time.Minute // a command that copies gigabytes and takes longer has hung
	benchBlock     = 256 << 10
)

// benchPipeLoad is what one sample sends through stdin → cat → stdout. The short form takes many
// small samples, which a busy machine disturbs less, and leaves out the start of the command,
// which is 0.3 % of the time of 8 GiB but much of a small sample's.
type benchPipeLoad struct {
	Bytes   int64
	Steady  bool
	Samples int
}

// pipe measures, in seconds, how long argv takes to copy bytes from stdin to stdout, both pipes
// of ours: the whole life of the command, or, with steady, from the first byte that arrives to
// the last.
func (r *benchRunner) pipe(name string, ours bool, argv benchArgv, load benchPipeLoad) *benchCase {
	c := &benchCase{Name: name, Ours: ours, err: argv.Err}
	c.Sample = func() (float64, error) {
		began := time.Now()
		flow, err := r.copyThrough(argv.Args, load.Bytes)
		took := time.Since(began)
		if load.Steady {
			took = flow.last.Sub(flow.first)
		}
		if err == nil && flow.bytes != load.Bytes {
			err = fmt.Errorf("copy %d bytes: %d arrived", load.Bytes, flow.bytes)
		}
		return took.Seconds(), err
	}
	return c
}

// benchFlow is what arrived, and when.
type benchFlow struct {
	bytes       int64
	first, last time.Time
}

// copyThrough keeps the command on one CPU and its two ends on others: where the scheduler puts
// three busy threads on a small machine otherwise decides more than the sandbox does.
func (r *benchRunner) copyThrough(args []string, size int64) (flow benchFlow, err error) {
	cpus, err := benchCPUs()
	if err != nil {
		return flow, err
	}
	in, out, err := benchPipes()
	if err != nil {
		return flow, err
	}
	p, err := r.startOn(cpus[0], args, [3]*os.File{in.r, out.w, nil})
	in.r.Close()
	out.w.Close()
	if err != nil {
		in.w.Close()
		out.r.Close()
		return flow, err
	}
	wrote := make(chan error, 1)
	go func() {
		err := benchOn(cpus[1%len(cpus)], func() error { return benchWriteZeros(in.w, size) })
		wrote <- errors.Join(err, in.w.Close())
	}()
	readErr := benchOn(cpus[2%len(cpus)], func() error { return flow.read(out.r) })
	out.r.Close()
	writeErr := <-wrote
	if err := r.wait(p, benchPipeLimit); err != nil {
		return flow, err
	}
	return flow, errors.Join(writeErr, readErr)
}

// benchCPUs are those that we may use, at most three. Of two the command has the second alone.
func benchCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	var cpus []int
	for cpu := 0; len(cpus) < set.Count() && len(cpus) < 3; cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	if len(cpus) == 2 {
		cpus = []int{cpus[1], cpus[0], cpus[0]}
	}
	return cpus, nil
}

// benchOn runs f on one CPU, on a thread that ends with it, and so in a goroutine of its own.
func benchOn(cpu int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is changed
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			done <- os.NewSyscallError("sched_setaffinity", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// startOn is start for a command that must stay on one CPU: it inherits that from the thread.
func (r *benchRunner) startOn(cpu int, args []string, files [3]*os.File) (p *os.Process, err error) {
	err = benchOn(cpu, func() error {
		p, err = r.start(args, files)
		return err
	})
	return p, err
}

type benchPipe struct{ r, w *os.File }

// benchPipes makes the pipes for stdin and stdout of a command. They are blocking: no detour
// through the poller on our side, and what the command expects on its own.
func benchPipes() (in, out benchPipe, err error) {
	if in, err = newBenchPipe(); err != nil {
		return in, out, err
	}
	if out, err = newBenchPipe(); err != nil {
		in.r.Close()
		in.w.Close()
	}
	return in, out, err
}

func newBenchPipe() (benchPipe, error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return benchPipe{}, os.NewSyscallError("pipe2", err)
	}
	return benchPipe{r: os.NewFile(uintptr(fds[0]), "pipe"), w: os.NewFile(uintptr(fds[1]), "pipe")}, nil
}

func benchWriteZeros(w *os.File, size int64) error {
	block := make([]byte, benchBlock)
	for size > 0 {
		n, err := w.Write(block[:min(size, benchBlock)])
		if err != nil {
			return fmt.Errorf("write to stdin of the command: %w", err)
		}
		size -= int64(n)
	}
	return nil
}

// read takes everything from f.
func (flow *benchFlow) read(f *os.File) error {
	block := make([]byte, benchBlock)
	for {
		n, err := f.Read(block)
		if flow.bytes == 0 {
			flow.first = time.Now()
		}
		flow.bytes += int64(n)
		if errors.Is(err, io.EOF) {
			flow.last = time.Now()
			return nil
		}
		if err != nil {
			return fmt.Errorf("read stdout of the command: %w", err)
		}
	}
}
