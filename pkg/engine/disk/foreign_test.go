package disk_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

// What a person has attached or mounted by hand is never a second device under the
// filesystem of a pod: the publication is refused, and says by what.
func TestForeignDevice(t *testing.T) {
	for _, form := range []engine.Form{{FSType: "ext4"}, {Block: true}} {
		f := one(t, hosttest.Ext4(t, 256, ""), form, 64*mib)
		device := f.losetup("")
		for range 2 {
			is(t, f.attach(engine.Use{}), engine.ErrForeign, device, "losetup -d")
		}
		if left := sh(t, "losetup -nO NAME -j "+f.image); left != device {
			t.Errorf("after a refusal it is attached to %q", left)
		}
		f.restart()
		f.inspect(engine.ForeignDevice)
		sh(t, "losetup -d "+device)
		must(t, f.attach(engine.Use{}))
		f.detach()
	}
}

func TestForeignMount(t *testing.T) {
	for _, options := range []string{"loop", "loop,ro,noload"} {
		f := one(t, hosttest.Ext4(t, 256, ""), engine.Form{FSType: "ext4"}, 64*mib)
		at := t.TempDir()
		sh(t, "mount -o "+options+" "+f.image+" "+at)
		t.Cleanup(func() { sh(t, "! mountpoint -q "+at+" || umount "+at) })
		is(t, f.attach(engine.Use{}), engine.ErrForeign, "/dev/loop")
		_, err := f.e.Hold(t.Context(), []engine.Source{{Item: f.item, Volume: f.v}})
		if options == "loop" { // a person may write
			is(t, err, engine.ErrForeign)
		} else {
			must(t, err)
		}
		sh(t, "umount "+at)
	}
}

// A device that a person attaches under a published volume, with a lower number, is
// not taken for the volume's, by this engine or by the next.
func TestForeignDeviceUnderAPublication(t *testing.T) {
	pool := hosttest.Ext4(t, 256, "")
	f := one(t, pool, engine.Form{FSType: "ext4"}, 64*mib)
	lower := sh(t, "truncate -s 1M "+pool+"/aside; losetup -f --show "+pool+"/aside")
	target := f.publish()
	sh(t, "losetup -d "+lower)
	foreign := f.losetup("")
	for range 2 {
		again := f.publish()
		must(t, os.WriteFile(again+"/file", []byte("text"), 0o600))
		isText(t, target+"/file", "text") // one filesystem, by one device
		if a, b := sh(t, "findmnt -no SOURCE "+target), sh(t, "findmnt -no SOURCE "+again); a != b || b == foreign {
			t.Errorf("mounted from %s, then from %s; foreign is %s", a, b, foreign)
		}
		f.unmount(again)
		f.restart()
	}
	f.inspect(engine.ForeignDevice)
	f.unmount(target)
	must(t, f.e.Detach(t.Context(), f.item, f.v))
	is(t, f.attach(engine.Use{}), engine.ErrForeign, foreign)
}

// What is frozen for a snapshot is the filesystem of the pod, whatever else has
// mounted the image.
func TestHoldFreezesWhatThePodHas(t *testing.T) {
	f := one(t, hosttest.Ext4(t, 512, ""), engine.Form{FSType: "ext4"}, 64*mib)
	target, at := f.publish(), t.TempDir()
	sh(t, "mount -o ro,noload "+f.losetup("-r")+" "+at)
	t.Cleanup(func() { sh(t, "umount "+at) })
	f.restart()
	held, err := f.e.Hold(t.Context(), []engine.Source{{Item: f.item, Volume: f.v}})
	must(t, err)
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(target+"/during", []byte("text"), 0o600) }()
	select {
	case err := <-written:
		t.Errorf("written while it is held: %v", err)
	case <-time.After(time.Second):
	}
	must(t, held.Release())
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// Two devices that the driver has made, both mounted, are the work of an earlier
// program. Which one is right, a person has to tell.
func TestTwoMounts(t *testing.T) {
	f := one(t, hosttest.Ext4(t, 256, ""), engine.Form{FSType: "ext4"}, 64*mib)
	f.publish()
	first := strings.Fields(sh(t, "losetup -nO NAME -j "+f.image))[0]
	f.restart()
	_ = f.second(func(device string) {
		at := t.TempDir()
		sh(t, "mount -o ro,noload "+device+" "+at)
		defer sh(t, "umount "+at)
		must(t, f.e.Close())
		f.e = f.open(0) // nothing is known to it: a start that could not look
		err := f.attach(engine.Use{})
		is(t, err, engine.ErrForeign, first, device, "at once")
	})
}
