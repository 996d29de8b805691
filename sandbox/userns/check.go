package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Who can apply a cure.
type Who string

// The three that a cure may need.
const (
	User           Who = "user"
	Administrator  Who = "administrator"
	OuterContainer Who = "outer container" // whoever starts the container around us
)

// Finding is what one look at this machine gave. All is well when Cause is
// empty.
type Finding struct {
	Detail  string // what was found
	Cause   string // why it does not work, or works less well
	Cure    string // what to do about it
	Who     Who    // who can do it
	Partial bool   // it works, but less well
}

// OK tells whether all is well.
func (f Finding) OK() bool { return f.Cause == "" }

// Works tells whether it works at all, be it less well.
func (f Finding) Works() bool { return f.Cause == "" || f.Partial }

// WayIn is one way into a user namespace, and whether it is open to us.
type WayIn struct {
	Way   Way
	Taken bool // the one that "sandbox run" would take now
	Finding
}

// Look is what Inspect found.
type Look struct {
	Ways []WayIn // in the order in which they are tried

	// Expected is the way that "sandbox run" would try, open or not; Why says
	// why it is not a better one. See Expect.
	Expected Way
	Why      string

	// Create is about making a user namespace at all, by a real attempt. Each
	// sandbox needs one of its own, whichever way led in.
	Create Finding

	// What the holder needs. Map is the real attempt of all four together.
	NewUIDMap, NewGIDMap Finding
	SubUID, SubGID       Finding
	Map                  Finding
}

// Taken returns the way that "sandbox run" would take, false when it would
// fail.
func (l Look) Taken() (WayIn, bool) {
	for _, w := range l.Ways {
		if w.Taken {
			return w, true
		}
	}
	return WayIn{}, false
}

// Inspect tries every way in, in child processes that end with it. It changes
// nothing and makes no holder. It blocks no longer than ctx, if the system's
// own newuidmap, newgidmap and getsubids do.
//
// It needs a process whose constructor entered nothing: any command but run.
func Inspect(ctx context.Context) Look {
	l := Look{
		Create:    checkCreate(ctx),
		NewUIDMap: checkHelper("newuidmap"),
		NewGIDMap: checkHelper("newgidmap"),
	}
	ranges := findRanges()
	l.SubUID, l.SubGID = ranges.finding("uid"), ranges.finding("gid")
	l.Expected, l.Why = Expect()
	l.Map = l.checkMap(ctx, ranges)

	for _, way := range []Way{Held, Root, Nested, Single} {
		w := WayIn{Way: way, Finding: l.way(way)}
		w.Taken = way == l.Expected && w.Works()
		l.Ways = append(l.Ways, w)
	}
	return l
}

// way says whether one way is open.
func (l Look) way(way Way) Finding {
	const notRoot = "this process is not root"
	switch {
	case way == Held && os.Geteuid() == 0 && capable():
		return Finding{Detail: "not tried as root", Cause: "root needs no subordinate ids",
			Cure: "nothing: root has its own way", Who: User}
	case way == Held:
		return l.held()
	case way == Single && os.Geteuid() == 0 && fullMap():
		if !capable() {
			return Finding{Detail: "uid 0 without " + rootCaps, Cause: onlyHostRoot,
				Cure: "start it with --cap-add SYS_ADMIN, or as an unprivileged user", Who: OuterContainer}
		}
		return Finding{Detail: "one id: 0 inside is a free one outside", Cause: l.Create.Cause, Cure: l.Create.Cure, Who: l.Create.Who}
	case way == Single:
		f := l.Create
		if f.OK() {
			f.Detail = fmt.Sprintf("one id: 0 inside is %d outside", os.Geteuid())
		}
		return f
	case os.Geteuid() != 0:
		return Finding{Detail: fmt.Sprintf("uid %d", os.Geteuid()), Cause: notRoot, Cure: "nothing, unless you want root's sandboxes: sudo", Who: User}
	case !capable():
		return Finding{Detail: "uid 0 without " + rootCaps, Cause: "an outer container took root's capabilities",
			Cure: "start it with --cap-add SYS_ADMIN, or as an unprivileged user", Who: OuterContainer}
	}
	ids, err := Current()
	if err != nil {
		return Finding{Cause: err.Error(), Cure: "mount /proc", Who: OuterContainer}
	}
	full := ids.full()
	if full && way == Nested {
		return Finding{Detail: "the initial map: all ids", Cause: "this is not a nested user namespace", Cure: "nothing: root has its own way", Who: User}
	}
	if !full && way == Root {
		return Finding{Detail: "uids " + Format(ids.UIDs), Cause: "this user namespace is not the initial one", Cure: "nothing: the nested way is as good", Who: User}
	}
	f := l.Create
	if !f.OK() {
		return f // its sandboxes need a user namespace each
	}
	f.Detail = "uids " + Format(ids.UIDs) + ", gids " + Format(ids.GIDs)
	if n := min(count(ids.UIDs), count(ids.GIDs)); n < wantIDs {
		f.Partial = true
		f.Cause = fmt.Sprintf("the user namespace around us has fewer than %d ids: %d", wantIDs, n)
		f.Cure, f.Who = "start the namespace around us with a range of subordinate ids (unshare --map-root-user --map-auto, podman unshare)", OuterContainer
	}
	return f
}

// held is about the holder's way: one that lives is joined with no helper.
func (l Look) held() Finding {
	f := l.Map
	if f.Works() || l.Expected != Held || !l.Create.OK() {
		return f
	}
	dir, err := RuntimeDir()
	if err != nil {
		return f // none was ever made, or it cannot be used
	}
	if h, found, err := FindHolder(dir); err == nil && found && h.Joinable {
		f.Detail, f.Partial = fmt.Sprintf("the holder runs (pid %d), but no other could be made", h.PID), true
	}
	return f
}

// Expect tells which way "sandbox run" would take, by reading alone; None when
// it would fail. why says why it is not a better one. It decides as the
// constructor in enter.c does, $SANDBOX_USERNS included.
func Expect() (way Way, why string) {
	if _, err := os.Stat("/proc/self/ns/user"); err != nil {
		return None, "no /proc, or a kernel without user namespaces"
	}
	asked := request()
	switch asked {
	case "auto", "single", "subuid":
	default:
		return None, fmt.Sprintf("SANDBOX_USERNS is %q: write auto, subuid or single", asked)
	}
	if os.Geteuid() == 0 {
		switch full := fullMap(); {
		case capable() && full:
			return Root, ""
		case capable() && asked != "single":
			return Nested, ""
		case full:
			return None, onlyHostRoot
		}
	}
	if asked == "single" {
		return Single, "SANDBOX_USERNS is single"
	}
	if os.Geteuid() != 0 || asked == "subuid" {
		if why = lacksRanges(); why == "" {
			return Held, ""
		}
	} else {
		why = "uid 0 without " + rootCaps
	}
	if asked == "subuid" {
		return None, why
	}
	return Single, why
}

func request() string {
	if s := os.Getenv("SANDBOX_USERNS"); s != "" {
		return s
	}
	return "auto"
}

// lacksRanges says what keeps the holder from being tried, "" when nothing
// does: as ranges.c, then the holder's own look.
func lacksRanges() string {
	for _, name := range []string{"newuidmap", "newgidmap"} {
		if f := checkHelper(name); !f.Works() {
			return f.Cause
		}
	}
	for _, path := range []string{"/etc/subuid", "/etc/subgid"} {
		if lines, err := lookupRanges(path); (err != nil || len(lines) == 0) && !subidByName() {
			return fmt.Sprintf("no range for uid %d in %s", os.Geteuid(), path)
		}
	}
	if _, err := subidSource(); errors.Is(err, errNoRanges) {
		return strings.TrimPrefix(err.Error(), errNoRanges.Error()+": ")
	}
	return "" // another error: the holder meets it too, and the run fails
}

// onlyHostRoot is why root without its capabilities gets no sandbox unasked.
const onlyHostRoot = "without " + rootCaps + " root could be given one id only, that of the host's root"

// rootCaps are what root needs for a way of its own.
const rootCaps = "CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID"

// capable: as in enter.c.
func capable() bool {
	const need = 1<<21 | 1<<7 | 1<<6 // CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID
	return capEff()&need == need
}

func capEff() uint64 {
	v, err := strconv.ParseUint(statusField("CapEff"), 16, 64)
	if err != nil {
		return 0
	}
	return v
}

// statusField returns a line of /proc/self/status, "" when it is not there.
func statusField(name string) string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func fullMap() bool {
	ids, err := Current()
	return err == nil && ids.full()
}

// full tells whether these are the maps of the initial user namespace.
func (ids IDs) full() bool {
	all := Range{0, 0, 1<<32 - 1}
	return len(ids.UIDs) == 1 && ids.UIDs[0] == all
}

func count(m []Range) int64 {
	var n int64
	for _, r := range m {
		n += r.Count
	}
	return n
}
