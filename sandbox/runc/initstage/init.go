// Package initstage is libcontainer's init: the process between the supervisor
// and pid 1. Importing it is all: when the process was started as that stage,
// its init function takes over and never returns, before the packages of the
// command line are initialised.
package initstage

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // its C constructor enters the namespaces
	"golang.org/x/sys/unix"
)

func init() {
	if len(os.Args) != 2 || os.Args[1] != "init" || os.Getenv("_LIBCONTAINER_INITPIPE") == "" {
		return
	}
	// ParentDeathSignal of the configuration is set on libcontainer's first
	// stage and lost with it; this process is a new clone, whose parent is the
	// supervisor.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		os.Stderr.WriteString("sandbox: prctl(PR_SET_PDEATHSIG): " + err.Error() + "\n")
		os.Exit(125)
	}
	libcontainer.Init()
}
