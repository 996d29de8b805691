package userns

import (
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"strings"

	"github.com/rootless-containers/rootlesskit/v3/pkg/parent"
	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools"
)

// subidSource chooses where rootlesskit looks for ranges. Its "auto" runs
// getsubids four times; the files come first and getsubids only when they have
// nothing for us.
func subidSource() (parent.SubidSource, error) {
	for _, prog := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(prog); err != nil {
			return "", fmt.Errorf("%w: %s is not installed", errNoRanges, prog)
		}
	}
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoRanges, err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return "", err
	}
	uids, gids, err := idtools.GetSubIDRanges(uid, u.Username)
	if err == nil && len(uids) > 0 && len(gids) > 0 {
		return parent.SubidSourceStatic, nil
	}
	missing := "getsubids is not installed"
	if _, err := exec.LookPath("getsubids"); err == nil {
		if missing = asksInVain(u.Username); missing == "" {
			return parent.SubidSourceDynamic, nil
		}
	}
	return "", fmt.Errorf("%w: no range for %s in /etc/subuid and /etc/subgid, and %s", errNoRanges, u.Username, missing)
}

// asksInVain asks getsubids for both kinds of ranges; it returns what it does
// not have, "" when it has both.
func asksInVain(name string) string {
	for _, kind := range [][]string{nil, {"-g"}} {
		args := append(kind, name)
		out, err := exec.Command("getsubids", args...).Output()
		if err != nil {
			return fmt.Sprintf("getsubids %s: %v", strings.Join(args, " "), err)
		}
		if len(out) == 0 {
			return fmt.Sprintf("getsubids %s has none", strings.Join(args, " "))
		}
	}
	return ""
}
