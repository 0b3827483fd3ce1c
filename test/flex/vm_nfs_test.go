//go:build vm

package flex

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// exports starts an NFS server that speaks these versions.
func exports(t testing.TB, versions string) {
	t.Helper()
	must(t, os.MkdirAll("/srv/nfs/data dir", 0o755))
	must(t, os.WriteFile("/etc/exports", []byte("/srv/nfs *(rw,no_root_squash,insecure,no_subtree_check,fsid=1)\n"), 0o644))
	// Each start is anew, with a /run of its own: the clients' rpcbind has the other.
	sh(t, `for p in $(ip netns pids servers); do
			case $(cat /proc/$p/comm) in rpcbind | rpc.statd | rpc.mountd) kill $p ;; esac
		done`)
	serve(t, `mount -t tmpfs tmpfs /run
		mkdir -p /run/rpcbind /run/sendsigs.omit.d
		mount -t nfsd nfsd /proc/fs/nfsd
		rpc.nfsd 0
		sleep 1
		rpcbind -w
		rpc.statd --no-notify
		rpc.mountd
		echo 10 >/proc/fs/nfsd/nfsv4gracetime
		echo 10 >/proc/fs/nfsd/nfsv4leasetime
		rpc.nfsd `+versions+` 2
		exportfs -ra`) //nolint:misspell // the program is called so
}

// An NFS share through its whole life.
func TestNFS(t *testing.T) {
	sh(t, "mkdir -p /srv/nfs; mountpoint -q /srv/nfs || mount -t tmpfs tmpfs /srv/nfs; mkdir -p '/srv/nfs/data dir'")
	exports(t, "-V 3 -V 4")
	n := newNode(t)
	t.Cleanup(n.clear)
	n.settings.Timeout.Duration = 40 * time.Second
	target := n.target("nfs", "p", "v")
	o := options("server", server, "share", "srv/nfs/data dir") // as old manifests have it, without the first slash
	run(t, "mount", func(t *testing.T) {
		n.TB = t
		n.call("nfs", "mount", target, o).succeeds()
		n.layers(target, 1)
		t.Log(n.mounts(target))
		n.write(target+"/file", "hello")
	})
	run(t, "mount again", func(t *testing.T) {
		n.TB = t
		n.call("nfs", "mount", target, o).succeeds()
		n.layers(target, 1)
	})
	run(t, "another share on it", func(t *testing.T) {
		n.TB = t
		n.call("nfs", "mount", target, options("server", server, "share", "/srv/nfs")).fails("something else is mounted")
		n.call("nfs", "mount", target, options("server", server, "share", "/srv/nfs/data dir", "kubernetes.io/readwrite", "ro")).fails("already")
		n.layers(target, 1)
	})
	run(t, "in use", func(t *testing.T) {
		n.TB = t
		f, err := os.Open(target + "/file")
		must(t, err)
		n.call("nfs", "unmount", target).fails("in use")
		must(t, f.Close())
	})
	run(t, "unmount", func(t *testing.T) {
		n.TB = t
		n.call("nfs", "unmount", target).succeeds()
		n.call("nfs", "unmount", target).succeeds()
		n.layers(target, 0)
	})
	run(t, "the data come back, read-only", func(t *testing.T) {
		n.TB = t
		n.call("nfs", "mount", target, options("server", server, "share", "/srv/nfs/data dir", "kubernetes.io/readwrite", "ro")).succeeds()
		if n.read(target+"/file") != "hello" || os.WriteFile(target+"/x", nil, 0o644) == nil {
			t.Error("it is not that, or it is writable")
		}
		n.call("nfs", "unmount", target).succeeds()
	})
	run(t, "no such share", func(t *testing.T) {
		n.TB = t
		n.call("nfs", "mount", target, options("server", server, "share", "/srv/none")).fails("10.77.0.2:/srv/none")
		n.layers(target, 0)
	})
	run(t, "a server of version 3", func(t *testing.T) {
		n.TB = t
		exports(t, "-V 3 -N 4")
		n.call("nfs", "mount", target, o).succeeds()
		t.Log(n.mounts(target))
		n.call("nfs", "unmount", target).succeeds()
		n.layers(target, 0)
		exports(t, "-V 3 -V 4")
	})
	t.Run("dead server", func(t *testing.T) { nfsDead(t, n, o) })
}

// A server that does not answer: every call ends in time, and what it leaves is what it says.
func nfsDead(t *testing.T, n *node, o string) {
	target, other := n.target("nfs", "dead", "v"), n.target("nfs", "dead-2", "v")
	n.TB = t
	n.call("nfs", "mount", target, o).succeeds()
	n.write(target+"/file", "before")
	cable(t, "down")
	t.Cleanup(func() { cable(t, "up") })
	n.settings.Timeout.Duration = 8 * time.Second
	bounded := func(f func()) {
		begin := time.Now()
		f()
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
	}
	run(t, "mount", func(t *testing.T) {
		n.TB = t
		bounded(func() { n.call("nfs", "mount", other, o).fails("has not answered in time") })
		n.layers(other, 0)
	})
	run(t, "mount again where it is mounted", func(t *testing.T) {
		n.TB = t
		bounded(func() { n.call("nfs", "mount", target, o).succeeds() })
	})
	run(t, "unmount under a process that waits", func(t *testing.T) {
		n.TB = t
		writer := exec.Command("dd", "if=/dev/zero", "of="+target+"/big", "bs=1M", "count=64")
		must(t, writer.Start())
		time.Sleep(2 * time.Second)
		bounded(func() {
			r := n.call("nfs", "unmount", target)
			t.Log(r.text)
			if left := len(n.mounts(target)); (r.status == "Success") != (left == 0) {
				t.Errorf("%s, and %d mounts are there", r.text, left)
			}
		})
		_ = writer.Process.Kill()
		_ = writer.Wait()
	})
	run(t, "unmount", func(t *testing.T) {
		n.TB = t
		bounded(func() {
			r := n.call("nfs", "unmount", target)
			t.Log(r.text)
			if left := len(n.mounts(target)); (r.status == "Success") != (left == 0) {
				t.Errorf("%s, and %d mounts are there", r.text, left)
			}
		})
	})
	cable(t, "up")
	run(t, "when it is back", func(t *testing.T) {
		n.TB = t
		n.settings.Timeout.Duration = 60 * time.Second
		n.until("it is unmounted", func() bool { return n.call("nfs", "unmount", target).status == "Success" })
		n.layers(target, 0)
		n.call("nfs", "mount", target, o).succeeds()
		if n.read(target+"/file") != "before" {
			t.Error("the file is gone")
		}
		n.call("nfs", "unmount", target).succeeds()
	})
}
