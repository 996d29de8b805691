package cli

import (
	"os"
	"os/signal"
	"syscall"

	"sandbox.example/sandbox"
)

// signals forwards what we get to the command. It catches from the moment it
// is made, so that nothing ends us before the sandbox can be released.
type signals struct {
	c    chan os.Signal
	done chan struct{}
}

// catchSignals takes the ten signals that are forwarded, and no more: catching
// all of them costs a millisecond. INT and QUIT are taken even when a script's
// "&" has us started with them ignored; a nohup is respected.
func catchSignals() *signals {
	s := &signals{c: make(chan os.Signal, 32), done: make(chan struct{})}
	list := []os.Signal{
		syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGWINCH,
	}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	signal.Notify(s.c, list...)
	return s
}

// forward passes on what has come and what comes.
func (s *signals) forward(task *sandbox.Task, con *console, log *messages) {
	go func() {
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
	if sig == syscall.SIGWINCH {
		con.resize()
		if task.Terminal() != nil {
			return // the kernel signals the terminal's foreground group
		}
	}
	<-task.Started()
	if err := task.Signal(sig); err != nil {
		log.detail(err.Error())
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

// stop gives the signals back to the kernel's defaults.
func (s *signals) stop() {
	signal.Stop(s.c)
	close(s.done)
}
