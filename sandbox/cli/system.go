package cli

import (
	"context"
	"errors"
	"fmt"

	"sandbox.example/sandbox/userns"
)

// systemCmd groups what concerns all sandboxes.
type systemCmd struct {
	Stop systemStopCmd `cmd:"" help:"End the holder of the user namespace. Sandboxes that run go on."`
}

// systemStopCmd is "sandbox system stop".
type systemStopCmd struct{}

func (c *systemStopCmd) run(_ context.Context, env *environment) (int, error) {
	dir, err := userns.RuntimeDir()
	if errors.Is(err, userns.ErrNoRuntime) {
		env.log.detail("no holder is running")
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("stop the holder: %w", err)
	}
	stopped, err := userns.StopHolder(dir)
	if err != nil {
		return 0, fmt.Errorf("stop the holder: %w", err)
	}
	if !stopped {
		env.log.detail("no holder is running")
	}
	return 0, nil
}
