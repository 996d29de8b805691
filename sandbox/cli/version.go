package cli

import (
	"context"
	"fmt"
	"runtime"
)

// version is set by the linker: -X sandbox.example/sandbox/cli.version=...
var version = "devel"

// versionCmd is "sandbox version".
type versionCmd struct{}

func (c *versionCmd) run(_ context.Context, env *environment) (int, error) {
	_, err := fmt.Fprintf(env.out, "sandbox %s %s/%s %s\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version())
	return 0, err
}
