package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sandbox.example/sandbox"
)

// parseCase is one input of a parser: what it gives, or what its error says.
type parseCase[T any] struct {
	name, in string
	want     T
	err      string
}

func runParseCases[T any](t *testing.T, parse func(string) (T, error), tests []parseCase[T]) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(tt.in)
			if tt.err != "" {
				checkParseError(t, tt.in, err, tt.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseVolume(t *testing.T) {
	bind := func(src, dst string, access sandbox.Access) sandbox.Mount {
		return sandbox.Mount{Type: sandbox.MountBind, Source: src, Target: dst, Access: access}
	}
	runParseCases(t, parseVolume, []parseCase[sandbox.Mount]{
		{name: "read-only unless said", in: "/a:/b", want: bind("/a", "/b", sandbox.ReadOnly)},
		{name: "ro", in: "/a:/b:ro", want: bind("/a", "/b", sandbox.ReadOnly)},
		{name: "rw", in: "/a:/b/../c:rw", want: bind("/a", "/c", sandbox.ReadWrite)},
		{name: "throw-away", in: "/a:/b:O", want: sandbox.Mount{Type: sandbox.MountBind, Source: "/a", Target: "/b", Throwaway: true}},
		{name: "relative", in: "./a:b", want: bind("./a", "b", sandbox.ReadOnly)},
		{name: "relative with a slash inside", in: "a/b:/b", want: bind("a/b", "/b", sandbox.ReadOnly)},
		{name: "this directory", in: ".:/src", want: bind(".", "/src", sandbox.ReadOnly)},
		{name: "comma in a path", in: "/a,b:/c", want: bind("/a,b", "/c", sandbox.ReadOnly)},
		{name: "name", in: "data:/x", err: `volume "data:/x": source "data" is not a path; write ./data for a host path, or --mount type=cache,id=data,dst=/x for a directory that outlives the sandbox`},
		{name: "name with a blank", in: "my data:/x", err: `--mount 'type=cache,id=my data,dst=/x'`},
		{name: "no target", in: "/x", err: `volume "/x": not SRC:DST[:ro|rw|O]`},
		{name: "empty", in: "", err: `volume "": not SRC:DST`},
		{name: "empty source", in: ":/x", err: "empty source"},
		{name: "empty target", in: "/x:", err: `invalid mount target ""`},
		{name: "root as target", in: "/x:/", err: `invalid mount target "/"`},
		{name: "colons", in: "/a:b:/c:ro", err: "a path with a colon needs --mount type=bind,src=PATH,dst=PATH"},
		{name: "SELinux", in: "/a:/b:z", err: `unsupported option "z": SELinux labels are never changed`},
		{name: "unknown option", in: "/a:/b:o", err: `unsupported option "o": not ro, rw or O`},
		{name: "empty option", in: "/a:/b:", err: `unsupported option "": not ro, rw or O`},
		{name: "two options", in: "/a:/b:ro,rw", err: `options "ro,rw" exclude each other`},
		{name: "newline", in: "/a:/b\n:ro", err: `invalid mount target "/b\n"`},
	})
	m, err := parseVolume("./a:/b:O")
	if err != nil || m.String() != "./a:/b:O" || !m.Writable() {
		t.Errorf("./a:/b:O is %q, %v", m, err)
	}
}

func TestParseTmpfs(t *testing.T) {
	runParseCases(t, parseTmpfs, []parseCase[sandbox.Mount]{
		{name: "target", in: "/t", want: sandbox.Mount{Type: sandbox.MountTmpfs, Target: "/t"}},
		{name: "options", in: "/t:rw,nosuid,size=64m,mode=700,uid=1,gid=2,exec",
			want: sandbox.Mount{Type: sandbox.MountTmpfs, Target: "/t", Size: 64 << 20, Mode: new(sandbox.Mode(0o700)), UID: new(1), GID: new(2)}},
		{name: "noexec", in: "/t:noexec", err: `tmpfs "/t:noexec": option "noexec" is not supported: programs may be run from a tmpfs`},
		{name: "suid", in: "/t:suid", err: `option "suid" is not supported: mounts are always nosuid,nodev`},
		{name: "ro", in: "/t:ro", err: `option "ro": an empty tmpfs that nobody can write to is of no use`},
		{name: "unknown", in: "/t:sise=1", err: `unsupported option "sise", did you mean "size"?; known are`},
		{name: "no value", in: "/t:size", err: `option "size": write size=VALUE`},
		{name: "bad value", in: "/t:size=10%", err: `size "10%": percents are not supported`},
		{name: "duplicate", in: "/t:size=1m,size=2m", err: `duplicate option "size"`},
		{name: "empty option", in: "/t:", err: `unsupported option ""`},
		{name: "root", in: "/", err: `tmpfs "/": invalid mount target "/"`},
		{name: "empty", in: "", err: `tmpfs "": invalid mount target ""`},
	})
}

func TestParseSecret(t *testing.T) {
	runParseCases(t, parseSecret, []parseCase[secretSource]{
		{name: "id alone", in: "id=tok", want: secretSource{ID: "tok"}},
		{name: "file", in: "ID=tok,source=./t", want: secretSource{ID: "tok", Src: "./t"}},
		{name: "variable", in: "env=TOK,id=tok", want: secretSource{ID: "tok", Env: "TOK"}},
		{name: "stdin", in: "id=tok,fd=0", want: secretSource{ID: "tok", FD: new(0)}},
		{name: "descriptor", in: "id=tok,fd=3", want: secretSource{ID: "tok", FD: new(3)}},
		{name: "id is any text", in: "id=../x", want: secretSource{ID: "../x"}},
		{name: "stdout", in: "id=tok,fd=1", err: `secret "id=tok,fd=1": fd "1": not 0 or a number from 3 to 1023`},
		{name: "no id", in: "src=./t", err: `secret "src=./t": no secret named; add id=NAME`},
		{name: "two sources", in: "id=a,src=b,env=C", err: "more than one source; give one of src=, env= and fd="},
		{name: "only a name", in: "tok", err: `secret "tok": not id=NAME[,src=PATH|env=VAR|fd=N]; did you mean 'id=tok'?`},
		{name: "unknown key", in: "id=a,scr=b", err: `unexpected key 'scr' in 'scr=b', did you mean 'src'?`},
		{name: "bad variable", in: "id=a,env=B C", err: `variable name "B"`},
		{name: "empty source", in: "id=a,src=", err: "empty value for key 'src'"},
		{name: "duplicate", in: "id=a,id=b", err: "duplicate key 'id'"},
		{name: "empty", in: "", err: `secret "": empty value`},
	})
}

func TestParseSSH(t *testing.T) {
	runParseCases(t, parseSSH, []parseCase[sshSource]{
		{name: "default", in: "default", want: sshSource{ID: "default"}},
		{name: "socket", in: "work=/run/a.sock", want: sshSource{ID: "work", Path: "/run/a.sock"}},
		{name: "all", in: `default,key=a,KEY=./b,keys=SHA256:x=,"keys=me, myself",max-signs=3`,
			want: sshSource{ID: "default", KeyFiles: []string{"a", "./b"}, Keys: []string{"SHA256:x=", "me, myself"}, MaxSigns: 3}},
		{name: "id missing", in: "key=./a", err: `ssh "key=./a": the id comes first; write default,key=./a`},
		{name: "buildx's second path", in: "default=/a,/b", err: `unexpected '/b'; write key=/b for one more key file`},
		{name: "unknown key", in: "default,max-sign=3", err: `unexpected key 'max-sign' in 'max-sign=3', did you mean "max-signs"?`},
		{name: "max-signs", in: "default,max-signs=0", err: `max-signs "0": not a number from 1`},
		{name: "max-signs twice", in: "default,max-signs=1,max-signs=1", err: "duplicate key 'max-signs'"},
		{name: "empty path", in: "default=", err: `socket or key file "": it is empty`},
		{name: "empty id", in: "=/a", err: "id is empty"},
		{name: "empty key", in: "default,key=", err: `key file "": it is empty`},
		{name: "empty", in: "", err: `ssh "": empty value`},
	})
}

func TestParseGrants(t *testing.T) {
	grant := func(kind sandbox.GrantKind) sandbox.Grant { return sandbox.Grant{Kind: kind} }
	loopback := func(ports ...sandbox.PortRange) sandbox.Grant {
		return sandbox.Grant{Kind: sandbox.GrantHostLoopback, Ports: ports}
	}
	runParseCases(t, parseGrants, []parseCase[[]sandbox.Grant]{
		{name: "one", in: "network.host", want: []sandbox.Grant{grant(sandbox.GrantNetworkHost)}},
		{name: "list", in: "nesting,security.insecure,ssh", want: []sandbox.Grant{grant(sandbox.GrantNesting), grant(sandbox.GrantSecurityInsecure), grant(sandbox.GrantSSH)}},
		{name: "all of loopback", in: "host-loopback", want: []sandbox.Grant{loopback()}},
		{name: "ports", in: "host-loopback=5432,8000-8010,nesting", want: []sandbox.Grant{
			loopback(sandbox.PortRange{First: 5432, Last: 5432}, sandbox.PortRange{First: 8000, Last: 8010}), grant(sandbox.GrantNesting)}},
		{name: "secret and path", in: `secret=tok,"host.write=/a,b"`, want: []sandbox.Grant{
			{Kind: sandbox.GrantSecret, Value: "tok"}, {Kind: sandbox.GrantHostWrite, Value: "/a,b"}}},
		{name: "near", in: "network.hosts", err: `allow "network.hosts": unknown grant "network.hosts", did you mean "network.host"?`},
		{name: "part", in: "insecure", err: `unknown grant "insecure", did you mean "security.insecure"?`},
		{name: "far", in: "all", err: `unknown grant "all"`},
		{name: "value where none belongs", in: "nesting=1", err: "nesting takes no value"},
		{name: "port without loopback", in: "80", err: `unknown grant "80"`},
		{name: "ports after all", in: "host-loopback,80", err: `unknown grant "80"`},
		{name: "port 0", in: "host-loopback=0", err: `port "0": not a port or a range`},
		{name: "empty ports", in: "host-loopback=", err: `port "": not a port`},
		{name: "large port", in: "host-loopback=80,65536", err: `port "65536": not a port`},
		{name: "backward range", in: "host-loopback=9-8", err: `port "9-8"`},
		{name: "secret without id", in: "secret", err: "write secret=ID"},
		{name: "empty path", in: "host.write=", err: `host.write "": it is empty`},
		{name: "empty", in: "", err: `allow "": empty value`},
		{name: "empty word", in: "ssh,,nesting", err: "empty field"},
	})
	for _, flag := range []string{"network.host", "host-loopback", "host-loopback=1,3-65535", `"host.write=/a,""b"`, "secret=x"} {
		grants, err := parseGrants(flag)
		if err != nil || len(grants) != 1 || grants[0].String() != flag {
			t.Errorf("%s parses to %v, %v", flag, grants, err)
		}
	}
}

func TestParseRoot(t *testing.T) {
	runParseCases(t, parseRoot, []parseCase[sandbox.Root]{
		{name: "host", in: "host", want: sandbox.Root{Kind: sandbox.RootHost}},
		{name: "scratch", in: "scratch", want: sandbox.Root{Kind: sandbox.RootScratch}},
		{name: "stdin", in: "-", want: sandbox.Root{Kind: sandbox.RootTar, Path: "-"}},
		{name: "dir", in: "dir:root", want: sandbox.Root{Kind: sandbox.RootDir, Path: "root"}},
		{name: "dir with a colon", in: "dir:a:b", want: sandbox.Root{Kind: sandbox.RootDir, Path: "a:b"}},
		{name: "relative", in: "./root", want: sandbox.Root{Kind: sandbox.RootDir, Path: "./root"}},
		{name: "above", in: "../x", want: sandbox.Root{Kind: sandbox.RootDir, Path: "../x"}},
		{name: "dot", in: ".", want: sandbox.Root{Kind: sandbox.RootDir, Path: "."}},
		{name: "absolute", in: "/srv/a:b", want: sandbox.Root{Kind: sandbox.RootDir, Path: "/srv/a:b"}},
		{name: "tar", in: "tar:a.tar.zst", want: sandbox.Root{Kind: sandbox.RootTar, Path: "a.tar.zst"}},
		{name: "command", in: "ls", err: `no root "ls" (images by name come later); for a command write "sandbox run -- ls", for a directory "sandbox run ./ls -- …"`},
		{name: "image with tag", in: "alpine:3", err: `root "alpine:3": images by name come later; for a command write "sandbox run -- alpine:3"`},
		{name: "image with slash", in: "library/alpine", err: `for a directory "sandbox run ./library/alpine -- …"`},
		{name: "name with a blank", in: "my root", err: `"sandbox run './my root' -- …"`},
		{name: "oci", in: "oci:layout:v1", err: `root "oci:layout:v1": image roots come later; use host, dir:PATH, tar:PATH, - or scratch`},
		{name: "archive", in: "docker-archive:a.tar", err: "image roots come later"},
		{name: "image", in: "image:alpine", err: "image roots come later"},
		{name: "ref", in: "ref:base", err: "image roots come later"},
		{name: "empty", in: "", err: `root "": it is empty`},
		{name: "empty dir", in: "dir:", err: `root "dir:": nothing follows the colon`},
		{name: "only a tag", in: "oci::v1", err: `root "oci::v1": no directory before the tag`},
		{name: "NUL", in: "/a\x00", err: "it has a NUL byte"},
		{name: "newline", in: "l\ns", err: `root "l\ns": it has a control character`},
	})
	for word, want := range map[string]sandbox.Root{
		"oci:a:b:v1":             {Kind: sandbox.RootOCI, Path: "a:b", Tag: "v1"},
		"oci:/a:b/c":             {Kind: sandbox.RootOCI, Path: "/a:b/c"},
		"oci:a:b/":               {Kind: sandbox.RootOCI, Path: "a:b/"},
		"oci:a":                  {Kind: sandbox.RootOCI, Path: "a"},
		"docker-archive:./a.tar": {Kind: sandbox.RootDockerArchive, Path: "./a.tar"},
		"image:alpine:3":         {Kind: sandbox.RootImage, Name: "alpine:3"},
		"ref:base":               {Kind: sandbox.RootRef, Name: "base"},
		"-":                      {Kind: sandbox.RootTar, Path: "-"},
	} {
		if got, err := parseRootWord(word); err != nil || got != want || got.String() != word {
			t.Errorf("parseRootWord(%q) = %#v (%q), %v", word, got, got, err)
		}
	}
}

func TestParseFD(t *testing.T) {
	runParseCases(t, parseFD, []parseCase[passedFD]{
		{name: "number", in: "3", want: passedFD{Number: 3}},
		{name: "largest", in: "1023", want: passedFD{Number: 1023}},
		{name: "path", in: "9=./f=g", want: passedFD{Number: 9, Path: "./f=g"}},
		{name: "stdin", in: "0", err: `fd "0": number "0" is not from 3 to 1023; write N or N=PATH`},
		{name: "too large", in: "1024", err: "is not from 3 to 1023"},
		{name: "negative", in: "-1", err: "is not from 3 to 1023"},
		{name: "word", in: "x", err: "is not from 3 to 1023"},
		{name: "empty", in: "", err: `number "" is not from 3`},
		{name: "empty path", in: "3=", err: `fd "3=": path "": it is empty`},
	})
}

func TestParseUlimit(t *testing.T) {
	runParseCases(t, parseUlimit, []parseCase[sandbox.Rlimit]{
		{name: "both", in: "nofile=1024:2048", want: sandbox.Rlimit{Name: "nofile", Soft: 1024, Hard: 2048}},
		{name: "one", in: "core=0", want: sandbox.Rlimit{Name: "core"}},
		{name: "none", in: "nproc=-1", want: sandbox.Rlimit{Name: "nproc", Soft: sandbox.RlimitInfinity, Hard: sandbox.RlimitInfinity}},
		{name: "hard none", in: "nproc=5:-1", want: sandbox.Rlimit{Name: "nproc", Soft: 5, Hard: sandbox.RlimitInfinity}},
		{name: "soft above hard", in: "nofile=3:2", err: `ulimit "nofile=3:2": soft limit 3 is more than the hard limit 2`},
		{name: "soft none", in: "nofile=-1:2", err: "soft limit -1 is more than the hard limit 2"},
		{name: "unknown", in: "nofiles=1", err: `unknown limit "nofiles", did you mean "nofile"?`},
		{name: "no value", in: "nofile", err: "not NAME=SOFT[:HARD], such as nofile=1024:2048"},
		{name: "empty value", in: "nofile=", err: `value "": not a number`},
		{name: "empty hard", in: "nofile=1:", err: `value "": not a number`},
		{name: "three values", in: "nofile=1:2:3", err: `value "2:3": not a number`},
		{name: "minus two", in: "nofile=-2", err: `value "-2": not a number, or -1 for no limit`},
		{name: "too large", in: "nofile=18446744073709551615", err: "not a number"},
	})
}

func TestParseAddHost(t *testing.T) {
	entry := func(flag string) string {
		e, err := parseAddHost(flag)
		if err != nil {
			return err.Error()
		}
		return e.IP.String() + "\t" + e.Name
	}
	tests := []struct{ name, in, want string }{
		{"IPv4", "db:10.0.0.1", "10.0.0.1\tdb"},
		{"newer docker", "db=10.0.0.1", "10.0.0.1\tdb"},
		{"IPv6", "db:::1", "::1\tdb"},
		{"IPv6 in brackets", "db:[fe80::1]", "fe80::1\tdb"},
		{"IPv6 in brackets, newer docker", "db=[::1]", "::1\tdb"},
		{"dotted name", "my_db-1.example.org:1.2.3.4", "1.2.3.4\tmy_db-1.example.org"},
		{"no address", "db", `host "db": not NAME:IP`},
		{"empty address", "db:", `host "db:": address "": not an IP address`},
		{"empty name", ":1.2.3.4", `host ":1.2.3.4": empty name; write NAME:IP`},
		{"gateway", "db:host-gateway", `host "db:host-gateway": host-gateway is not supported; write an IP address`},
		{"bracket open", "db:[::1", `host "db:[::1": address "[::1": not an IP address`},
		{"IPv4 in brackets", "db:[1.2.3.4]", `host "db:[1.2.3.4]": address "[1.2.3.4]": not an IP address`},
		{"zone", "db:fe80::1%eth0", `host "db:fe80::1%eth0": address "fe80::1%eth0": not an IP address`},
		{"second line", "a\n1.2.3.4 b:::1", `host "a\n1.2.3.4 b:::1": name "a\n1.2.3.4 b": not a host name of letters, digits, dots, dashes and underscores`},
		{"blank", "a b:::1", `host "a b:::1": name "a b": not a host name of letters, digits, dots, dashes and underscores`},
		{"comment", "#a:::1", `host "#a:::1": name "#a": not a host name of letters, digits, dots, dashes and underscores`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := entry(tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for _, name := range []string{"-a", "a-", "a..b", ".a", "a.", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a", "ä"} {
		if err := checkHostName(name); err == nil {
			t.Errorf("host name %q is accepted", name)
		}
	}
}
