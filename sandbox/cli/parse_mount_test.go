package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sandbox.example/sandbox"
)

func TestParseMount(t *testing.T) {
	tests := []struct {
		name, flag string
		want       sandbox.Mount
	}{
		{"bind", "type=bind,src=/data,dst=/d",
			sandbox.Mount{Type: sandbox.MountBind, Source: "/data", Target: "/d"}},
		{"bind without type", "src=/data,dst=/d",
			sandbox.Mount{Type: sandbox.MountBind, Source: "/data", Target: "/d"}},
		{"long aliases, any order and case", "READWRITE,Destination=/d,SOURCE=../x/../y,TYPE=BIND",
			sandbox.Mount{Type: sandbox.MountBind, Source: "../x/../y", Target: "/d", Access: sandbox.ReadWrite}},
		{"type last", "mode=0700,target=/t,size=1,type=tmpfs",
			sandbox.Mount{Type: sandbox.MountTmpfs, Target: "/t", Size: 1, Mode: new(sandbox.Mode(0o700))}},
		{"ro", "src=a,dst=/d,ro", sandbox.Mount{Type: sandbox.MountBind, Source: "a", Target: "/d", Access: sandbox.ReadOnly}},
		{"ro=0 is rw", "src=a,dst=/d,ro=0", sandbox.Mount{Type: sandbox.MountBind, Source: "a", Target: "/d", Access: sandbox.ReadWrite}},
		{"rw=False is ro", "src=a,dst=/d,rw=False", sandbox.Mount{Type: sandbox.MountBind, Source: "a", Target: "/d", Access: sandbox.ReadOnly}},
		{"readonly=TRUE", "src=a,dst=/d,readonly=TRUE", sandbox.Mount{Type: sandbox.MountBind, Source: "a", Target: "/d", Access: sandbox.ReadOnly}},
		{"quoted comma", `"src=/a,b",dst=/d`, sandbox.Mount{Type: sandbox.MountBind, Source: "/a,b", Target: "/d"}},
		{"quoted quote", `"src=/a""b","dst=/d"`, sandbox.Mount{Type: sandbox.MountBind, Source: `/a"b`, Target: "/d"}},
		{"source with newlines", "\"src=/a\r\n\n\",dst=/d", sandbox.Mount{Type: sandbox.MountBind, Source: "/a\r\n\n", Target: "/d"}},
		{"equals in a value", "src=/a=b,dst=/c=d", sandbox.Mount{Type: sandbox.MountBind, Source: "/a=b", Target: "/c=d"}},
		{"target cleaned", "src=a,dst=//x/./y/../z/", sandbox.Mount{Type: sandbox.MountBind, Source: "a", Target: "/x/z"}},
		{"target climbs above the root", "src=a,dst=/../../etc", sandbox.Mount{Type: sandbox.MountBind, Source: "a", Target: "/etc"}},
		{"relative target", "src=a,dst=./sub/../other/", sandbox.Mount{Type: sandbox.MountBind, Source: "a", Target: "other"}},
		{"relative target climbs", "src=a,dst=../../x", sandbox.Mount{Type: sandbox.MountBind, Source: "a", Target: "../../x"}},
		{"from dir", "from=dir:./root,dst=/d", sandbox.Mount{Type: sandbox.MountBind, From: sandbox.Root{Kind: sandbox.RootDir, Path: "./root"}, Target: "/d"}},
		{"from path", "from=./root,dst=/d", sandbox.Mount{Type: sandbox.MountBind, From: sandbox.Root{Kind: sandbox.RootDir, Path: "./root"}, Target: "/d"}},
		{"from stdin", "from=-,dst=/d,rw", sandbox.Mount{Type: sandbox.MountBind, From: sandbox.Root{Kind: sandbox.RootTar, Path: "-"}, Target: "/d", Access: sandbox.ReadWrite}},
		{"from tar with a sub-path that climbs", "from=tar:a.tar,src=../../b/../c,dst=/d", sandbox.Mount{Type: sandbox.MountBind, From: sandbox.Root{Kind: sandbox.RootTar, Path: "a.tar"}, Source: "c", Target: "/d"}},
		{"from ref, whole", "src=/,from=ref:base:1,dst=/d,output=next", sandbox.Mount{Type: sandbox.MountBind, From: sandbox.Root{Kind: sandbox.RootRef, Name: "base:1"}, Target: "/d", Output: "next"}},
		{"from image", "from=docker.io/library/alpine:3,dst=/d", sandbox.Mount{Type: sandbox.MountBind, From: sandbox.Root{Kind: sandbox.RootImage, Name: "docker.io/library/alpine:3"}, Target: "/d"}},
		{"tmpfs", "type=tmpfs,dst=/t,size=64m,mode=1770,uid=5,gid=0",
			sandbox.Mount{Type: sandbox.MountTmpfs, Target: "/t", Size: 64 << 20, Mode: new(sandbox.Mode(0o1770)), UID: new(5), GID: new(0)}},
		{"cache", "type=cache,id=../x,dst=/c,sharing=COW,from=dir:/seed,src=/sub/,mode=700,uid=1,gid=2,ro,max-size=1.5GiB,ttl=7d",
			sandbox.Mount{Type: sandbox.MountCache, ID: "../x", Target: "/c", Sharing: sandbox.SharingCOW,
				From: sandbox.Root{Kind: sandbox.RootDir, Path: "/seed"}, Source: "sub", Mode: new(sandbox.Mode(0o700)), UID: new(1), GID: new(2),
				Access: sandbox.ReadOnly, MaxSize: 3 << 29, TTL: 168 * time.Hour}},
		{"cache with target alone", "type=cache,dst=/c", sandbox.Mount{Type: sandbox.MountCache, Target: "/c"}},
		{"cache id is any text", "type=cache,\"id=a/../\x00\n,\",dst=/c", sandbox.Mount{Type: sandbox.MountCache, ID: "a/../\x00\n,", Target: "/c"}},
		{"secret", "type=secret,id=tok", sandbox.Mount{Type: sandbox.MountSecret, ID: "tok"}},
		{"secret named by its target", "type=secret,dst=/run/s/tok", sandbox.Mount{Type: sandbox.MountSecret, ID: "tok", Target: "/run/s/tok"}},
		{"secret with all", "type=secret,id=../t,dst=/t,required=false,mode=440,uid=1,gid=2,env=TOK,reads=3,ttl=90s",
			sandbox.Mount{Type: sandbox.MountSecret, ID: "../t", Target: "/t", Required: new(false), Mode: new(sandbox.Mode(0o440)),
				UID: new(1), GID: new(2), Env: "TOK", Reads: 3, TTL: 90 * time.Second}},
		{"secret required alone", "type=secret,id=t,required", sandbox.Mount{Type: sandbox.MountSecret, ID: "t", Required: new(true)}},
		{"secret only as a variable", "type=secret,id=a/../b,env=B", sandbox.Mount{Type: sandbox.MountSecret, ID: "a/../b", Env: "B"}},
		{"ssh", "type=ssh", sandbox.Mount{Type: sandbox.MountSSH, ID: "default"}},
		{"ssh with all", "type=ssh,id=work,target=/s,required=0,mode=666,uid=1,gid=2",
			sandbox.Mount{Type: sandbox.MountSSH, ID: "work", Target: "/s", Required: new(false), Mode: new(sandbox.Mode(0o666)), UID: new(1), GID: new(2)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseMount(tt.flag)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			checkMountRoundTrip(t, got)
		})
	}
}

// checkMountRoundTrip prints m as a flag and as JSON, and reads both.
func checkMountRoundTrip(t *testing.T, m sandbox.Mount) {
	t.Helper()
	again, err := parseMount(m.String())
	if err != nil {
		t.Fatalf("%q: %v", m.String(), err)
	}
	if diff := cmp.Diff(m, again); diff != "" {
		t.Fatalf("through %q: %s", m.String(), diff)
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var fromJSON sandbox.Mount
	if err := json.Unmarshal(data, &fromJSON); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if diff := cmp.Diff(m, fromJSON); diff != "" {
		t.Fatalf("through %s: %s", data, diff)
	}
}

func TestParseMountErrors(t *testing.T) {
	tests := []struct{ name, flag, want string }{
		{"unknown key", "typ=tmpfs", `mount "typ=tmpfs": unexpected key 'typ' in 'typ=tmpfs', did you mean 'type'?`},
		{"unknown key with nothing near", "type=tmpfs,flavour=x", `mount "type=tmpfs,flavour=x": unexpected key 'flavour' in 'flavour=x'`},
		{"near alias", "soruce=/x,dst=/d", `unexpected key 'soruce' in 'soruce=/x', did you mean 'source'?`},
		{"blank before a key", "src=/x, dst=/d", `unexpected key ' dst' in ' dst=/d', did you mean 'dst'?`},
		{"key of docker", "type=tmpfs,dst=/d,tmpfs-size=1", `unexpected key 'tmpfs-size' in 'tmpfs-size=1'`},
		{"unknown type", "type=tmp,dst=/t", `mount "type=tmp,dst=/t": unsupported mount type "tmp", did you mean "tmpfs"?`},
		{"far type", "type=overlay,dst=/t", `mount "type=overlay,dst=/t": unsupported mount type "overlay"`},
		{"volume", "type=volume,dst=/t", `unsupported mount type "volume"; type=cache,id=NAME is a directory`},
		{"empty type", "type=,dst=/t", `empty value for key 'type'`},
		{"key of another type", "type=cache,size=1m,dst=/c", `mount "type=cache,size=1m,dst=/c": unexpected key 'size' for mount type 'cache'`},
		{"key of another type, type last", "sharing=shared,dst=/c,type=tmpfs", `unexpected key 'sharing' for mount type 'tmpfs'`},
		{"ro tmpfs", "type=tmpfs,dst=/c,ro", `unexpected key 'ro' for mount type 'tmpfs'`},
		{"mode of a bind", "src=/x,dst=/c,mode=700", `unexpected key 'mode' for mount type 'bind'`},
		{"src of a secret", "type=secret,id=x,src=/x", `unexpected key 'src' for mount type 'secret'`},
		{"sharing", "type=cache,dst=/c,sharing=x", `mount "type=cache,dst=/c,sharing=x": unsupported sharing value "x"`},
		{"near sharing", "type=cache,dst=/c,sharing=lock", `unsupported sharing value "lock", did you mean "locked"?`},
		{"root as target", "src=/x,dst=/", `mount "src=/x,dst=/": invalid mount target "/"`},
		{"root as target, in disguise", "src=/x,dst=/a/..//", `invalid mount target "/a/..//"`},
		{"target above the root", "src=/x,dst=/..", `invalid mount target "/.."`},
		{"empty target", "src=/x,dst=", `empty value for key 'dst'`},
		{"newline in target", "src=/x,dst=/a\nb", `invalid mount target "/a\nb": it has a control character`},
		{"NUL in target", "src=/x,dst=/a\x00b", `invalid mount target "/a\x00b": it has a NUL byte`},
		{"invalid UTF-8 in target", "src=/x,dst=/\xff", `invalid mount target "/\xff": it is not valid UTF-8`},
		{"endless target", "src=/x,dst=/" + strings.Repeat("a", 4095), `it is longer than 4095 bytes`},
		{"no target", "type=tmpfs", `mount "type=tmpfs": no target; add dst=PATH`},
		{"no input", "type=bind,dst=/x", `mount "/x" has no input; add src=PATH or from=dir:PATH`},
		{"NUL in source", "src=/x\x00,dst=/a", `source "/x\x00": it has a NUL byte`},
		{"duplicate key", "type=tmpfs,dst=/a,dst=/b", `duplicate key 'dst': 'dst' was given before`},
		{"duplicate alias", "type=tmpfs,dst=/a,Target=/b", `duplicate key 'target': 'dst' was given before`},
		{"ro and rw", "src=/x,dst=/a,ro,rw", `'ro' and 'rw' are one setting; give one of them`},
		{"ro and rw that agree", "src=/x,dst=/a,ro=false,rw", `'ro' and 'rw' are one setting`},
		{"bool", "src=/x,dst=/a,ro=yes", `ro "yes": not true or false`},
		{"empty bool", "src=/x,dst=/a,ro=", `ro "": not true or false`},
		{"bare key", "src=/x,dst", `invalid field 'dst': write dst=VALUE`},
		{"bare word", "src=/x,/y", `unexpected key '/y' in '/y'`},
		{"size", "type=tmpfs,size=x,dst=/t", `mount "type=tmpfs,size=x,dst=/t": size "x": not a size such as 64m`},
		{"percent", "type=tmpfs,size=50%,dst=/t", `size "50%": percents are not supported; write a size such as 64m`},
		{"max-size", "type=cache,max-size=-1,dst=/t", `max-size "-1": not a size such as 64m`},
		{"mode", "type=tmpfs,mode=0799,dst=/t", `mode "0799": not an octal mode such as 0755`},
		{"mode too large", "type=tmpfs,mode=10000,dst=/t", `mode "10000": not an octal mode`},
		{"setuid secret", "type=secret,id=x,mode=4755", `mode "4755": setuid, setgid and sticky bits have no meaning here`},
		{"uid", "type=tmpfs,uid=root,dst=/t", `uid "root": not a number from 0 to 4294967294`},
		{"uid that is none", "type=tmpfs,uid=4294967295,dst=/t", `uid "4294967295": not a number from 0 to 4294967294`},
		{"signed gid", "type=tmpfs,gid=+1,dst=/t", `gid "+1": not a number`},
		{"reads", "type=secret,id=x,reads=0", `reads "0": not a number from 1`},
		{"ttl", "type=secret,id=x,ttl=soon", `ttl: duration "soon": not a duration such as 90s, 12h or 7d`},
		{"env", "type=secret,id=x,env=A B", `variable name "A": a blank, = or invisible character follows`},
		{"from host", "from=host,dst=/d", `from "host": leave 'from' out; src= is a host path then`},
		{"cache from host", "type=cache,from=host,dst=/d", `from "host": write from=dir:PATH to seed a cache`},
		{"from scratch", "from=scratch,dst=/d", `from "scratch": an empty directory is type=tmpfs`},
		{"cache from scratch", "type=cache,from=scratch,dst=/d", `from "scratch": leave 'from' out; a cache begins empty`},
		{"from nothing", "from=dir:,dst=/d", `from: root "dir:": nothing follows the colon`},
		{"output", "src=/x,dst=/d,output=a\nb", `output "a\nb": it has a control character`},
		{"no secret", "type=secret,env=X", `no secret named; add id=NAME`},
		{"secret named by a dotted target", "type=secret,dst=..", `no secret named; add id=NAME`},
		{"secret id that climbs", "type=secret,id=../x", `id "../x": cannot be a path below /run/secrets; add dst=PATH`},
		{"secret id that is absolute", "type=secret,id=/x", `id "/x": cannot be a path below /run/secrets`},
		{"secret id that is a dot", "type=secret,id=.", `id ".": cannot be a path below /run/secrets`},
		{"secret id with newline", "type=secret,id=a\nb", `id "a\nb": it has a control character`},
		{"ssh id with NUL", "type=ssh,id=a\x00", `id "a\x00": it has a control character`},
		{"long secret id", "type=secret,dst=/x,id=" + strings.Repeat("a", 256), `longer than 255 bytes`},
		{"cache id that JSON would change", "type=cache,dst=/x,id=\xff", `id "\xff": not valid UTF-8`},
		{"empty", "", `mount "": empty value`},
		{"trailing comma", "type=tmpfs,dst=/t,", `empty field; remove the extra comma`},
		{"quote in the middle", `src="/a b",dst=/t`, `quote inside of 'src="/a b"'; quote the whole field: "src=/a b"`},
		{"quote not closed", `"src=/a,dst=/t`, `missing closing quote in '"src=/a,dst=/t'`},
		{"text after a quote", `"src=/a"b,dst=/t`, `text after the closing quote in '"src=/a"b,dst=/t'`},
		{"key with newline", "a\nb=1", `unexpected key 'a\nb' in 'a\nb=1'`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := parseMount(tt.flag)
			checkParseError(t, tt.flag, err, tt.want)
			if diff := cmp.Diff(sandbox.Mount{}, m); diff != "" {
				t.Errorf("a mount beside the error: %s", diff)
			}
		})
	}
}

// checkParseError checks that err has want in it, and that it is one line.
func checkParseError(t *testing.T, in string, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("%q: no error; want %q", in, want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("%q:\n got %s\nwant %s", in, err, want)
	}
	if strings.ContainsAny(err.Error(), "\n\r\x00") {
		t.Errorf("%q: error is not one line: %q", in, err)
	}
}

func TestMountWritable(t *testing.T) {
	for flag, want := range map[string]bool{
		"src=a,dst=/d": false, "src=a,dst=/d,rw": true, "src=a,dst=/d,ro": false,
		"type=tmpfs,dst=/d": true, "type=cache,dst=/d": true, "type=cache,dst=/d,ro": false,
		"type=secret,id=x": false, "type=ssh": false,
	} {
		m, err := parseMount(flag)
		if err != nil || m.Writable() != want {
			t.Errorf("%s: writable = %v, %v; want %v", flag, m.Writable(), err, want)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	for _, flag := range []string{
		"type=bind,src=/data,dst=/d", "typ=tmpfs", "type=tmpfs,size=64m,mode=1777,dst=/t", `"src=/a,b",dst=../x,rw`,
		"type=cache,id=../x,dst=/c,sharing=cow,from=dir:/s,src=/a/../b,max-size=1.5g,ttl=1d12h",
		"type=secret,id=t,env=T,reads=2,ttl=90s,required=false", "type=ssh,mode=600", "from=-,dst=/d", "from=oci:a:b/,dst=/d",
		"from=oci:a:b:c,dst=/d", "src=,dst=", `"`, `"a""`, ",", "type=tmpfs,dst=/..", "src=a\x00,dst=/b\n", "\n\"",
	} {
		f.Add(flag)
	}
	f.Fuzz(func(t *testing.T, flag string) {
		m, err := parseMount(flag)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("error is not one line: %q", err)
			}
			return
		}
		if m.Target == "/" || strings.ContainsAny(m.Target, "\n\x00") {
			t.Fatalf("target %q", m.Target)
		}
		if m.From.Kind != "" && (strings.HasPrefix(m.Source, "/") || strings.HasPrefix(m.Source+"/", "../")) {
			t.Fatalf("sub-path %q", m.Source)
		}
		checkMountRoundTrip(t, m)
	})
}
