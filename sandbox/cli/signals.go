package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox"
)

// signals catches, from before the sandbox is made until it has been released,
// what would end us: nothing shall do that while there is something to release.
// While the sandbox is made they cancel that; then they are the command's.
type signals struct {
	c    chan os.Signal
	done chan struct{} // closed by settle
	late chan struct{} // closed at the first that came when the command had ended

	ended chan struct{} // closed when forward has ended

	early   []syscall.Signal // for the command, before there was one
	ignored []syscall.Signal // of INT and QUIT, when we were started
}

// catchSignals takes the signals that are forwarded, and no more: catching
// all of them costs a millisecond. INT and QUIT are taken even when a script's
// "&" has us started with them ignored; a nohup is respected.
func catchSignals() *signals {
	s := &signals{c: make(chan os.Signal, 32), done: make(chan struct{}), late: make(chan struct{})}
	list := []os.Signal{
		syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGWINCH,
		syscall.SIGPIPE, // never forwarded: a reader of ours that leaves is an error of write(2) then
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(sig) {
			s.ignored = append(s.ignored, sig)
		}
	}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	signal.Notify(s.c, list...)
	return s
}

// interruptedError says that a signal came before there was a command that it
// could be given to.
type interruptedError struct{ signal syscall.Signal }

// Error names the signal.
func (e *interruptedError) Error() string {
	return fmt.Sprintf("interrupted by %s before the command was started", unix.SignalName(e.signal))
}

// Unwrap returns what it means for the exit code: death by that signal.
func (e *interruptedError) Unwrap() error {
	return &sandbox.ExitError{Code: 128 + int(e.signal), Signal: e.signal, Reason: sandbox.ReasonSignal}
}

// creating returns a context for making the sandbox, which the first signal
// that asks for our end cancels with an interruptedError. made ends this and
// returns that error, or nil. A further INT or QUIT, which a person types, ends
// us at once; what is left then is cleared by the next command.
func (s *signals) creating(parent context.Context) (ctx context.Context, made func() error) {
	ctx, cancel := context.WithCancelCause(parent)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case got := <-s.c:
				switch sig := got.(syscall.Signal); sig {
				case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP:
					if ctx.Err() != nil && (sig == syscall.SIGINT || sig == syscall.SIGQUIT) {
						s.die(sig)
					}
					cancel(&interruptedError{sig})
				case syscall.SIGTSTP:
					// Errors are impossible: it is our own process.
					_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
				case syscall.SIGUSR1, syscall.SIGUSR2:
					s.early = append(s.early, sig)
				}
			}
		}
	}()
	return ctx, func() error {
		close(stop)
		<-stopped
		err := context.Cause(ctx)
		cancel(nil)
		return err
	}
}

// die ends us by sig, or by KILL if we were started with sig ignored.
func (s *signals) die(sig syscall.Signal) {
	signal.Reset(sig)
	if slices.Contains(s.ignored, sig) {
		sig = syscall.SIGKILL
	}
	// Errors are impossible: it is our own process.
	_ = syscall.Kill(os.Getpid(), sig)
}

// forward passes on what has come and what comes, until settle.
func (s *signals) forward(task *sandbox.Task, con *console, log *messages) {
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		con.resize() // the size may have changed since it was read
		for _, sig := range s.early {
			s.pass(sig, task, con, log)
		}
		for {
			select {
			case <-s.done:
				return
			case sig := <-s.c:
				s.pass(sig.(syscall.Signal), task, con, log)
			}
		}
	}()
}

func (s *signals) pass(sig syscall.Signal, task *sandbox.Task, con *console, log *messages) {
	switch sig {
	case syscall.SIGPIPE:
		return
	case syscall.SIGWINCH:
		con.resize()
		if task.Terminal() != nil {
			return // the kernel signals the terminal's foreground group
		}
	}
	<-task.Started()
	if err := task.Signal(sig); err != nil {
		log.detail(err.Error())
		if errors.Is(err, sandbox.ErrNotRunning) {
			s.tooLate(sig)
		}
	}
	if sig != syscall.SIGTSTP {
		return
	}
	// The command's group stops; so do we, as the shell expects.
	raw := con.raw
	if err := con.cook(); err != nil {
		log.detail(err.Error())
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
		log.detail(err.Error())
	}
	if raw != nil {
		if err := raw(); err != nil {
			log.detail(err.Error())
		}
	}
}

// tooLate is for a signal that the command cannot get any more: it ends what
// we still wait for, a terminal that takes no output.
func (s *signals) tooLate(sig syscall.Signal) {
	switch sig {
	case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP:
		select {
		case <-s.late:
		default:
			close(s.late)
		}
	}
}

// settle ends forward and waits for its end: task and console are about to be
// released. What comes from now on is taken, and is too late for anything.
func (s *signals) settle() {
	close(s.done)
	<-s.ended
}

// stop gives the signals back to the kernel's defaults.
func (s *signals) stop() { signal.Stop(s.c) }
