package sandbox

import (
	"context"
	"fmt"
	"slices"

	"sandbox.example/sandbox/userns"
)

// RequireError says that something is missing that the caller has required.
type RequireError struct {
	Word  string // of Spec.Require
	Cause string
	Cure  string
}

// Error names the word and the cause.
func (e *RequireError) Error() string { return fmt.Sprintf("require %s: %s", e.Word, e.Cause) }

// require refuses a machine that lacks one of words, by the checks of doctor.
// Runs in: supervisor, root of the user namespace.
func (e *Engine) require(ctx context.Context, words []string) error {
	if e.Entry.Userns == "subuid" && !slices.Contains(words, "subuid") {
		words = append(slices.Clone(words), "subuid")
	}
	if len(words) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	for _, word := range words {
		var c Check
		switch word {
		case "limits":
			c = cgroupOf(ctx, e.Entry.CallerUID)
		case "fuse":
			c = fuseOf(ctx)
		case "subuid":
			c = checkRange(e.Entry)
		case "mlock":
			c = checkMlock(ctx)[0]
		default:
			return fmt.Errorf("require %q: unknown word", word)
		}
		if c.Status != CheckOK {
			return &RequireError{Word: word, Cause: c.Cause, Cure: c.Cure}
		}
	}
	return nil
}

// checkRange looks whether there are more ids than one.
func checkRange(e userns.Entry) Check {
	c := newCheck("subuid", "")
	ids, err := userns.Current()
	if err != nil {
		return c.missing(err.Error(), "mount /proc", userns.OuterContainer)
	}
	single := ids.Single() || e.Way == userns.Root && e.Userns == "single"
	switch {
	case !single:
		c.Detail = "uids " + userns.Format(ids.UIDs) + ", gids " + userns.Format(ids.GIDs)
		return c
	case e.Userns == "single":
		return c.missing("--userns=single gives one id only", "leave --userns and SANDBOX_USERNS out", userns.User)
	case e.Way == userns.Nested:
		return c.missing("the user namespace around us has one id only", "start it with a range of subordinate ids (unshare --map-root-user --map-auto, podman unshare)", userns.OuterContainer)
	}
	return c.missing("one id only: "+e.Why, "install newuidmap and newgidmap, and give yourself a range in /etc/subuid and /etc/subgid; \"sandbox doctor\" tells how", userns.Administrator)
}
