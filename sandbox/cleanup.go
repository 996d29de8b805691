package sandbox

import (
	"errors"
	"slices"
)

// closers collects what must be undone: a constructor hands it to the object
// on success and runs it on error. Last taken, first released; every step
// runs, errors are joined.
type closers struct {
	steps []func() error
}

func (c *closers) add(f func() error) { c.steps = append(c.steps, f) }

// run may be called more than once; each step runs once.
func (c *closers) run() error {
	steps := c.steps
	c.steps = nil
	var errs []error
	for _, f := range slices.Backward(steps) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}
