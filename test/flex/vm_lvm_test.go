//go:build vm

package flex

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

const disk = "/dev/vdb"

func lvmNode(t testing.TB) *node {
	t.Helper()
	sh(t, "vgs vg >/dev/null 2>&1 || { pvcreate -qy "+disk+"; vgcreate -qy vg "+disk+"; }")
	n := newNode(t)
	t.Cleanup(func() {
		n.clear()
		sh(t, "lvremove -qfy vg")
	})
	n.settings.LVM.Groups = []string{"vg"}
	n.settings.LVM.Create = true
	n.settings.Timeout.Duration = 50 * time.Second
	return n
}

func mib(path string) int64 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return -1
	}
	return int64(fs.Blocks) * fs.Bsize >> 20
}

// A logical volume through its whole life, with each filesystem.
func TestLVM(t *testing.T) {
	n := lvmNode(t)
	for _, kind := range []string{"", "xfs"} {
		run(t, "life with "+kind, func(t *testing.T) {
			n.TB = t
			volume := "v-" + kind
			target, second := n.target("lvm", "p"+kind, "v"), n.target("lvm", "q"+kind, "v")
			o := options("volumeID", volume, "volumegroup", "vg", "size", "320Mi", "kubernetes.io/fsType", kind)
			n.call("lvm", "mount", target, o).succeeds()
			n.layers(target, 1)
			n.write(target+"/file", "hello")
			n.call("lvm", "mount", target, o).succeeds()
			n.layers(target, 1)
			n.call("lvm", "mount", target, options("volumeID", "other", "volumegroup", "vg", "size", "320Mi")).fails("something else")
			n.call("lvm", "mount", second, options("volumeID", volume, "volumegroup", "vg", "kubernetes.io/readwrite", "ro")).succeeds()
			if n.read(second+"/file") != "hello" || !errors.Is(os.WriteFile(second+"/x", nil, 0o644), syscall.EROFS) {
				t.Error("the second pod's mount is not that")
			}
			n.call("lvm", "unmount", second).succeeds()
			before := mib(target)
			n.call("lvm", "expandfs", o, "", target, fmt.Sprint(480<<20), fmt.Sprint(320<<20)).succeeds()
			n.call("lvm", "expandfs", o, "", target, fmt.Sprint(480<<20), fmt.Sprint(320<<20)).succeeds()
			if after := mib(target); after < before+120 {
				t.Errorf("%d MiB, then %d", before, after)
			}
			n.call("lvm", "unmount", target).succeeds()
			n.layers(target, 0)
			n.call("lvm", "mount", target, options("volumeID", volume, "volumegroup", "vg")).succeeds()
			if n.read(target+"/file") != "hello" {
				t.Error("the file is gone")
			}
			n.call("lvm", "unmount", target).succeeds()
			if tags := sh(t, "lvs --noheadings -o lv_tags vg/"+volume); tags != "" {
				t.Errorf("tags: %s", tags)
			}
		})
	}
}

// Volumes that somebody else has made: only what is proven blank is formatted.
func TestLVMFormat(t *testing.T) {
	n := lvmNode(t)
	target := n.target("lvm", "p", "v")
	mount := func(volume string, more ...string) result {
		return n.call("lvm", "mount", target, options(append([]string{"volumeID", volume, "volumegroup", "vg"}, more...)...))
	}
	sum := func(volume string) string { return sh(t, "sha256sum </dev/vg/"+volume) }
	sh(t, "lvcreate -qy -L 16M -n zeros vg; dd if=/dev/zero of=/dev/vg/zeros bs=1M count=16 conv=fsync")
	run(t, "zeros", func(t *testing.T) {
		n.TB = t
		mount("zeros").succeeds()
		n.call("lvm", "unmount", target).succeeds()
	})
	for name, make := range map[string]string{
		"data":       "dd if=/dev/urandom of=/dev/vg/data bs=4k count=1 seek=3000 conv=fsync",
		"one-byte":   "printf x | dd of=/dev/vg/one-byte bs=1 seek=16777215 conv=fsync",
		"partitions": "echo 'label: gpt' | sfdisk -q /dev/vg/partitions",
		"physical":   "pvcreate -qy --config 'devices{scan_lvs=1}' /dev/vg/physical",
		"other-kind": "mkfs.ext4 -q /dev/vg/other-kind",
	} {
		run(t, name, func(t *testing.T) {
			n.TB = t
			sh(t, "lvcreate -qy -Wy -L 16M -n "+name+" vg; dd if=/dev/zero of=/dev/vg/"+name+" bs=1M count=16 conv=fsync; "+make+"; udevadm settle")
			before := sum(name)
			more := []string{}
			if name == "other-kind" {
				more = []string{"kubernetes.io/fsType", "xfs"}
			}
			r := mount(name, more...).fails()
			t.Log(r.message)
			if sum(name) != before {
				t.Error("it was written to")
			}
			n.layers(target, 0)
		})
	}
	run(t, "open elsewhere", func(t *testing.T) {
		n.TB = t
		sh(t, "lvcreate -qy -L 16M -n open vg; dd if=/dev/zero of=/dev/vg/open bs=1M count=16 conv=fsync; udevadm settle")
		f, err := os.OpenFile("/dev/vg/open", os.O_RDWR, 0)
		must(t, err)
		mount("open").fails("has its device open")
		must(t, f.Close())
		mount("open", "kubernetes.io/readwrite", "ro").fails("none is made")
		mount("open").succeeds()
		n.call("lvm", "unmount", target).succeeds()
	})
	run(t, "read-only volume", func(t *testing.T) {
		n.TB = t
		sh(t, "lvchange -an vg/zeros; lvchange -pr vg/zeros; lvchange -ay vg/zeros; udevadm settle")
		mount("zeros", "kubernetes.io/readwrite", "ro").succeeds()
		n.layers(target, 1)
		n.call("lvm", "unmount", target).succeeds()
		sh(t, "lvchange -an vg/zeros; lvchange -prw vg/zeros; lvchange -ay vg/zeros; udevadm settle")
	})
	run(t, "two pods at once", func(t *testing.T) {
		n.TB = t
		o := options("volumeID", "both", "volumegroup", "vg", "size", "64Mi")
		one, other := n.target("lvm", "one", "v"), n.target("lvm", "other", "v")
		var all sync.WaitGroup
		for _, target := range []string{one, other} {
			all.Go(func() {
				if r := n.call("lvm", "mount", target, o); r.status != "Success" {
					t.Error(r.text)
				}
			})
		}
		all.Wait()
		n.layers(one, 1)
		n.layers(other, 1)
		n.call("lvm", "unmount", one).succeeds()
		n.call("lvm", "unmount", other).succeeds()
	})
	run(t, "not allowed to make one", func(t *testing.T) {
		n.TB = t
		n.settings.LVM.Create = false
		defer func() { n.settings.LVM.Create = true }()
		mount("none", "size", "64Mi").fails("--lvm-create")
		mount("none").fails("give a size")
	})
	run(t, "too large", func(t *testing.T) {
		n.TB = t
		mount("huge", "size", "100Ti").fails()
	})
	run(t, "no such group", func(t *testing.T) {
		n.TB = t
		n.settings.LVM.Groups = []string{"vg", "nowhere"}
		n.call("lvm", "mount", target, options("volumeID", "v", "volumegroup", "nowhere")).fails("no such logical volume")
	})
	run(t, "not active", func(t *testing.T) {
		n.TB = t
		sh(t, "lvchange -an vg/zeros")
		mount("zeros").succeeds()
		n.call("lvm", "unmount", target).succeeds()
	})
}

// The same through attach and mountdevice.
func TestLVMAttach(t *testing.T) {
	n := lvmNode(t)
	n.settings.LVM.Attach = true
	o := options("volumeID", "a", "volumegroup", "vg", "size", "64Mi")
	device := n.kubelet + "/plugins/kubernetes.io/flexvolume/hostvol/lvm/mounts/vol"
	must(t, os.MkdirAll(device, 0o750))
	run(t, "attach", func(t *testing.T) {
		n.TB = t
		attach := func(args ...string) {
			if r := n.call("lvm", args...).succeeds(); r.reply["device"] != "/dev/vg/a" {
				t.Error(r.text)
			}
		}
		attach("attach", o, "another-node")
		if _, err := os.Stat("/dev/vg/a"); err == nil {
			t.Error("attach, which may run elsewhere, has made it")
		}
		attach("waitforattach", "/dev/vg/a", o)
		attach("waitforattach", "/dev/vg/a", o)
		n.call("lvm", "isattached", o, "node").unsupported()
		n.call("lvm", "getvolumename", o).unsupported()
	})
	run(t, "mountdevice", func(t *testing.T) {
		n.TB = t
		n.call("lvm", "mountdevice", device, "/dev/vg/other", o).fails("is not that of")
		n.call("lvm", "mountdevice", device, "/dev/vg/a", o).succeeds()
		n.call("lvm", "mountdevice", device, "/dev/vg/a", o).succeeds()
		n.layers(device, 1)
		n.call("lvm", "expandfs", o, "/dev/vg/a", device, fmt.Sprint(128<<20), "1").succeeds()
		if mib(device) < 100 {
			t.Errorf("%d MiB", mib(device))
		}
	})
	run(t, "mount for a pod", func(t *testing.T) {
		n.TB = t
		target := n.target("lvm", "attached", "vol")
		n.write(device+"/file", "hello")
		n.call("lvm", "mount", target, options("volumeID", "a", "volumegroup", "vg", "kubernetes.io/readwrite", "ro")).succeeds()
		if n.read(target+"/file") != "hello" || !errors.Is(os.WriteFile(target+"/x", nil, 0o644), syscall.EROFS) {
			t.Error("it is not that, or it is writable")
		}
		n.write(device+"/other", "the device's own mount is writable still")
		n.call("lvm", "unmount", target).succeeds()
	})
	run(t, "unmountdevice", func(t *testing.T) {
		n.TB = t
		n.call("lvm", "unmountdevice", device).succeeds()
		n.call("lvm", "unmountdevice", device).succeeds()
		n.layers(device, 0)
		n.call("lvm", "detach", "vol", "node").succeeds()
	})
}

// Killed at any instant of the first mount, which makes the volume and its filesystem.
func TestLVMKilled(t *testing.T) {
	n := lvmNode(t)
	const step = 1600 * time.Millisecond // programs are slow here: the whole takes some seconds
	for i := range 4 {
		run(t, fmt.Sprintf("after %s", time.Duration(i)*step), func(t *testing.T) {
			n.TB = t
			kind := []string{"ext4", "xfs"}[i%2]
			volume := fmt.Sprintf("k%d", i)
			target := n.target("lvm", volume, "v")
			o := options("volumeID", volume, "volumegroup", "vg", "size", "320Mi", "kubernetes.io/fsType", kind)
			cmd := n.command("lvm", "mount", target, o)
			must(t, cmd.Start())
			time.Sleep(time.Duration(i) * step)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			n.until("a repeat succeeds", func() bool {
				r := n.call("lvm", "mount", target, o)
				if r.status != "Success" {
					t.Log(r.message)
				}
				return r.status == "Success"
			})
			n.layers(target, 1)
			n.write(target+"/file", "x")
			n.call("lvm", "unmount", target).succeeds()
			sh(t, "lvremove -qfy vg/"+volume)
		})
	}
}
