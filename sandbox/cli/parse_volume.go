package cli

import (
	"errors"
	"fmt"
	"strings"

	"sandbox.example/sandbox"
)

// parseVolume parses the value of -v: SRC:DST[:ro|rw|O], read-only unless
// said. O sends writes to a layer that is thrown away.
func parseVolume(flag string) (sandbox.Mount, error) {
	m, err := parseVolumeParts(flag)
	if err != nil {
		return sandbox.Mount{}, fmt.Errorf("volume %q: %w", flag, err)
	}
	return m, nil
}

func parseVolumeParts(flag string) (sandbox.Mount, error) {
	m := sandbox.Mount{Type: sandbox.MountBind, Access: sandbox.ReadOnly}
	parts := strings.Split(flag, ":")
	switch {
	case len(parts) < 2:
		return m, errors.New("not SRC:DST[:ro|rw|O]")
	case len(parts) > 3:
		return m, errors.New("too many colons; a path with a colon needs --mount type=bind,src=PATH,dst=PATH")
	case parts[0] == "":
		return m, errors.New("empty source; write SRC:DST")
	}
	var err error
	if m.Target, err = parseTarget(parts[1]); err != nil {
		return m, err
	}
	if m.Source, err = parseHostPath("source", parts[0]); err != nil {
		return m, err
	}
	if !strings.Contains(m.Source, "/") && !isPathWord(m.Source) {
		cache := sandbox.Mount{Type: sandbox.MountCache, ID: m.Source, Target: m.Target}
		return m, fmt.Errorf("source %q is not a path; write %s for a host path, or --mount %s for a directory that outlives the sandbox",
			m.Source, shellWord("./"+m.Source), shellWord(cache.String()))
	}
	if len(parts) < 3 {
		return m, nil
	}
	return m, setVolumeOptions(&m, parts[2])
}

func setVolumeOptions(m *sandbox.Mount, options string) error {
	for i, option := range strings.Split(options, ",") {
		switch option {
		case "ro":
		case "rw":
			m.Access = sandbox.ReadWrite
		case "O":
			m.Access, m.Throwaway = "", true
		case "z", "Z":
			return fmt.Errorf("unsupported option %q: SELinux labels are never changed; leave it out", option)
		default:
			return fmt.Errorf("unsupported option %q: not ro, rw or O", option)
		}
		if i > 0 {
			return fmt.Errorf("options %q exclude each other: give one of ro, rw and O", options)
		}
	}
	return nil
}

// parseTmpfs parses the value of --tmpfs: DST[:OPTION,…], with docker's
// options as far as they have a meaning here.
func parseTmpfs(flag string) (sandbox.Mount, error) {
	m := sandbox.Mount{Type: sandbox.MountTmpfs}
	target, options, hasOptions := strings.Cut(flag, ":")
	var err error
	if m.Target, err = parseTarget(target); err == nil && hasOptions {
		err = setTmpfsOptions(&m, options)
	}
	if err != nil {
		return sandbox.Mount{}, fmt.Errorf("tmpfs %q: %w", flag, err)
	}
	return m, nil
}

func setTmpfsOptions(m *sandbox.Mount, options string) error {
	seen := make(map[string]bool)
	for option := range strings.SplitSeq(options, ",") {
		key, v, hasValue := strings.Cut(option, "=")
		if seen[key] {
			return fmt.Errorf("duplicate option %q", key)
		}
		seen[key] = true
		if !hasValue {
			if err := checkTmpfsWord(option); err != nil {
				return err
			}
			continue
		}
		var err error
		switch key {
		case "size":
			m.Size, err = parseSize(v)
		case "mode":
			m.Mode, err = parseMountMode(m.Type, v)
		case "uid":
			m.UID, err = pointerTo(parseNumericID("uid", v))
		case "gid":
			m.GID, err = pointerTo(parseNumericID("gid", v))
		default:
			err = unsupportedTmpfsOption(key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkTmpfsWord accepts the words that say what is so anyway. A word that
// asks for a protection that we do not give must not be passed over.
func checkTmpfsWord(word string) error {
	switch word {
	case "rw", "nosuid", "nodev", "exec":
		return nil
	case "ro":
		return errors.New(`option "ro": an empty tmpfs that nobody can write to is of no use; use --mount type=bind with ro`)
	case "noexec":
		return errors.New(`option "noexec" is not supported: programs may be run from a tmpfs; leave it out`)
	case "suid", "dev":
		return fmt.Errorf("option %q is not supported: mounts are always nosuid,nodev", word)
	case "size", "mode", "uid", "gid":
		return fmt.Errorf("option %q: write %s=VALUE", word, word)
	}
	return unsupportedTmpfsOption(word)
}

func unsupportedTmpfsOption(option string) error {
	return fmt.Errorf("unsupported option %q%s; known are size=, mode=, uid= and gid=", option,
		didYouMean(option, []string{"size", "mode", "uid", "gid", "nosuid", "nodev", "exec", "rw"}))
}
