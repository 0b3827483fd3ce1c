package disk_test

import (
	"os"
	"testing"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

// An ext4 in which the kernel has found an error is a finding, until it was checked.
func TestInspectFindsAnError(t *testing.T) {
	s := setup(t, hosttest.Ext4(t, 256, ""))
	e := s.Open(t, 0)
	must(t, s.Root.Mkdir("item", 0o700))
	item, err := s.Root.OpenDir("item")
	must(t, err)
	defer item.Close()
	form := engine.Form{FSType: "ext4"}
	v, err := e.Create(t.Context(), item, engine.Spec{Bytes: 32 << 20, Mode: 0o755, Form: form}, nil)
	must(t, err)
	for _, faults := range []int{1, 0} {
		src, err := e.Attach(t.Context(), item, v, engine.Use{})
		must(t, err)
		devices, err := e.Devices(t.Context(), item, v)
		if err != nil || len(devices) != 1 {
			t.Fatal(devices, err)
		}
		if faults > 0 {
			must(t, os.WriteFile("/sys/fs/ext4/"+devices[0]+"/trigger_fs_error", []byte("test"), 0))
		}
		found, err := e.Inspect(t.Context(), item, v, false)
		if err != nil || len(found) != faults || faults > 0 && (found[0].Reason != engine.FilesystemReadOnly || !found[0].Unusable) {
			t.Errorf("%+v %v", found, err)
		}
		must(t, src.Close())
		must(t, e.Detach(t.Context(), item, v))
	}
}
