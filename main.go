// Command sandbox runs commands in rootless sandboxes. This file only decides
// which of our roles the process plays: the C constructors have already acted
// (package userns entered a user namespace, libcontainer's nsexec the
// sandbox's), and "sandbox init" never comes here (package stage1).
package main

import (
	"os"
	"runtime"

	_ "sandbox.example/sandbox/runc/initstage" // first: "sandbox init" ends there

	"sandbox.example/sandbox/cli"
	"sandbox.example/sandbox/userns"
)

// libcontainer puts a thread of the supervisor into the sandbox's mount
// namespace. It must not be the main thread, for which /proc/PID stands: so
// that one is parked, and all work is done by others.
func init() { runtime.LockOSThread() }

func main() {
	code := make(chan int)
	go func() {
		if len(os.Args) == 2 && os.Args[1] == "holder" {
			if userns.Holder() != nil {
				code <- 125
				return
			}
			code <- 0
			return
		}
		code <- cli.Main(os.Args[1:])
	}()
	os.Exit(<-code)
}
