//go:build vm

package flex

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// password is one that word splitting, option lists, shells and line readers would each break.
const password = "p,a\"s'$(s) w\\ord=ß"

func samba(t testing.TB) {
	t.Helper()
	sh(t, "mkdir -p /srv/smb /run/samba /var/lib/samba/private /var/log/samba; chmod 777 /srv/smb; id joe 2>/dev/null || useradd -M joe")
	must(t, os.WriteFile("/etc/samba/smb.conf", []byte(`[global]
server role = standalone
disable netbios = yes
smb ports = 445
log file = /tmp/smb.log
[share one]
path = /srv/smb
read only = no
`), 0o644))
	add := exec.Command("smbpasswd", "-s", "-a", "joe")
	add.Stdin = strings.NewReader(password + "\n" + password + "\n")
	out, err := add.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	serve(t, "smbd -D")
}

// An SMB share through its whole life.
func TestCIFS(t *testing.T) {
	samba(t)
	n := newNode(t)
	t.Cleanup(n.clear)
	n.settings.Timeout.Duration = 40 * time.Second
	target := n.target("cifs", "p", "v")
	login := []string{"kubernetes.io/secret/username", b64("joe\n"), "kubernetes.io/secret/password", b64(password + "\n")}
	with := func(more ...string) string {
		return options(append(append([]string{"networkPath", "//" + server + "/share one"}, login...), more...)...)
	}
	run(t, "mount", func(t *testing.T) {
		n.TB = t
		n.until("samba answers", func() bool { return n.call("cifs", "mount", target, with()).status == "Success" })
		n.layers(target, 1)
		t.Log(n.mounts(target))
		n.write(target+"/file", "hello")
		for _, file := range []string{"/proc/self/mountinfo", "/proc/mounts", n.settings.Log} {
			if text := n.read(file); strings.Contains(text, "ord=") || strings.Contains(text, b64(password)[:12]) {
				t.Errorf("%s tells the password", file)
			}
		}
	})
	run(t, "mount again", func(t *testing.T) {
		n.TB = t
		n.call("cifs", "mount", target, with()).succeeds()
		n.layers(target, 1)
	})
	run(t, "unmount", func(t *testing.T) {
		n.TB = t
		n.call("cifs", "unmount", target).succeeds()
		n.layers(target, 0)
	})
	run(t, "read-only, for a group", func(t *testing.T) {
		n.TB = t
		n.call("cifs", "mount", target, with("kubernetes.io/readwrite", "ro", "kubernetes.io/mounterArgs.FsGroup", "2000")).succeeds()
		info, err := os.Stat(target + "/file")
		must(t, err)
		if n.read(target+"/file") != "hello" || os.WriteFile(target+"/x", nil, 0o644) == nil {
			t.Error("it is not that, or it is writable")
		}
		if info.Sys().(*syscall.Stat_t).Gid != 2000 || info.Mode().Perm() != 0o660 {
			t.Errorf("%v, group %d", info.Mode(), info.Sys().(*syscall.Stat_t).Gid)
		}
		n.call("cifs", "unmount", target).succeeds()
	})
	run(t, "wrong password", func(t *testing.T) {
		n.TB = t
		r := n.call("cifs", "mount", target, options("server", server, "share", "share one", "kubernetes.io/secret/username", b64("joe"), "kubernetes.io/secret/password", b64("wrong"+password))).fails()
		if strings.Contains(r.text, password) || r.code != 0 {
			t.Errorf("exit %d: %s", r.code, r.text)
		}
		n.layers(target, 0)
	})
	run(t, "dead server", func(t *testing.T) {
		n.TB = t
		n.call("cifs", "mount", target, with()).succeeds()
		cable(t, "down")
		defer cable(t, "up")
		n.settings.Timeout.Duration = 8 * time.Second
		for _, call := range []func() result{
			func() result { return n.call("cifs", "mount", n.target("cifs", "dead", "v"), with()) },
			func() result { return n.call("cifs", "unmount", target) },
		} {
			begin := time.Now()
			r := call()
			t.Log(r.text)
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("it took %s: %s", took, r.text)
			}
		}
		n.layers(n.target("cifs", "dead", "v"), 0)
	})
	run(t, "when it is back", func(t *testing.T) {
		n.TB = t
		n.settings.Timeout.Duration = 60 * time.Second
		n.until("it is unmounted", func() bool { return n.call("cifs", "unmount", target).status == "Success" })
		n.layers(target, 0)
	})
}
