package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sandbox.example/pty"
	"sandbox.example/sandbox"
	"sandbox.example/sandbox/userns"
)

// console connects the command's stdio with ours. Pipes, files and sockets are
// passed and never copied; a terminal of ours never gets in: the command has
// one of its own, or a stand-in, and we copy.
type console struct {
	interactive bool // a terminal's input is forwarded
	stdinTTY    bool
	log         *messages

	task    *sandbox.Task
	restore func() error // puts our terminal back, nil when it was not touched
	raw     func() error // puts it into raw mode again, after a stop
	masters []*os.File   // of the stand-ins
	slaves  []*os.File   // of them, open until the command has ended, as Task does it
	readers []*os.File   // ends of pipes that are the command's alone once it runs
	writers []*os.File   // ends of pipes that feed the command
	output  sync.WaitGroup
	mu      sync.Mutex // guards restore
}

// console prepares what the process gets as 0, 1, 2 and by --fd.
func (c *runCmd) console(env *environment, p *plan) (*console, error) {
	files := make(map[int]*os.File)
	p.Process.Files = files
	con := &console{stdinTTY: pty.IsTerminal(os.Stdin), log: env.log}
	con.interactive = c.Interactive || c.implied
	if err := con.passFDs(files, p.fds); err != nil {
		return nil, errors.Join(err, con.close())
	}
	if p.stdinUsed {
		con.stdinTTY, con.interactive = true, false // nothing more comes from it
	}
	if p.Process.TTY {
		p.Process.Size = terminalSize()
		return con, nil
	}
	if err := con.standIns(&p.Process, p.stdinUsed); err != nil {
		return nil, errors.Join(err, con.close())
	}
	return con, nil
}

func (con *console) passFDs(files map[int]*os.File, fds []passedFD) error {
	for _, fd := range fds {
		if fd.Path == "" {
			if !userns.Inherited(fd.Number) {
				return fmt.Errorf("--fd %d: it is not open", fd.Number)
			}
			files[fd.Number] = os.NewFile(uintptr(fd.Number), fmt.Sprintf("fd %d", fd.Number))
			continue
		}
		f, err := os.OpenFile(fd.Path, os.O_RDONLY|unix.O_NOCTTY, 0)
		if err != nil {
			return fmt.Errorf("--fd %d: %w", fd.Number, err)
		}
		con.writers = append(con.writers, f)
		files[fd.Number] = f
	}
	return nil
}

// standIns fills 0, 1 and 2 of a command without a terminal.
func (con *console) standIns(p *sandbox.Process, stdinUsed bool) error {
	files := p.Files
	switch {
	case stdinUsed, con.stdinTTY && !con.interactive:
		// /dev/null
	case con.stdinTTY:
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		con.readers = append(con.readers, r)
		files[0] = r
		go func() {
			defer w.Close()
			io.Copy(w, os.Stdin) // ends with us, or when the command has closed its end
		}()
	default:
		files[0] = os.Stdin
	}
	var shared *os.File // one stand-in when both are the same terminal
	for n, f := range map[int]*os.File{1: os.Stdout, 2: os.Stderr} {
		if !pty.IsTerminal(f) {
			files[n] = f
			continue
		}
		p.StandIns = append(p.StandIns, n)
		if shared != nil && sameFile(os.Stdout, os.Stderr) {
			files[n] = shared
			continue
		}
		size, err := pty.SizeOf(f)
		if err != nil {
			return err
		}
		master, slave, err := pty.Output(size)
		if err != nil {
			return err
		}
		con.masters, con.slaves = append(con.masters, master), append(con.slaves, slave)
		shared, files[n] = slave, slave
		con.copyOut(f, master)
	}
	return nil
}

// copyOut copies until every slave is closed, ours too: a read then gives EIO.
// When nobody takes the output any more the command's terminal is hung up, as
// ours was: it must not wait for a reader for ever.
func (con *console) copyOut(to, master *os.File) {
	con.output.Go(func() {
		if _, err := io.Copy(to, master); err != nil && !errors.Is(err, unix.EIO) && !errors.Is(err, os.ErrClosed) {
			con.log.detail(fmt.Sprintf("copy the terminal's output: %v", err))
		}
		master.Close() // its owner knows
	})
}

// connect starts the copying for a command that has been started.
func (con *console) connect(task *sandbox.Task) error {
	con.task = task
	for _, f := range con.readers {
		f.Close()
	}
	con.readers = nil
	master := task.Terminal()
	if master == nil {
		return nil
	}
	if con.interactive && con.stdinTTY {
		con.raw = func() error {
			restore, err := pty.MakeRaw(os.Stdin)
			if err == nil {
				con.setRestore(restore)
			}
			return err
		}
		if err := con.raw(); err != nil {
			return err
		}
	}
	if con.raw == nil && pty.IsTerminal(os.Stdout) {
		// The command's terminal has made CR LF of its LF already.
		con.raw = func() error {
			restore, err := pty.MakeRawOutput(os.Stdout)
			if err == nil {
				con.setRestore(restore)
			}
			return err
		}
		if err := con.raw(); err != nil {
			return err
		}
	}
	con.copyOut(os.Stdout, master)
	switch {
	case con.interactive && con.stdinTTY:
		go io.Copy(master, os.Stdin) // ends with us
	case !con.stdinTTY:
		go func() {
			if _, err := io.Copy(master, os.Stdin); err == nil {
				master.Write([]byte{4}) // ^D: the end of what was not a terminal
			}
		}()
	}
	return nil
}

func (con *console) setRestore(restore func() error) {
	con.mu.Lock()
	defer con.mu.Unlock()
	con.restore = restore
	con.log.mu.Lock()
	con.log.newline = "\r\n"
	con.log.mu.Unlock()
}

// resize gives the command's terminals the size of ours.
func (con *console) resize() {
	size := terminalSize()
	if size == (pty.Size{}) {
		return
	}
	if con.task != nil && con.task.Terminal() != nil {
		if err := con.task.Resize(size); err != nil {
			con.log.detail(err.Error())
		}
	}
	for _, m := range con.masters {
		if err := pty.Resize(m, size); err != nil {
			con.log.detail(err.Error())
		}
	}
}

// cook puts our terminal back; it may be called more than once.
func (con *console) cook() error {
	con.mu.Lock()
	defer con.mu.Unlock()
	if con.restore == nil {
		return nil
	}
	err := con.restore()
	con.restore = nil
	con.log.mu.Lock()
	con.log.newline = ""
	con.log.mu.Unlock()
	return err
}

// drainTime is for the output of a command whose time was up: nobody may be
// reading it.
const drainTime = time.Second

// drain waits until what the command, which ended with err, wrote to its
// terminals has been copied, or until abandon is closed. Every slave but ours
// is closed when its pid namespace is gone, unless somebody has sent it out
// through a socket.
func (con *console) drain(err error, abandon <-chan struct{}) {
	for _, f := range con.slaves {
		f.Close()
	}
	con.slaves = nil
	copied := make(chan struct{})
	go func() {
		con.output.Wait()
		close(copied)
	}()
	var limit <-chan time.Time
	var exit *sandbox.ExitError
	if errors.As(err, &exit) && exit.Reason == sandbox.ReasonTimeout {
		limit = time.After(drainTime)
	}
	select {
	case <-copied:
	case <-limit:
	case <-abandon:
	}
}

func (con *console) close() error {
	errs := []error{con.cook()}
	for _, f := range slices.Concat(con.slaves, con.readers, con.masters, con.writers) {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	con.slaves, con.readers, con.masters, con.writers = nil, nil, nil, nil
	return errors.Join(errs...)
}

// terminalSize is that of the first of our descriptors that is a terminal.
func terminalSize() pty.Size {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if pty.IsTerminal(f) {
			if size, err := pty.SizeOf(f); err == nil {
				return size
			}
		}
	}
	return pty.Size{}
}

func sameFile(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}
