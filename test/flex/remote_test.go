//go:build !vm

package flex

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What mount(8) is given for the manifests that there are.
func TestRemoteArguments(t *testing.T) {
	n := newNode(t)
	n.standIn()
	n.env = []string{"STAND_IN=fails"}
	login := []string{"kubernetes.io/secret/username", b64("user"), "kubernetes.io/secret/password", b64("pass")}
	for name, c := range map[string]struct {
		driver string
		pairs  []string
		want   string // of the arguments, joined by blanks, without the target
	}{
		"nfs, old example":           {"nfs", []string{"server", "172.16.0.25", "share", "dws_nas_scratch"}, "-t nfs -o hard,vers=4 -- 172.16.0.25:/dws_nas_scratch"},
		"nfs, one slash":             {"nfs", []string{"server", "nas", "share", "/export/a"}, "-t nfs -o hard,vers=4 -- nas:/export/a"},
		"nfs, many slashes":          {"nfs", []string{"server", "nas", "share", "//export"}, "-t nfs -o hard,vers=4 -- nas:/export"},
		"nfs, the root":              {"nfs", []string{"server", "nas", "share", "/"}, "-t nfs -o hard,vers=4 -- nas:/"},
		"nfs, IPv6":                  {"nfs", []string{"server", "fd00::1", "share", "/x"}, "-t nfs -o hard,vers=4 -- [fd00::1]:/x"},
		"nfs, IPv6 in brackets":      {"nfs", []string{"server", "[fd00::1]", "share", "/x"}, "-t nfs -o hard,vers=4 -- [fd00::1]:/x"},
		"nfs, options":               {"nfs", []string{"server", "nas", "share", "/x", "mountOptions", "vers=4.1, soft ,timeo=50,rw"}, "-t nfs -o vers=4.1,soft,timeo=50 -- nas:/x"},
		"nfs, protocol":              {"nfs", []string{"server", "nas", "share", "/x", "protocol", "nfs3"}, "-t nfs -o vers=3,hard -- nas:/x"},
		"nfs, transport":             {"nfs", []string{"server", "nas", "share", "/x", "protocol", "tcp"}, "-t nfs -o proto=tcp,hard,vers=4 -- nas:/x"},
		"nfs, read-only by the pod":  {"nfs", []string{"server", "nas", "share", "/x", "kubernetes.io/readwrite", "ro"}, "-t nfs -o hard,vers=4,ro -- nas:/x"},
		"nfs, read-only by option":   {"nfs", []string{"server", "nas", "share", "/x", "mountOptions", "ro"}, "-t nfs -o hard,vers=4,ro -- nas:/x"},
		"nfs, blanks and quotes":     {"nfs", []string{"server", "nas", "share", `/a b/"c"/$(d)/<é>`}, `-t nfs -o hard,vers=4 -- nas:/a b/"c"/$(d)/<é>`},
		"cifs, path":                 {"cifs", append([]string{"networkPath", "//srv/share"}, login...), "-t cifs -o username=user -- //srv/share"},
		"cifs, as Windows writes it": {"cifs", append([]string{"source", `\\srv\share\dir`}, login...), "-t cifs -o username=user -- //srv/share/dir"},
		"cifs, server and share":     {"cifs", append([]string{"server", "srv", "share", "/share/"}, login...), "-t cifs -o username=user -- //srv/share"},
		"cifs, options":              {"cifs", append([]string{"networkPath", "//srv/s", "mountoptions", "dir_mode=0755,file_mode=0644,noperm,vers=3.0"}, login...), "-t cifs -o dir_mode=0755,file_mode=0644,noperm,vers=3.0,username=user -- //srv/s"},
		"cifs, options' other name":  {"cifs", append([]string{"networkPath", "//srv/s", "opts", "seal"}, login...), "-t cifs -o seal,username=user -- //srv/s"},
		"cifs, domain":               {"cifs", append([]string{"networkPath", "//srv/s", "kubernetes.io/secret/domain", b64("CORP\n")}, login...), "-t cifs -o username=user,domain=CORP -- //srv/s"},
		"cifs, group":                {"cifs", append([]string{"networkPath", "//srv/s", "kubernetes.io/mounterArgs.FsGroup", "2000"}, login...), "-t cifs -o username=user,gid=2000,forcegid,file_mode=0660,dir_mode=0770 -- //srv/s"},
		"cifs, group by option":      {"cifs", append([]string{"networkPath", "//srv/s", "mountOptions", "gid=7", "kubernetes.io/mounterArgs.FsGroup", "2000"}, login...), "-t cifs -o gid=7,username=user -- //srv/s"},
		"cifs, guest":                {"cifs", []string{"networkPath", "//srv/s", "mountOptions", "guest"}, "-t cifs -o guest -- //srv/s"},
		"cifs, read-only":            {"cifs", append([]string{"networkPath", "//srv/s", "kubernetes.io/readwrite", "ro"}, login...), "-t cifs -o username=user,ro -- //srv/s"},
	} {
		run(t, name, func(t *testing.T) {
			n.TB = t
			n.forget()
			target := n.target(c.driver, "p", "v")
			r := n.call(c.driver, "mount", target, options(c.pairs...)).fails("access denied")
			if secret := slices.Contains(c.pairs, "kubernetes.io/secret/password"); secret != (r.code == 0) {
				t.Errorf("exit status %d; the kubelet logs all arguments unless it is 0", r.code)
			}
			got := n.argv()
			if last := len(got) - 1; got[last] != target || strings.Join(got[:last], " ") != c.want {
				t.Errorf("it was given\n%q, not\n%q and the target", got, c.want)
			}
			n.layers(target, 0)
		})
	}
}

// What is refused before any program is started.
func TestRemoteRefusals(t *testing.T) {
	n := newNode(t)
	n.standIn()
	n.env = []string{"STAND_IN=fails"}
	user := []string{"kubernetes.io/secret/username", b64("user"), "kubernetes.io/secret/password", b64("pass")}
	for name, c := range map[string]struct {
		driver string
		pairs  []string
		say    string
	}{
		"nfs without a server":        {"nfs", []string{"share", "/x"}, "required"},
		"nfs without a share":         {"nfs", []string{"server", "s"}, "required"},
		"nfs server with an option":   {"nfs", []string{"server", "-osuid", "share", "/x"}, "neither a host name"},
		"nfs server with a blank":     {"nfs", []string{"server", "a b", "share", "/x"}, "neither a host name"},
		"nfs server with a path":      {"nfs", []string{"server", "a:/b", "share", "/x"}, "neither a host name"},
		"nfs share with a line break": {"nfs", []string{"server", "s", "share", "/x\ny"}, "control character"},
		"nfs share that leads up":     {"nfs", []string{"server", "s", "share", "/x/../../y"}, "leads upwards"},
		"nfs option not allowed":      {"nfs", []string{"server", "s", "share", "/x", "mountOptions", "context=x"}, "not allowed"},
		"nfs in the background":       {"nfs", []string{"server", "s", "share", "/x", "mountOptions", "bg"}, "not allowed"},
		"nfs option with a blank":     {"nfs", []string{"server", "s", "share", "/x", "mountOptions", "vers=4 -o suid"}, "letters, digits"},
		"nfs option twice":            {"nfs", []string{"server", "s", "share", "/x", "mountOptions", "vers=3,vers=4"}, "twice"},
		"nfs option without value":    {"nfs", []string{"server", "s", "share", "/x", "mountOptions", "timeo"}, "needs a value"},
		"nfs hard and soft":           {"nfs", []string{"server", "s", "share", "/x", "mountOptions", "hard,soft"}, "contradict"},
		"nfs two versions":            {"nfs", []string{"server", "s", "share", "/x", "mountOptions", "vers=3,nfsvers=4.2"}, "contradict"},
		"nfs version and protocol":    {"nfs", []string{"server", "s", "share", "/x", "mountOptions", "vers=3", "protocol", "nfs4"}, "give one"},
		"cifs with the node's ticket": {"cifs", append([]string{"networkPath", "//srv/s", "mountOptions", "sec=krb5"}, user...), "not allowed"},
		"nfs flag with a value":       {"nfs", []string{"server", "s", "share", "/x", "mountOptions", "hard=1"}, "takes no value"},
		"nfs protocol":                {"nfs", []string{"server", "s", "share", "/x", "protocol", "smoke"}, "none of"},
		"nfs filesystem":              {"nfs", []string{"server", "s", "share", "/x", "kubernetes.io/fsType", "ext4"}, "not nfs"},
		"cifs without anything":       {"cifs", user, "required"},
		"cifs path":                   {"cifs", append([]string{"networkPath", "srv/share"}, user...), "//server/share"},
		"cifs path and server":        {"cifs", append([]string{"networkPath", "//srv/share", "server", "x"}, user...), "either"},
		"cifs without a Secret":       {"cifs", []string{"networkPath", "//srv/s"}, "secretRef"},
		"cifs password as option":     {"cifs", append([]string{"networkPath", "//srv/s", "mountOptions", "password=x"}, user...), "Secret"},
		"cifs credentials as option":  {"cifs", append([]string{"networkPath", "//srv/s", "mountOptions", "credentials=/etc/shadow"}, user...), "Secret"},
		"cifs user with a comma":      {"cifs", []string{"networkPath", "//srv/s", "kubernetes.io/secret/username", b64("a,uid=0"), "kubernetes.io/secret/password", b64("p")}, "comma"},
		"cifs user of two lines":      {"cifs", []string{"networkPath", "//srv/s", "kubernetes.io/secret/username", b64("a\nb"), "kubernetes.io/secret/password", b64("p")}, "control character"},
		"cifs domain with a comma":    {"cifs", append([]string{"networkPath", "//srv/s", "kubernetes.io/secret/domain", b64("a,b")}, user...), "comma"},
		"cifs password of two lines":  {"cifs", []string{"networkPath", "//srv/s", "kubernetes.io/secret/username", b64("a"), "kubernetes.io/secret/password", b64("one\ntwo")}, "line break"},
		"cifs password too long":      {"cifs", []string{"networkPath", "//srv/s", "kubernetes.io/secret/username", b64("a"), "kubernetes.io/secret/password", b64(strings.Repeat("x", 600))}, "511"},
		"cifs guest with a Secret":    {"cifs", append([]string{"networkPath", "//srv/s", "mountOptions", "guest"}, user...), "give one"},
		"lvm without a group":         {"lvm", []string{"volumeID", "v"}, "required"},
		"lvm group not allowed":       {"lvm", []string{"volumeID", "v", "volumegroup", "root"}, "--lvm-groups"},
		"lvm volume with a dash":      {"lvm", []string{"volumeID", "-v", "volumegroup", "g"}, "not a name"},
		"lvm volume with a path":      {"lvm", []string{"volumeID", "../v", "volumegroup", "g"}, "not a name"},
		"lvm group of two words":      {"lvm", []string{"volumeID", "v", "volumegroup", "g h"}, "not a name"},
		"lvm filesystem":              {"lvm", []string{"volumeID", "v", "volumegroup", "g", "kubernetes.io/fsType", "ntfs"}, "none of"},
	} {
		run(t, name, func(t *testing.T) {
			n.TB = t
			n.settings.LVM.Groups = []string{"g"}
			n.forget()
			target := n.target(c.driver, "p", "v")
			n.call(c.driver, "mount", target, options(c.pairs...)).fails(c.say)
			if _, err := os.Stat(n.notes()); err == nil {
				t.Errorf("mount was started: %q", n.argv())
			}
		})
	}
}

// What mount(8) says is not believed: the mount table is.
func TestRemoteLies(t *testing.T) {
	n := newNode(t)
	n.standIn()
	usual := n.settings.Timeout.Duration
	o := options("server", "nas", "share", "/x")
	target := n.target("nfs", "p", "v")
	for name, say := range map[string]string{
		"lies": "nothing is mounted", "other": "something else", "hang": "has not answered in time", "late": "has not answered in time", "holds-stdout": "exit status 1", "no-version": "version 3 tried",
	} {
		run(t, name, func(t *testing.T) {
			n.TB = t
			n.env = []string{"STAND_IN=" + name}
			if strings.Contains(say, "in time") {
				n.settings.Timeout.Duration = 3 * time.Second
			}
			begin := time.Now()
			n.call("nfs", "mount", target, o).fails(say)
			if took := time.Since(begin); took > 13*time.Second {
				t.Errorf("it took %s", took)
			}
			n.settings.Timeout.Duration = usual
			n.layers(target, 0)
			n.until("no program is left", func() bool { return len(n.standIns()) == 0 })
		})
	}
	run(t, "no mount at all", func(t *testing.T) {
		n.TB = t
		cmd := n.command("nfs", "mount", target, o)
		cmd.Env = []string{"PATH=/nowhere"}
		out, err := cmd.Output()
		n.result(cmd, out, err).fails("the node lacks mount")
	})
	run(t, "something else is there", func(t *testing.T) {
		n.TB = t
		n.env = []string{"STAND_IN=fails"}
		n.forget()
		must(t, exec.Command("mount", "-t", "tmpfs", "theirs", target).Run())
		n.write(target+"/file", "theirs")
		n.call("nfs", "mount", target, o).fails("something else is mounted")
		n.layers(target, 1)
		if _, err := os.Stat(n.notes()); err == nil || n.read(target+"/file") != "theirs" {
			t.Error("it was touched")
		}
		n.call("nfs", "unmount", target).succeeds()
		n.layers(target, 0)
	})
	run(t, "a second call while the first one works", func(t *testing.T) {
		n.TB = t
		n.env = []string{"STAND_IN=hang"}
		n.forget()
		first := n.command("nfs", "mount", target, o)
		must(t, first.Start())
		n.until("mount runs", func() bool { return len(n.standIns()) == 1 })
		n.settings.Timeout.Duration = time.Second
		n.call("nfs", "unmount", target).fails("still at work")
		n.settings.Timeout.Duration = usual
		must(t, first.Process.Kill())
		_ = first.Wait()
		n.until("no program is left", func() bool { return len(n.standIns()) == 0 })
	})
}

// A password with everything in it reaches mount.cifs whole, and nobody else.
func TestSecrets(t *testing.T) {
	for name, password := range map[string]string{
		"comma": "se,cret,uid=0", "quote": `se"cret'x`, "dollar": "$(secret)$HOME", "line break at its end": "secret-eol\n", "UTF-8": "geheim-ß-秘密", "blank": " se cret ", "backslash": `\\se\cret`,
	} {
		for _, behaviour := range []string{"fails", "repeats-password", "lies", "hang"} {
			run(t, name+"/"+behaviour, func(t *testing.T) {
				n := newNode(t)
				n.standIn()
				n.env = []string{"STAND_IN=" + behaviour}
				target := n.target("cifs", "p", "v")
				mount := func() result {
					return n.call("cifs", "mount", target, options("networkPath", "//srv/s", "kubernetes.io/secret/username", b64("user\n"), "kubernetes.io/secret/password", b64(password)))
				}
				var r result
				if behaviour == "hang" {
					r = n.cutShort(mount)
				} else {
					r = mount()
				}
				r.fails()
				plain := strings.TrimSuffix(password, "\n")
				if got := n.read(n.notes() + "/password"); got != plain {
					t.Errorf("mount.cifs got %q, not %q", got, plain)
				}
				if r.code != 0 {
					t.Errorf("exit status %d", r.code)
				}
				n.call("cifs", "unmount", target).succeeds()
				must(t, os.Remove(n.notes()+"/password"), os.Remove(n.notes()+"/parent"))
				for _, form := range []string{plain, password, b64(password), b64(plain)} {
					if strings.Contains(r.text, form) {
						t.Errorf("the reply has it: %s", r.text)
					}
					n.searched(form)
				}
			})
		}
	}
}

// cutShort gives a call so little time that it is cut short, and so much that mount(8) was given a password.
func (n *node) cutShort(call func() result) (r result) {
	usual := n.settings.Timeout.Duration
	for limit := time.Second; limit < 20*time.Second; limit *= 2 {
		n.settings.Timeout.Duration = limit
		r = call()
		if _, err := os.Stat(n.notes() + "/password"); err == nil {
			break
		}
	}
	n.settings.Timeout.Duration = usual
	return r
}

// searched checks that no file of the node holds a text: the log, settings, what the program was given.
func (n *node) searched(text string) {
	n.Helper()
	files := 0
	must(n, filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path == n.plugins {
			return err
		}
		files++
		if data, err := os.ReadFile(path); err != nil {
			return err
		} else if strings.Contains(string(data), text) {
			n.Errorf("%s has the secret", path)
		}
		return nil
	}))
	if files < 4 {
		n.Errorf("only %d files were searched", files)
	}
}

// The log tells what was done, and how it ended.
func TestLog(t *testing.T) {
	n := newNode(t)
	run(t, "file", func(t *testing.T) {
		n.TB = t
		target := n.target("nfs", "p", "v")
		n.call("nfs", "unmount", target).succeeds()
		n.call("nfs", "mount", target, options("server", "", "share", "x")).fails()
		text := n.read(n.settings.Log)
		for _, part := range []string{`call="unmount"`, `status="Success"`, `call="mount"`, `status="Failure"`, target, "required"} {
			if !strings.Contains(text, part) {
				t.Errorf("the log has no %s:\n%s", part, text)
			}
		}
		if info, err := os.Stat(n.settings.Log); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
	})
	run(t, "nothing else is written", func(t *testing.T) {
		n.TB = t
		names, err := os.ReadDir(n.plugins + "/hostvol~nfs")
		must(t, err)
		for _, name := range names {
			if name.Name() != "nfs" && !strings.HasPrefix(name.Name(), ".") {
				t.Errorf("%s would make the kubelet call init again", name.Name())
			}
		}
	})
}

// A log that does not take its lines holds up no call.
func TestLogThatHangs(t *testing.T) {
	n := newNode(t)
	run(t, "fifo", func(t *testing.T) {
		n.TB = t
		n.settings.Log = filepath.Join(n.dir, "fifo")
		must(t, syscall.Mkfifo(n.settings.Log, 0o600))
		begin := time.Now()
		n.call("local", "init").succeeds()
		n.call("nfs", "mount", n.target("nfs", "p", "v"), options()).fails("required")
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// Killed while mount(8) works, at either side of the mount: the program dies with the call, a repeat finds what there
// is, and an unmount takes it away.
func TestRemoteKilled(t *testing.T) {
	n := newNode(t)
	n.standIn()
	target := n.target("nfs", "p", "v")
	for name, layers := range map[string]int{"hang": 0, "late": 1} {
		run(t, name, func(t *testing.T) {
			n.TB = t
			n.forget()
			n.env = []string{"STAND_IN=" + name}
			cmd := n.command("nfs", "mount", target, options("server", "nas", "share", "/x"))
			must(t, cmd.Start())
			n.until("mount has come as far as that", func() bool { return len(n.standIns()) == 1 && len(n.mounts(target)) == layers })
			must(t, cmd.Process.Kill())
			_ = cmd.Wait()
			if !cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
				t.Error("it had ended before")
			}
			n.until("mount is gone, too", func() bool { return len(n.standIns()) == 0 })
			n.call("nfs", "unmount", target).succeeds()
			n.layers(target, 0)
		})
	}
}
