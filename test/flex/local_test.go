//go:build !vm

package flex

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A volume's life through the driver local: made at the first mount, limited, found again, grown, unmounted.
func TestLocal(t *testing.T) {
	n := withDaemon(t)
	first, second := n.target("local", "pod-1", "data"), n.target("local", "pod-2", "data")
	made := options("pool", "default", "volume", "precious", "size", "64Mi")
	run(t, "made at the first mount", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", first, made).succeeds()
		n.layers(first, 1)
		n.write(first+"/file", "hello")
	})
	run(t, "the kernel refuses what is beyond its size", func(t *testing.T) {
		n.TB = t
		err := os.WriteFile(first+"/big", make([]byte, 80<<20), 0o644)
		if !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("80 MiB in 64: %v", err)
		}
		must(t, os.Remove(first+"/big"))
	})
	run(t, "mounted again", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", first, made).succeeds()
		n.layers(first, 1)
	})
	run(t, "another pod", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", second, options("volume", "precious")).succeeds()
		if got := n.read(second + "/file"); got != "hello" {
			t.Errorf("%q", got)
		}
	})
	run(t, "another volume on the same target", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", first, options("volume", "other", "size", "16Mi")).fails("something else is mounted")
		n.layers(first, 1)
		if got := n.read(first + "/file"); got != "hello" {
			t.Errorf("%q", got)
		}
	})
	run(t, "read-only where it is writable", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", first, options("volume", "precious", "kubernetes.io/readwrite", "ro")).fails("unpublish it first")
		n.layers(first, 1)
	})
	run(t, "read-only", func(t *testing.T) {
		n.TB = t
		target := n.target("local", "pod-3", "data")
		n.call("local", "mount", target, options("volume", "precious", "kubernetes.io/readwrite", "ro")).succeeds()
		if err := os.WriteFile(target+"/x", nil, 0o644); !errors.Is(err, syscall.EROFS) {
			t.Errorf("%v", err)
		}
		n.call("local", "unmount", target).succeeds()
	})
	run(t, "in use", func(t *testing.T) {
		n.TB = t
		f, err := os.Open(second + "/file")
		must(t, err)
		n.call("local", "unmount", second).fails("in use")
		n.layers(second, 1)
		must(t, f.Close())
		n.call("local", "unmount", second).succeeds()
		n.layers(second, 0)
	})
	run(t, "unmounted again", func(t *testing.T) {
		n.TB = t
		n.call("local", "unmount", second).succeeds()
		n.call("local", "unmount", filepath.Join(n.kubelet, "pods/gone/volumes/hostvol~local/v")).succeeds()
	})
	run(t, "grown by expandfs", func(t *testing.T) {
		n.TB = t
		n.call("local", "expandfs", options("volume", "precious"), "", first, "134217728", "67108864").succeeds()
		must(t, os.WriteFile(first+"/big", make([]byte, 80<<20), 0o644), os.Remove(first+"/big"))
		n.call("local", "expandfs", options("volume", "precious"), "", first, "134217728", "67108864").succeeds()
	})
	run(t, "another size changes nothing", func(t *testing.T) {
		n.TB = t
		for _, size := range []string{"192Mi", "1Mi"} { // or whoever may mount it could take the pool with it
			n.call("local", "mount", first, options("volume", "precious", "size", size)).succeeds()
		}
		if out, err := n.daemon.Admin(t.Context(), "volumes"); err != nil || !strings.Contains(out, "128Mi") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	run(t, "grown beyond the pool", func(t *testing.T) {
		n.TB = t
		n.call("local", "expandfs", options("volume", "precious"), "", first, "1099511627776", "1").fails()
		n.call("local", "expandvolume", options("volume", "precious"), "", "1099511627776", "1").fails()
	})
	run(t, "unmount, and it is all there", func(t *testing.T) {
		n.TB = t
		n.call("local", "unmount", first).succeeds()
		n.layers(first, 0)
		n.call("local", "mount", n.target("local", "pod-1", "data"), made).succeeds()
		if got := n.read(first + "/file"); got != "hello" {
			t.Errorf("%q", got)
		}
	})
}

// Volumes that cannot be had, each with what to do.
func TestLocalRefusals(t *testing.T) {
	n := withDaemon(t)
	target := n.target("local", "p", "v")
	must(t, os.MkdirAll(n.roots+"/data/deep", 0o755), os.Symlink("/etc", n.roots+"/link"))
	for name, c := range map[string]struct {
		pairs []string
		say   string
	}{
		"no such volume":         {[]string{"volume", "nobody"}, "give a size"},
		"a pool that is closed":  {[]string{"volume", "v", "size", "16Mi", "pool", "closed"}, "none of those that flex.pools allows"},
		"a pool that is not":     {[]string{"volume", "v", "size", "16Mi", "pool", "nowhere"}, "none of those that flex.pools allows"},
		"too large":              {[]string{"volume", "v", "size", "100Ti"}, "range"},
		"no size":                {[]string{"volume", "v", "size", "much"}, "not a size"},
		"negative":               {[]string{"volume", "v", "size", "-1Gi"}, "not a size"},
		"name with a path":       {[]string{"volume", "../../etc"}, "give a size"},
		"path and volume":        {[]string{"volume", "v", "path", n.roots + "/data"}, "either path"},
		"path outside the roots": {[]string{"path", "/etc"}, "flex.roots"},
		"the root itself":        {[]string{"path", n.roots}, "flex.roots"},
		"path with dots":         {[]string{"path", n.roots + "/data/../../pool"}, "not an absolute, clean path"},
		"path that is a link":    {[]string{"path", n.roots + "/link"}, "symbolic link"},
		"path below a link":      {[]string{"path", n.roots + "/link/ssh"}, "symbolic link"},
		"path that is not there": {[]string{"path", n.roots + "/missing"}, "no such file"},
		"the pool by its path":   {[]string{"path", n.pool + "/pool/volumes"}, "flex.roots"},
		"a filesystem of none":   {[]string{"volume", "v", "size", "16Mi", "kubernetes.io/fsType", "ntfs"}, "ntfs"},
	} {
		run(t, name, func(t *testing.T) {
			n.TB = t
			n.call("local", "mount", target, options(c.pairs...)).fails(c.say)
			n.layers(target, 0)
		})
	}
	run(t, "a path that is allowed", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", target, options("path", n.roots+"/data")).succeeds()
		n.write(target+"/deep/file", "x")
		n.call("local", "expandfs", options("path", n.roots+"/data"), "", target, "2", "1").fails("no size")
		n.call("local", "unmount", target).succeeds()
		n.layers(target, 0)
		if n.read(n.roots+"/data/deep/file") != "x" {
			t.Error("the file is gone")
		}
	})
	run(t, "a volume of its own filesystem", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", n.target("local", "p", "v"), options("volume", "image", "size", "64Mi", "kubernetes.io/fsType", "ext4")).succeeds()
		if at := n.mounts(target); len(at) != 1 || at[0].Type != "ext4" {
			t.Errorf("%v", at)
		}
		n.call("local", "unmount", target).succeeds()
		n.layers(target, 0)
	})
}

// Targets that something is in the way of, and stacked mounts.
func TestTargets(t *testing.T) {
	n := withDaemon(t)
	o := options("volume", "v", "size", "16Mi")
	run(t, "not empty", func(t *testing.T) {
		n.TB = t
		target := n.target("local", "full", "v")
		n.write(target+"/file", "the node's own")
		n.call("local", "mount", target, o).fails("something in it")
		n.call("local", "unmount", target)
		if n.read(target+"/file") != "the node's own" {
			t.Error("the file is gone")
		}
	})
	run(t, "a file", func(t *testing.T) {
		n.TB = t
		target := n.target("local", "file", "v")
		must(t, os.Remove(target))
		n.write(target, "text")
		n.call("local", "mount", target, o).fails("directory")
	})
	run(t, "not there", func(t *testing.T) {
		n.TB = t
		target := n.target("local", "missing", "v")
		must(t, os.Remove(target))
		n.call("local", "mount", target, o).succeeds()
		n.layers(target, 1)
		n.call("local", "unmount", target).succeeds()
	})
	run(t, "a pod that is gone", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", n.kubelet+"/pods/nobody/volumes/hostvol~local/v", o).fails()
	})
	run(t, "stacked", func(t *testing.T) {
		n.TB = t
		target := n.target("local", "stacked", "v")
		n.call("local", "mount", target, o).succeeds()
		for range 3 {
			must(t, exec.Command("mount", "-t", "tmpfs", "x", target).Run())
		}
		n.call("local", "mount", target, o).fails("something else is mounted")
		n.layers(target, 4)
		n.call("local", "unmount", target).succeeds()
		n.layers(target, 0)
	})
	run(t, "names that look alike", func(t *testing.T) {
		n.TB = t
		one, other := n.target("local", "alike", "vol-2"), n.target("local", "alike", "vol-21")
		n.call("local", "mount", other, o).succeeds()
		n.call("local", "unmount", one).succeeds()
		n.layers(other, 1)
		n.call("local", "mount", n.target("local", "alike", "vol-2"), o).succeeds()
		n.call("local", "unmount", other).succeeds()
		n.layers(one, 1)
		n.call("local", "unmount", one).succeeds()
	})
	run(t, "names with anything in them", func(t *testing.T) {
		n.TB = t
		for _, name := range []string{"a b", `q"uote`, "new\nline", "$(touch x)", "<&>", "größe-卷", `back\slash`, "-rf", "*", "octal\\040"} {
			target := n.target("local", "odd", name)
			n.call("local", "mount", target, o).succeeds()
			n.layers(target, 1)
			n.call("local", "mount", target, o).succeeds()
			n.layers(target, 1)
			n.call("local", "unmount", target).succeeds()
			n.layers(target, 0)
		}
	})
	run(t, "kubelet directory that is a link", func(t *testing.T) {
		n.TB = t
		link := n.dir + "/link"
		must(t, os.Symlink(n.kubelet, link))
		before := n.settings.KubeletDir
		n.settings.KubeletDir = link
		defer func() { n.settings.KubeletDir = before }()
		target := n.target("nfs", "linked", "v")
		must(t, exec.Command("mount", "-t", "tmpfs", "x", target).Run())
		n.call("nfs", "unmount", strings.Replace(target, n.kubelet, link, 1)).succeeds()
		n.layers(target, 0)
	})
}

// Values with anything in them stay what they are.
func TestValues(t *testing.T) {
	n := withDaemon(t)
	for i, name := range []string{"with space", `quote"d`, "new\nline", "$(touch /tmp/flex-was-here)", "`id`", "<&>", "größe-卷", "'; rm -rf /", "-o", "UPPER", strings.Repeat("x", 120)} {
		run(t, name[:min(20, len(name))], func(t *testing.T) {
			n.TB = t
			target := n.target("local", "p"+string(rune('a'+i)), "v")
			n.call("local", "mount", target, options("volume", name, "size", "16Mi")).succeeds()
			n.write(target+"/name", name)
			n.call("local", "unmount", target).succeeds()
			again := n.target("local", "again", "v")
			n.call("local", "mount", again, options("volume", name)).succeeds()
			if got := n.read(again + "/name"); got != name {
				t.Errorf("volume %q has the content of %q", name, got)
			}
			n.call("local", "unmount", again).succeeds()
		})
	}
	if _, err := os.Stat("/tmp/flex-was-here"); err == nil {
		t.Error("a shell has seen an option")
	}
}

// Without a daemon: a clear error for a mount, and an unmount that works.
func TestDaemonAway(t *testing.T) {
	n := withDaemon(t)
	o := options("volume", "v", "size", "64Mi", "kubernetes.io/fsType", "ext4")
	target := n.target("local", "p", "v")
	n.call("local", "mount", target, o).succeeds()
	n.write(target+"/file", "kept")
	must(t, n.daemon.Kill())
	run(t, "mount", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", n.target("local", "q", "v"), o).fails("is hostvol running on this node")
	})
	run(t, "unmount", func(t *testing.T) {
		n.TB = t
		n.call("local", "unmount", target).succeeds()
		n.layers(target, 0)
	})
	must(t, n.daemon.Restart(t.Context()))
	run(t, "back again", func(t *testing.T) {
		n.TB = t
		n.call("local", "mount", n.target("local", "p", "v"), o).succeeds()
		if n.read(target+"/file") != "kept" {
			t.Error("the file is gone")
		}
		n.call("local", "unmount", target).succeeds()
	})
}

// Pods of one volume end together: what it was attached by is let go.
func TestDetachedTogether(t *testing.T) {
	n := withDaemon(t)
	run(t, "image", func(t *testing.T) {
		n.TB = t
		o := options("volume", "v", "size", "64Mi", "kubernetes.io/fsType", "ext4")
		var targets []string
		for _, pod := range []string{"a", "b", "c", "d"} {
			targets = append(targets, n.target("local", pod, "v"))
			n.call("local", "mount", targets[len(targets)-1], o).succeeds()
		}
		device := n.mounts(targets[0])[0].Source
		var all sync.WaitGroup
		for _, target := range targets {
			all.Go(func() {
				n.until("unmounted", func() bool { return n.call("local", "unmount", target).status == "Success" })
			})
		}
		all.Wait()
		if data, err := os.ReadFile("/sys/block/" + filepath.Base(device) + "/loop/backing_file"); err == nil && strings.Contains(string(data), n.pool) {
			t.Errorf("%s is attached still: %s", device, data)
		}
	})
}

// Many calls for one target at once: one mount, and each call is told the truth.
func TestParallel(t *testing.T) {
	n := withDaemon(t)
	o := options("volume", "v", "size", "64Mi")
	target := n.target("local", "p", "v")
	together := func(count int, f func(i int)) {
		var all sync.WaitGroup
		for i := range count {
			all.Add(1)
			go func() { defer all.Done(); f(i) }()
		}
		all.Wait()
	}
	run(t, "mounts", func(t *testing.T) {
		n.TB = t
		n.driver("local")
		together(12, func(int) { n.call("local", "mount", target, o).succeeded() })
		n.layers(target, 1)
	})
	run(t, "unmounts", func(t *testing.T) {
		n.TB = t
		together(12, func(int) { n.call("local", "unmount", target).succeeded() })
		n.layers(target, 0)
	})
	run(t, "both", func(t *testing.T) {
		n.TB = t
		must(t, os.MkdirAll(target, 0o750))
		together(16, func(i int) {
			if i%2 == 0 {
				n.call("local", "mount", target, o).succeeded()
			} else {
				n.call("local", "unmount", target).succeeded()
			}
		})
		if at := n.mounts(target); len(at) > 1 {
			t.Errorf("%v", at)
		}
		n.call("local", "unmount", target).succeeds()
	})
	run(t, "first mounts of one volume by many pods", func(t *testing.T) {
		n.TB = t
		together(8, func(i int) {
			at := n.target("local", "many-"+string(rune('a'+i)), "v")
			// The daemon tells all but one that it is busy; the kubelet comes again.
			n.until("mounted", func() bool {
				return n.call("local", "mount", at, options("volume", "new", "size", "64Mi")).status == "Success"
			})
		})
	})
}

// Killed at any instant: nothing is mounted twice, and a repeat succeeds.
func TestKilled(t *testing.T) {
	n := withDaemon(t)
	o := options("volume", "v", "size", "64Mi")
	target := n.target("local", "p", "v")
	took := func(args ...string) (steps int) { // in tenths of a millisecond
		begin := nowTenths()
		n.call("local", args...).succeeds()
		return int(nowTenths()-begin) + 1
	}
	for _, c := range []struct {
		name string
		args []string
		undo []string
	}{
		{"mount", []string{"mount", target, o}, []string{"unmount", target}},
		{"unmount", []string{"unmount", target}, []string{"mount", target, o}},
	} {
		run(t, c.name, func(t *testing.T) {
			n.TB = t
			if c.name == "unmount" {
				n.call("local", c.undo...).succeeds()
			}
			whole := took(c.args...)
			for range 5 { // the first time takes longer
				n.call("local", c.undo...).succeeds()
				whole = min(whole, took(c.args...))
			}
			n.call("local", c.undo...).succeeds()
			killed := 0
			for at := 0; at <= whole; at += max(1, whole/40) {
				cmd := n.command("local", c.args...)
				must(t, cmd.Start())
				sleepTenths(at)
				_ = cmd.Process.Kill()
				if cmd.Wait() != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
					killed++
				}
				n.until("a repeat succeeds", func() bool { return n.call("local", c.args...).status == "Success" })
				if at := n.mounts(target); len(at) > 1 {
					t.Fatalf("%v", at)
				}
				n.until("undone", func() bool { return n.call("local", c.undo...).status == "Success" })
			}
			t.Logf("%d kills within %d tenths of a millisecond", killed, whole)
			if killed < 10 {
				t.Errorf("only %d calls were killed", killed)
			}
		})
	}
	n.call("local", "unmount", target).succeeds()
}
