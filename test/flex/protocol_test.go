//go:build !vm

package flex

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What init answers for each driver: all five, as booleans.
func TestInit(t *testing.T) {
	n := newNode(t)
	for driver, want := range map[string][]bool{
		//       attach, selinuxRelabel, supportsMetrics, fsGroup, requiresFSResize
		"local": {false, true, true, true, true},
		"nfs":   {false, false, false, false, false},
		"cifs":  {false, false, false, false, false},
		"lvm":   {false, true, true, true, true},
	} {
		run(t, driver, func(t *testing.T) {
			n.TB = t
			r := n.call(driver, "init").succeeds()
			got, _ := r.reply["capabilities"].(map[string]any)
			for i, name := range []string{"attach", "selinuxRelabel", "supportsMetrics", "fsGroup", "requiresFSResize"} {
				if got[name] != want[i] {
					t.Errorf("%s is %v, not %v", name, got[name], want[i])
				}
			}
			if len(got) != 5 || len(r.reply) != 2 {
				t.Errorf("more than that: %s", r.text)
			}
		})
	}
	run(t, "lvm that attaches", func(t *testing.T) {
		n.TB = t
		n.settings.LVM.Attach = true
		got, _ := n.call("lvm", "init").succeeds().reply["capabilities"].(map[string]any)
		if got["attach"] != true {
			t.Errorf("%v", got)
		}
		n.settings.LVM.Attach = false
	})
}

// Calls that a driver never serves, whatever their arguments.
func TestNotSupported(t *testing.T) {
	n := newNode(t)
	for _, args := range [][]string{
		{"getvolumename", options()}, {"attach", options(), "node"}, {"detach", "vol", "node"}, {"waitforattach", "/dev/x", options()},
		{"isattached", options(), "node"}, {"mountdevice", "/x", "/dev/x", options()},
	} {
		for _, driver := range []string{"local", "nfs", "cifs", "lvm"} {
			run(t, driver+"/"+args[0], func(t *testing.T) {
				n.TB = t
				n.call(driver, args...).unsupported()
			})
		}
	}
	for _, driver := range []string{"nfs", "cifs"} {
		run(t, driver+"/expand", func(t *testing.T) {
			n.TB = t
			n.call(driver, "expandfs", options(), "", n.target(driver, "p", "v"), "2", "1").unsupported()
			n.call(driver, "expandvolume", options(), "", "2", "1").unsupported()
		})
	}
}

// Arguments that nobody can have meant are answered in form, and never with "Not supported".
func TestArguments(t *testing.T) {
	n := newNode(t)
	target := n.target("local", "p", "v")
	for name, c := range map[string]struct {
		args []string
		say  string
	}{
		"none":                {nil, "which call?"},
		"empty":               {[]string{""}, "no call"},
		"unknown":             {[]string{"frobnicate"}, "no call"},
		"unknown in binary":   {[]string{"\x00\xff\x1b[2J"[1:]}, "no call"},
		"upper case":          {[]string{"Init"}, "no call"},
		"init with more":      {[]string{"init", "x"}, "takes 0 arguments"},
		"mount without":       {[]string{"mount", target}, "takes 2 arguments"},
		"mount with more":     {[]string{"mount", target, options(), "x"}, "takes 2 arguments"},
		"unmount without":     {[]string{"unmount"}, "takes 1 arguments"},
		"no JSON":             {[]string{"mount", target, "not json"}, "malformed"},
		"JSON that ends":      {[]string{"mount", target, `{"a":`}, "too early"},
		"empty JSON":          {[]string{"mount", target, ""}, "too early"},
		"JSON list":           {[]string{"mount", target, `["a"]`}, "array"},
		"JSON null":           {[]string{"mount", target, `null`}, "null"},
		"JSON number":         {[]string{"mount", target, `{"size":1}`}, "number"},
		"JSON null value":     {[]string{"mount", target, `{"size":null}`}, "null"},
		"JSON nested":         {[]string{"mount", target, `{"size":{"a":"b"}}`}, "object"},
		"two JSON objects":    {[]string{"mount", target, `{} {}`}, "something follows"},
		"readwrite":           {[]string{"mount", target, options("kubernetes.io/readwrite", "yes")}, "ro or rw"},
		"group":               {[]string{"mount", target, options("kubernetes.io/mounterArgs.FsGroup", "-1")}, "no group id"},
		"secret not base64":   {[]string{"mount", target, options("kubernetes.io/secret/k", "&&&")}, "not base64"},
		"size of an expand":   {[]string{"expandfs", options(), "", target, "big", "1"}, "no size in bytes"},
		"unknown option":      {[]string{"mount", target, options("volume", "v", "wrong", "x")}, `option "wrong" is not known here`},
		"option twice":        {[]string{"mount", target, options("volume", "v", "Volume", "x")}, "mean the same"},
		"neither path nor id": {[]string{"mount", target, options("pool", "default")}, "volume, the volume's name on this node, is required"},
	} {
		run(t, name, func(t *testing.T) {
			n.TB = t
			r := n.call("local", c.args...).fails(c.say)
			if strings.ContainsAny(r.text, "\x00\x1b") {
				t.Errorf("the reply has control characters: %q", r.text)
			}
			n.layers(target, 0)
		})
	}
}

// Paths that are not the kubelet's are refused by both calls, and are as they were.
func TestPaths(t *testing.T) {
	n := withDaemon(t)
	outside := filepath.Join(n.dir, "outside")
	must(t, exec.Command("mkdir", "-p", outside, n.kubelet+"/pods/p/volumes/hostvol~local/link", n.kubelet+"/pods/l/volumes").Run())
	n.write(outside+"/file", "precious")
	must(t, exec.Command("mount", "-t", "tmpfs", "mine", outside).Run())
	t.Cleanup(func() { _ = exec.Command("umount", outside).Run() })
	must(t, os.Remove(n.kubelet+"/pods/p/volumes/hostvol~local/link"), os.Symlink(outside, n.kubelet+"/pods/p/volumes/hostvol~local/link"))
	must(t, os.Symlink(outside, n.kubelet+"/pods/l/volumes/hostvol~local"))
	must(t, os.MkdirAll(outside+"/v", 0o755))
	for name, path := range map[string]string{
		"outside":               outside,
		"relative":              "kubelet/pods/p/volumes/hostvol~local/v",
		"empty":                 "",
		"root":                  "/",
		"the kubelet's own":     n.kubelet,
		"not clean":             n.kubelet + "/pods/p/volumes/hostvol~local/../../../../../outside",
		"with a slash at end":   n.kubelet + "/pods/p/volumes/hostvol~local/v/",
		"pods":                  n.kubelet + "/pods",
		"a pod":                 n.kubelet + "/pods/p",
		"not a flexvolume":      n.kubelet + "/pods/p/volumes/kubernetes.io~csi/v",
		"another driver's":      n.kubelet + "/pods/p/volumes/hostvol~nfs/v",
		"a part of a volume":    n.kubelet + "/pods/p/volumes/hostvol~local/v/sub",
		"a neighbour's name":    n.kubelet + "-2/pods/p/volumes/hostvol~local/v",
		"through a linked part": n.kubelet + "/pods/l/volumes/hostvol~local/v",
	} {
		run(t, name, func(t *testing.T) {
			n.TB = t
			n.call("local", "mount", path, options("volume", "v", "size", "16Mi")).fails()
			n.call("local", "unmount", path).fails()
			n.layers(outside, 1)
		})
	}
	run(t, "a link", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", n.kubelet+"/pods/p/volumes/hostvol~local/link", options("volume", "v", "size", "16Mi")).fails()
		n.call("local", "unmount", n.kubelet+"/pods/p/volumes/hostvol~local/link")
		n.layers(outside, 1)
		if to, err := os.Readlink(n.kubelet + "/pods/p/volumes/hostvol~local/link"); err != nil || to != outside {
			t.Errorf("the link leads to %q: %v", to, err)
		}
	})
}

// An executable that nobody knows, and settings that are broken, are told in form.
func TestInstallation(t *testing.T) {
	n := newNode(t)
	run(t, "unknown driver", func(t *testing.T) {
		n.TB = t
		n.call("frob", "init").fails("no driver", "cifs, local, lvm, nfs")
	})
	run(t, "another vendor", func(t *testing.T) {
		n.TB = t
		must(t, os.MkdirAll(n.plugins+"/k8s~nfs", 0o755), exec.Command("cp", executable, n.plugins+"/k8s~nfs/nfs").Run())
		out, err := exec.Command(n.plugins+"/k8s~nfs/nfs", "init").CombinedOutput()
		if err != nil || !strings.Contains(string(out), `"Success"`) {
			t.Errorf("%v: %s", err, out)
		}
	})
	run(t, "under its own name", func(t *testing.T) {
		out, err := exec.Command(executable, "init").CombinedOutput()
		if err != nil || !strings.Contains(string(out), `"Success"`) {
			t.Errorf("%v: %s", err, out)
		}
	})
	run(t, "broken settings", func(t *testing.T) {
		n.TB = t
		path := n.driver("nfs")
		for _, text := range []string{"{", `{"kubeletdir":`, `{"kubeletDir": "relative"}`, `{"timeout": "long"}`, `{"timeout": "1ns"}`, `{"log": "syslog"}`, `{"lvm": {"groups": ["-x"]}}`} {
			n.write(filepath.Dir(path)+"/.hostvol-flex.json", text)
			out, _ := exec.Command(path, "init").CombinedOutput()
			if !strings.Contains(string(out), `"Failure"`) {
				t.Errorf("%s: %s", text, out)
			}
		}
	})
	run(t, "a log that cannot be written", func(t *testing.T) {
		n.TB = t
		n.settings.Log = "/proc/1/no/such/file"
		n.call("local", "init").succeeds()
		n.settings.Log = "journald"
		n.call("local", "init").succeeds()
	})
}

// Streams that are closed or gone: no crash, nothing on the others, and no child is left.
func TestStreams(t *testing.T) {
	n := newNode(t)
	path := n.driver("local")
	for name, script := range map[string]string{
		"closed stdin":  `exec "$0" init <&-`,
		"closed stderr": `exec "$0" init 2>&-`,
		"both":          `exec "$0" init <&- 2>&-`,
	} {
		run(t, name, func(t *testing.T) {
			out, err := exec.Command("sh", "-c", script, path).CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), `{"status":"Success"`) || bytes.Count(out, []byte("\n")) != 1 {
				t.Errorf("%v: %q", err, out)
			}
		})
	}
	run(t, "closed stdout", func(t *testing.T) {
		out, _ := exec.Command("sh", "-c", `exec "$0" init >&-`, path).CombinedOutput()
		if len(out) != 0 {
			t.Errorf("it wrote %q elsewhere", out)
		}
	})
	run(t, "stdout that nobody reads", func(t *testing.T) {
		r, w, err := os.Pipe()
		must(t, err, r.Close())
		cmd := exec.Command(path, "init")
		cmd.Stdout = w
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		_ = cmd.Run()
		must(t, w.Close())
		if stderr.Len() != 0 || cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
			t.Errorf("%v, %q", cmd.ProcessState, stderr.String())
		}
	})
}

// What is asked to end does so within the kubelet's 10 s, with a reply, and leaves nothing.
func TestTerminated(t *testing.T) {
	n := newNode(t)
	n.standIn()
	n.env = []string{"STAND_IN=hang"}
	target := n.target("nfs", "p", "v")
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		run(t, sig.String(), func(t *testing.T) {
			n.TB = t
			cmd := n.command("nfs", "mount", target, options("server", "s", "share", "/x"))
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			must(t, cmd.Start())
			n.until("mount runs", func() bool { return len(n.standIns()) > 0 })
			pids := n.standIns()
			begin := time.Now()
			must(t, cmd.Process.Signal(sig))
			err := cmd.Wait()
			n.result(cmd, out.Bytes(), err).fails("did not end in time")
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			n.until("mount is gone", func() bool { return !slices.ContainsFunc(pids, alive) })
			n.layers(target, 0)
		})
	}
}
