package runc

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"sandbox.example/sandbox/stage"
)

// startWatcher starts the process that kills pid 1 should we die: with
// --init=false nobody inside reads a lifeline. It ends by itself when Close
// closes the lifeline.
func (ct *Container) startWatcher() error {
	prog, err := stage.Open()
	if err != nil {
		return err
	}
	defer prog.Close()
	life, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	defer life.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		ours.Close()
		return err
	}
	defer null.Close()
	p, err := os.StartProcess("/proc/self/fd/"+strconv.Itoa(int(prog.Fd())), []string{"sandbox", "watch"}, &os.ProcAttr{
		Env:   []string{},
		Files: []*os.File{life, null, null, ct.pidfd},
		// A kill of our process group must not take it along: pid 1 is in
		// none of our groups and would be left.
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	runtime.KeepAlive(prog)
	if err != nil {
		ours.Close()
		return fmt.Errorf("start the watcher of pid 1: %w", err)
	}
	ct.watch = ours
	go p.Wait() // it ends with the lifeline; its status says nothing
	return nil
}
