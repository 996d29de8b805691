package sandbox

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxUserID is the largest uid or gid: one more is (uid_t)-1, which means
// "leave it" to the kernel.
const maxUserID = math.MaxUint32 - 1

// UserSpec is what -u says: a user, maybe with a group, each by name or by
// number. The zero UserSpec says nothing, which is the image's user, else 0.
// Make others with ParseUser. It is its String in JSON.
type UserSpec struct {
	user, group userWord
	given       bool
	hasGroup    bool
}

// userWord is a name, or without one a number.
type userWord struct {
	name string
	id   int
}

func (w userWord) String() string {
	if w.name != "" {
		return w.name
	}
	return strconv.Itoa(w.id)
}

// User is a user inside of a root.
type User struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
	// Groups are the supplementary groups: sorted, each once, without GID.
	Groups []int `json:"groups,omitempty"`
	// Name, Home and Shell are those of the entry in /etc/passwd; empty when
	// there is none, when it was not asked, or when they are not what they
	// should be (Home and Shell: absolute paths without control characters).
	Name  string `json:"name,omitempty"`
	Home  string `json:"home,omitempty"`
	Shell string `json:"shell,omitempty"`
}

// ParseUser parses USER or USER:GROUP, each a name or a decimal number. What
// has only digits is always a number, whatever the names in a root are. "" is
// the zero UserSpec.
func ParseUser(s string) (UserSpec, error) {
	if s == "" {
		return UserSpec{}, nil
	}
	userPart, groupPart, hasGroup := strings.Cut(s, ":")
	switch {
	case userPart == "":
		return UserSpec{}, fmt.Errorf("user %q: no user before the colon", s)
	case hasGroup && groupPart == "":
		return UserSpec{}, fmt.Errorf("user %q: no group after the colon", s)
	}
	u := UserSpec{given: true, hasGroup: hasGroup}
	var err error
	if u.user, err = parseUserWord(userPart); err != nil {
		return UserSpec{}, fmt.Errorf("user %q: %w", s, err)
	}
	if !hasGroup {
		return u, nil
	}
	if u.group, err = parseUserWord(groupPart); err != nil {
		return UserSpec{}, fmt.Errorf("user %q: group: %w", s, err)
	}
	return u, nil
}

func parseUserWord(s string) (userWord, error) {
	if strings.Trim(s, "0123456789") == "" {
		id, ok := parseUserID(s)
		if !ok {
			return userWord{}, fmt.Errorf("id %s: not from 0 to %d", s, maxUserID)
		}
		return userWord{id: id}, nil
	}
	if !isUserName(s) {
		return userWord{}, fmt.Errorf("name %q: not a name; write a name, a number, or one of each with a colon between", s)
	}
	return userWord{name: s}, nil
}

// parseUserID parses a decimal number without sign or blanks.
func parseUserID(s string) (int, bool) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	id, err := strconv.ParseUint(s, 10, 63)
	if err != nil || id > maxUserID {
		return 0, false
	}
	return int(id), true
}

// isUserName reports whether s may name a user or group. Lines that begin
// with + or - have a meaning to NIS, with # they are comments.
func isUserName(s string) bool {
	if s == "" || len(s) > 255 || !utf8.ValidString(s) || strings.ContainsAny(s[:1], "+-#") {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return strings.ContainsRune(":,/", r) || unicode.IsSpace(r) || !unicode.IsPrint(r)
	}) < 0
}

// IsZero reports whether u says nothing.
func (u UserSpec) IsZero() bool { return !u.given }

// String returns u as ParseUser takes it, numbers without leading zeros.
func (u UserSpec) String() string {
	switch {
	case !u.given:
		return ""
	case u.hasGroup:
		return u.user.String() + ":" + u.group.String()
	default:
		return u.user.String()
	}
}

// MarshalText returns u as String does.
func (u UserSpec) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText sets u to what ParseUser makes of text.
func (u *UserSpec) UnmarshalText(text []byte) error {
	parsed, err := ParseUser(string(text))
	if err != nil {
		return err
	}
	*u = parsed
	return nil
}

// Resolve returns the user that u is in the root behind the directory root,
// which may be opened with O_PATH and stays the caller's. Two numbers are
// taken as they are, and nothing is read; LookupHome finds their home.
// Otherwise /etc/passwd and, where groups matter, /etc/group below root are
// read: regular files of at most 10 MiB, or none. A number without an entry
// has gid 0 and no groups; a name without an entry is an error. A group that
// is given is the only one. Whether the ids are mapped is not looked at.
func (u UserSpec) Resolve(root *os.File) (User, error) {
	if u.hasGroup && u.user.name == "" && u.group.name == "" {
		return User{UID: u.user.id, GID: u.group.id}, nil
	}
	passwd, err := readUserFile(root, "etc/passwd")
	if err != nil {
		return User{}, err
	}
	user, found, err := findUser(passwd, u.user)
	if err != nil {
		return User{}, err
	}
	if !found {
		if u.user.name != "" {
			return User{}, fmt.Errorf("no user %q in /etc/passwd of the root", u.user.name)
		}
		user = User{UID: u.user.id}
	}
	switch {
	case u.hasGroup && u.group.name == "":
		user.GID = u.group.id
		return user, nil
	case !u.hasGroup && !found:
		return user, nil // nobody is a member without a name
	}
	groups, err := readUserFile(root, "etc/group")
	if err != nil {
		return User{}, err
	}
	if u.hasGroup {
		user.GID, err = findGroup(groups, u.group.name)
		return user, err
	}
	user.Groups, err = findMemberships(groups, user)
	return user, err
}

// LookupHome returns the home of uid in /etc/passwd below root, or "" if it
// has none there. It reads the file as Resolve does.
func LookupHome(root *os.File, uid int) (string, error) {
	passwd, err := readUserFile(root, "etc/passwd")
	if err != nil {
		return "", err
	}
	user, _, err := findUser(passwd, userWord{id: uid})
	return user.Home, err
}
