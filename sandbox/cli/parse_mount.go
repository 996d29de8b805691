package cli

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"sandbox.example/sandbox"
)

// mountTypes are all types that --mount knows; whether this version can make
// them is decided when the sandbox is created.
var mountTypes = [...]string{
	string(sandbox.MountBind), string(sandbox.MountTmpfs), string(sandbox.MountCache),
	string(sandbox.MountSecret), string(sandbox.MountSSH),
}

// mountKeys are the keys of --mount with their aliases. The order decides
// which of two equally near keys a typing error proposes.
var mountKeys = [...]flagKey{
	{"type"}, {"src", "source"}, {"dst", "target", "destination"},
	{"ro", "readonly"}, {"rw", "readwrite"}, {"from"}, {"id"}, {"size"},
	{"mode"}, {"uid"}, {"gid"}, {"sharing"}, {"required"}, {"env"},
	{"output"}, {"max-size"}, {"ttl"}, {"reads"},
}

// mountTypeHasKey reports whether a key, by its canonical name, has a meaning
// for a type.
func mountTypeHasKey(t sandbox.MountType, name string) bool {
	switch name {
	case "type", "dst":
		return true
	case "src", "ro", "rw", "from":
		return t == sandbox.MountBind || t == sandbox.MountCache
	case "output":
		return t == sandbox.MountBind
	case "size":
		return t == sandbox.MountTmpfs
	case "mode", "uid", "gid":
		return t != sandbox.MountBind
	case "id":
		return t == sandbox.MountCache || t == sandbox.MountSecret || t == sandbox.MountSSH
	case "sharing", "max-size":
		return t == sandbox.MountCache
	case "ttl":
		return t == sandbox.MountCache || t == sandbox.MountSecret
	case "required":
		return t == sandbox.MountSecret || t == sandbox.MountSSH
	case "env", "reads":
		return t == sandbox.MountSecret
	}
	return false
}

// parseMount parses the value of --mount. Without a type it is a bind, as in
// BuildKit. Relative host paths and targets stay relative.
func parseMount(flag string) (sandbox.Mount, error) {
	m, err := parseMountFields(flag)
	if err == nil {
		err = checkMount(&m)
	}
	if err != nil {
		return sandbox.Mount{}, fmt.Errorf("mount %q: %w", flag, err)
	}
	return m, nil
}

func parseMountFields(flag string) (sandbox.Mount, error) {
	m := sandbox.Mount{Type: sandbox.MountBind}
	fields, err := parseFlagFields(flag, mountKeys[:])
	if err != nil {
		return m, err
	}
	// Keys come in any order, so the type must be known before the others.
	if i := slices.IndexFunc(fields, func(f flagField) bool { return f.name == "type" }); i >= 0 {
		if m.Type, err = parseMountType(fields[i]); err != nil {
			return m, err
		}
	}
	for _, f := range fields {
		if !mountTypeHasKey(m.Type, f.name) {
			return m, fmt.Errorf("unexpected key '%s' for mount type '%s'", f.key, m.Type)
		}
		if err := setMountField(&m, f); err != nil {
			return m, err
		}
	}
	return m, nil
}

func parseMountType(f flagField) (sandbox.MountType, error) {
	word, err := f.text()
	if err != nil {
		return "", err
	}
	if lower := strings.ToLower(word); slices.Contains(mountTypes[:], lower) {
		return sandbox.MountType(lower), nil
	}
	if strings.EqualFold(word, "volume") {
		return "", fmt.Errorf("unsupported mount type %q; type=cache,id=NAME is a directory that outlives the sandbox", word)
	}
	return "", fmt.Errorf("unsupported mount type %q%s", word, didYouMean(word, mountTypes[:]))
}

// setMountField sets the field of m that f is about. What depends on several
// keys is left to checkMount.
func setMountField(m *sandbox.Mount, f flagField) error {
	switch f.name {
	case "type":
		return nil
	case "ro", "rw":
		return setMountAccess(m, f)
	case "required":
		required, err := f.switchedOn()
		m.Required = &required
		return err
	}
	v, err := f.text()
	if err != nil {
		return err
	}
	switch f.name {
	case "src":
		m.Source, err = parseHostPath("source", v)
	case "dst":
		m.Target, err = parseTarget(v)
	case "from":
		m.From, err = parseMountFrom(m.Type, v)
	case "id":
		m.ID, err = parseMountID(m.Type, v)
	case "output":
		m.Output, err = v, checkName("output", v)
	case "size":
		m.Size, err = parseSize(v)
	case "max-size":
		if m.MaxSize, err = parseSize(v); err != nil {
			err = fmt.Errorf("max-%w", err)
		}
	case "mode":
		m.Mode, err = parseMountMode(m.Type, v)
	case "uid":
		m.UID, err = pointerTo(parseNumericID("uid", v))
	case "gid":
		m.GID, err = pointerTo(parseNumericID("gid", v))
	case "sharing":
		m.Sharing, err = parseSharing(v)
	case "ttl":
		if m.TTL, err = parseDuration(v); err != nil {
			err = fmt.Errorf("ttl: %w", err)
		}
	case "env":
		m.Env, err = v, checkVariableName(v)
	case "reads":
		m.Reads, err = parseCount("reads", v)
	}
	return err
}

func setMountAccess(m *sandbox.Mount, f flagField) error {
	yes, err := f.switchedOn()
	if err != nil {
		return err
	}
	if m.Access != "" {
		return errors.New("'ro' and 'rw' are one setting; give one of them")
	}
	m.Access = sandbox.ReadOnly
	if yes == (f.name == "rw") {
		m.Access = sandbox.ReadWrite
	}
	return nil
}

// parseMountFrom parses from=. A host or empty root there is a mistake with a
// simpler spelling.
func parseMountFrom(t sandbox.MountType, v string) (sandbox.Root, error) {
	root, err := parseRootWord(v)
	if err != nil {
		return root, fmt.Errorf("from: %w", err)
	}
	switch {
	case root.Kind == sandbox.RootHost && t == sandbox.MountBind:
		return root, errors.New(`from "host": leave 'from' out; src= is a host path then`)
	case root.Kind == sandbox.RootHost:
		return root, errors.New(`from "host": write from=dir:PATH to seed a cache`)
	case root.Kind == sandbox.RootScratch && t == sandbox.MountBind:
		return root, errors.New(`from "scratch": an empty directory is type=tmpfs`)
	case root.Kind == sandbox.RootScratch:
		return root, errors.New(`from "scratch": leave 'from' out; a cache begins empty`)
	}
	return root, nil
}

// parseMountID checks an id. Those of caches are any text: they become file
// names only through hashing. The others are shown, and end up in paths.
func parseMountID(t sandbox.MountType, v string) (string, error) {
	if t != sandbox.MountCache {
		return v, checkName("id", v)
	}
	if !utf8.ValidString(v) {
		return v, fmt.Errorf("id %q: not valid UTF-8", v) // JSON would make another id of it
	}
	return v, nil
}

func parseMountMode(t sandbox.MountType, v string) (*sandbox.Mode, error) {
	mode, err := sandbox.ParseMode(v)
	if err == nil && (t == sandbox.MountSecret || t == sandbox.MountSSH) {
		err = checkFileMode(mode)
	}
	return pointerTo(mode, err)
}

func parseSharing(v string) (sandbox.Sharing, error) {
	known := []string{
		string(sandbox.SharingShared), string(sandbox.SharingPrivate),
		string(sandbox.SharingLocked), string(sandbox.SharingCOW),
	}
	if lower := strings.ToLower(v); slices.Contains(known, lower) {
		return sandbox.Sharing(lower), nil
	}
	return "", fmt.Errorf("unsupported sharing value %q%s", v, didYouMean(v, known))
}

// checkMount checks what depends on several keys, and fills in the ids that
// follow from the target alone.
func checkMount(m *sandbox.Mount) error {
	switch m.Type {
	case sandbox.MountBind, sandbox.MountTmpfs, sandbox.MountCache:
		if m.Target == "" {
			return errors.New("no target; add dst=PATH")
		}
	case sandbox.MountSecret:
		return checkSecretMount(m)
	case sandbox.MountSSH:
		if m.ID == "" {
			m.ID = "default"
		}
	}
	if m.Type == sandbox.MountBind && m.Source == "" && m.From.Kind == "" {
		return fmt.Errorf("mount %q has no input; add src=PATH or from=dir:PATH", m.Target)
	}
	if m.Type == sandbox.MountCache || m.From.Kind != "" {
		m.Source = cleanSubPath(m.Source)
	}
	return nil
}

func checkSecretMount(m *sandbox.Mount) error {
	if m.ID == "" && m.Target != "" {
		if base := path.Base(m.Target); base != "." && base != ".." {
			m.ID = base
		}
	}
	if m.ID == "" {
		return errors.New("no secret named; add id=NAME")
	}
	if err := checkName("id", m.ID); err != nil {
		return err
	}
	// The default target is a path made of the id, which is any text.
	isPath := m.ID != "." && path.Clean(m.ID) == m.ID && filepath.IsLocal(m.ID)
	if m.Target == "" && m.Env == "" && !isPath {
		return fmt.Errorf("id %q: cannot be a path below /run/secrets; add dst=PATH", m.ID)
	}
	return nil
}

// pointerTo returns a pointer to v, or nil when there is an error.
func pointerTo[T any](v T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return &v, nil
}
