package sandbox

import (
	"context"
	"sync"
	"time"

	"sandbox.example/sandbox/userns"
)

// CheckStatus says how much of something works.
type CheckStatus string

// The statuses, from good to bad.
const (
	CheckOK       CheckStatus = "ok"
	CheckDegraded CheckStatus = "degraded" // works less well, or by a fallback
	CheckMissing  CheckStatus = "missing"
)

// Check is the result of looking at one thing that sandboxes use. Name is
// stable; Cause, Cure and Who are set when Status is not CheckOK.
type Check struct {
	Name   string      `json:"name"`
	Status CheckStatus `json:"status"`
	Needs  bool        `json:"needs"` // run cannot work without it
	Detail string      `json:"detail"`
	Cause  string      `json:"cause,omitempty"`
	Cure   string      `json:"cure,omitempty"`
	Who    userns.Who  `json:"who,omitempty"` // who can apply the cure
}

// WayCheck is one way into a user namespace.
type WayCheck struct {
	Name   string      `json:"name"` // holder, root, nested, single
	Status CheckStatus `json:"status"`
	Taken  bool        `json:"taken"` // the one that run would take now
	Detail string      `json:"detail"`
	Cause  string      `json:"cause,omitempty"`
	Cure   string      `json:"cure,omitempty"`
	Who    userns.Who  `json:"who,omitempty"`
}

// Report is what Diagnose found. Its status is missing when run cannot work,
// ok when every check is.
type Report struct {
	Status CheckStatus `json:"status"`
	Way    string      `json:"way"` // the way in that run would take, "none" if it would fail
	Ways   []WayCheck  `json:"ways"`
	Checks []Check     `json:"checks"`
}

// probeTimeout bounds each real attempt. A file server that does not answer
// is the usual reason to meet it.
const probeTimeout = 2 * time.Second

// Diagnose tries everything that sandboxes need or can use, by real calls in
// processes that end with it: nothing stays behind. The attempts are bounded,
// it returns in about two seconds at worst.
//
// The program's "doctor --probe=NAME" must lead to RunProbe.
func Diagnose(ctx context.Context) Report {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	dirs := UserDirs()
	looks := []struct {
		name string // of the check that tells when there was no answer
		look func(context.Context) []Check
	}{
		{"namespaces", checkNamespaces},
		{"proc", checkProc},
		{"memfd", checkMemfd},
		{"seccomp", checkSeccomp},
		{"store.runtime", dirs.checkRuntime},
		{"store.state", dirs.checkState},
		{"store.data", dirs.checkData},
		{"store.cache", dirs.checkCache},
		{"idmap", dirs.checkIdmap},
		{"fuse", checkFuse},
		{"tun", checkTun},
		{"cgroup", checkCgroup},
		{"mlock", checkMlock},
	}
	results := make([][]Check, len(looks))
	var wg sync.WaitGroup
	var look userns.Look
	wg.Go(func() { look = inspect(ctx) })
	for i, l := range looks {
		wg.Go(func() {
			noAnswer := newCheck(l.name, "no answer").missing("it hangs in the kernel or on a file server",
				"see which file system does not answer: df", userns.User)
			results[i] = bounded(ctx, func() []Check { return l.look(ctx) }, []Check{noAnswer})
		})
	}
	wg.Wait()

	r := Report{Checks: lookChecks(look)}
	for _, checks := range results {
		r.Checks = append(r.Checks, checks...)
	}
	r.conclude(look)
	return r
}

// inspect is userns.Inspect within the bounds of ctx.
func inspect(ctx context.Context) userns.Look {
	var noAnswer userns.Look
	noAnswer.Create = userns.Finding{Detail: "no answer", Cause: "newuidmap, newgidmap, getsubids or the kernel does not answer",
		Cure: "see which of them hangs: strace -f sandbox doctor", Who: userns.Administrator}
	return bounded(ctx, func() userns.Look { return userns.Inspect(ctx) }, noAnswer)
}

// bounded gives up on a look that hangs in the kernel: its goroutine stays
// until the process ends, which is soon.
func bounded[T any](ctx context.Context, look func() T, noAnswer T) T {
	done := make(chan T, 1)
	go func() { done <- look() }()
	select {
	case found := <-done:
		return found
	case <-ctx.Done():
	}
	// A look that ends with ctx can say more than that there was no answer.
	select {
	case found := <-done:
		return found
	case <-time.After(300 * time.Millisecond):
		return noAnswer
	}
}

// conclude adds the check of the way in, first, and what follows from all.
func (r *Report) conclude(look userns.Look) {
	blocked := r.find("namespaces")
	for _, w := range look.Ways {
		c := fromFinding(w.Way.String(), w.Finding)
		if blocked.Status == CheckMissing && c.Status != CheckMissing {
			// Made, but without rights.
			c.Status, c.Cause, c.Cure, c.Who = CheckMissing, blocked.Cause, blocked.Cure, blocked.Who
		}
		r.Ways = append(r.Ways, WayCheck{Name: c.Name, Status: c.Status, Taken: w.Taken && c.Status != CheckMissing,
			Detail: c.Detail, Cause: c.Cause, Cure: c.Cure, Who: c.Who})
	}
	r.Way = "none"
	for _, w := range r.Ways {
		if w.Taken {
			r.Way = w.Name
		}
	}
	r.Checks = append([]Check{r.wayCheck(look)}, r.Checks...)
	r.Status = CheckOK
	for _, c := range r.Checks {
		if c.Status == CheckMissing && c.Needs {
			r.Status = CheckMissing
			return
		}
		if c.Status != CheckOK {
			r.Status = CheckDegraded
		}
	}
}

// find returns the check of that name, the zero Check if there is none.
func (r *Report) find(name string) Check {
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	return Check{}
}

// fromFinding makes a check of what package userns found.
func fromFinding(name string, f userns.Finding) Check {
	c := Check{Name: name, Status: CheckOK, Detail: f.Detail}
	if f.OK() {
		return c
	}
	c.Cause, c.Cure, c.Who = f.Cause, f.Cure, f.Who
	c.Status = CheckMissing
	if f.Partial {
		c.Status = CheckDegraded
	}
	return c
}

func newCheck(name, detail string) Check {
	return Check{Name: name, Status: CheckOK, Detail: detail}
}

func (c Check) degraded(cause, cure string, who userns.Who) Check {
	c.Status, c.Cause, c.Cure, c.Who = CheckDegraded, cause, cure, who
	return c
}

func (c Check) missing(cause, cure string, who userns.Who) Check {
	c.Status, c.Cause, c.Cure, c.Who = CheckMissing, cause, cure, who
	return c
}

// needed marks a check that run cannot do without.
func (c Check) needed() Check {
	c.Needs = true
	return c
}
