package sandbox

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MountType is the kind of a mount, as `--mount type=` spells it.
type MountType string

// The mount types. A Mount has exactly one of them.
const (
	MountBind   MountType = "bind"   // a directory or file of the host, or of From
	MountTmpfs  MountType = "tmpfs"  // memory, gone at release
	MountCache  MountType = "cache"  // a directory that outlives the sandbox
	MountSecret MountType = "secret" // a file that exists only in our memory
	MountSSH    MountType = "ssh"    // the socket of a filtering ssh agent
)

// Sharing says how a cache meets its other users.
type Sharing string

// The sharing modes of a cache; "" is SharingShared.
const (
	SharingShared  Sharing = "shared"
	SharingPrivate Sharing = "private"
	SharingLocked  Sharing = "locked"
	SharingCOW     Sharing = "cow"
)

// Access says whether a mount may be written to.
type Access string

// The accesses; "" is the default of the mount's type, see Mount.Writable.
const (
	ReadOnly  Access = "ro"
	ReadWrite Access = "rw"
)

// Mode is the permission bits of a mount's root or file, at most 07777.
// It is octal in text and JSON ("0755"), as chmod writes it.
type Mode uint32

// ParseMode parses octal permission bits such as 755, 0755 or 1777.
func ParseMode(s string) (Mode, error) {
	mode, err := strconv.ParseUint(s, 8, 32)
	if err != nil || mode > 0o7777 || strings.ContainsAny(s, "+_") {
		return 0, fmt.Errorf("mode %q: not an octal mode such as 0755", s)
	}
	return Mode(mode), nil
}

// String returns m in octal, with at least four digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText returns m as String does.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText sets m to what ParseMode makes of text.
func (m *Mode) UnmarshalText(text []byte) error {
	mode, err := ParseMode(string(text))
	if err != nil {
		return err
	}
	*m = mode
	return nil
}

// Mount is the wish for one mount, of any type: what the user asked for, not
// yet what the kernel will be told. Every field but Type and Target may be
// zero; its comment says for which types it has a meaning, and its default.
type Mount struct {
	Type MountType `json:"type"`

	// Target is where the mount appears: a cleaned path, without control
	// characters, never "/". A relative one is below the working directory
	// of the process and may still begin with "..": whoever joins it must
	// look at the result again. Default: /run/secrets/ID for a secret without
	// Env (with Env: no file), /run/sandbox/ssh_agent.N for ssh; the other
	// types need one.
	Target string `json:"target,omitempty"`

	// Source is, for a bind without From, a host path exactly as typed, maybe
	// relative to the caller's working directory. For a bind with From and for
	// a cache it is a sub-path inside: cleaned, without a leading slash, never
	// climbing; "" is the whole.
	Source string `json:"source,omitempty"`
	// From is what a bind shows, or what a new cache is seeded with.
	// Default: the host, and nothing.
	From Root `json:"from,omitzero"`
	// Access is for bind (default ReadOnly) and cache (default ReadWrite).
	Access Access `json:"access,omitempty"`
	// Throwaway sends the writes of a bind to a layer that nobody keeps.
	// A writable bind with From behaves so without it, unless Output is set.
	Throwaway bool `json:"throwaway,omitempty"`
	// Output is the name under which a bind's content is kept after the run.
	Output string `json:"output,omitempty"`

	// Size is the most that a tmpfs may hold, in bytes. Default: the kernel's.
	Size int64 `json:"sizeBytes,omitempty"`
	// Mode is for all types but bind. Default: tmpfs 1777, cache 0755,
	// secret 0400, ssh 0600.
	Mode *Mode `json:"mode,omitempty"`
	// UID and GID own the root or file, as numbers inside the sandbox; for all
	// types but bind. Default: 0 for a tmpfs, else the process's user.
	UID *int `json:"uid,omitempty"`
	GID *int `json:"gid,omitempty"`

	// ID names a cache, secret or key. Default: the joined and cleaned target
	// for a cache, the base name of the target for a secret, "default" for ssh.
	// The id of a cache may be any text and is never a file name.
	ID string `json:"id,omitempty"`
	// Sharing is for caches. Default: SharingShared.
	Sharing Sharing `json:"sharing,omitempty"`
	// MaxSize is the most that a cache may hold, in bytes. Default: what the
	// cache had before, else no limit.
	MaxSize int64 `json:"maxSizeBytes,omitempty"`
	// TTL empties a cache not used for so long, or ends a secret that long
	// after its creation. Default: never.
	TTL time.Duration `json:"ttlNanoseconds,omitempty"`

	// Required makes a missing secret or key an error; if false, there is no
	// mount then. Default (nil): true.
	Required *bool `json:"required,omitempty"`
	// Env is the variable that gets the value of a secret.
	Env string `json:"env,omitempty"`
	// Reads is how often a secret may be opened in all. Default: no limit.
	Reads int `json:"reads,omitempty"`
}

// Writable reports whether processes may write to the mount, be it to the
// source itself or to a layer above it.
func (m Mount) Writable() bool {
	if m.Access != "" {
		return m.Access == ReadWrite
	}
	return m.Throwaway || m.Type == MountTmpfs || m.Type == MountCache
}

// String returns m as the value of the --mount flag that asks for it, in one
// fixed order of keys. Throwaway has no key of its own: a bind with it is
// returned as the value of -v, "SRC:DST:O".
func (m Mount) String() string {
	if m.Type == MountBind && m.Throwaway {
		return m.Source + ":" + m.Target + ":O"
	}
	var b strings.Builder
	add := func(key, value string) {
		if value == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		field := key + "=" + value
		if strings.ContainsAny(field, ",\"") {
			field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
		}
		b.WriteString(field)
	}
	number := func(key string, n int64) {
		if n != 0 {
			add(key, strconv.FormatInt(n, 10))
		}
	}
	add("type", string(m.Type))
	add("id", m.ID)
	add("from", m.From.String())
	add("src", m.Source)
	add("dst", m.Target)
	if m.Access != "" {
		add(string(m.Access), "true")
	}
	add("output", m.Output)
	number("size", m.Size)
	if m.Mode != nil {
		add("mode", m.Mode.String())
	}
	if m.UID != nil {
		add("uid", strconv.Itoa(*m.UID))
	}
	if m.GID != nil {
		add("gid", strconv.Itoa(*m.GID))
	}
	add("sharing", string(m.Sharing))
	number("max-size", m.MaxSize)
	if m.TTL != 0 {
		add("ttl", m.TTL.String())
	}
	if m.Required != nil {
		add("required", strconv.FormatBool(*m.Required))
	}
	add("env", m.Env)
	number("reads", int64(m.Reads))
	return b.String()
}
