package kubelet

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/volume"
)

func executable(t testing.TB) string {
	t.Helper()
	path := os.Getenv("HOSTVOL_FLEX_BINARY")
	if path == "" || os.Getenv("HOSTVOL_BINARY") == "" {
		t.Fatal("HOSTVOL_FLEX_BINARY and HOSTVOL_BINARY name the executables: make test sets them")
	}
	return path
}

// A driver is installed while the kubelet runs; a pod's volume is mounted, limited, and unmounted.
func TestInlineVolume(t *testing.T) {
	n := newNode(t)
	spec := inline("data", "hostvol/local", false, map[string]string{"pool": "default", "volume": "precious", "size": "64Mi"})
	if _, err := n.manager.FindPluginBySpec(spec); err == nil {
		t.Fatal("the kubelet knows a driver that is not installed")
	}
	n.install(executable(t))
	m := n.mounter(spec, pod("1"))
	group := int64(2000)
	must(t, m.SetUp(volume.MounterArgs{FsGroup: &group}), m.SetUp(volume.MounterArgs{FsGroup: &group}))
	if want := filepath.Join(n.root, "pods/1/volumes/hostvol~local/data"); m.GetPath() != want || n.mounted(want) != 1 {
		t.Errorf("%s has %d mounts", m.GetPath(), n.mounted(m.GetPath()))
	}
	info, err := os.Stat(m.GetPath())
	must(t, err)
	if info.Sys().(*syscall.Stat_t).Gid != 2000 || info.Mode()&os.ModeSetgid == 0 {
		t.Errorf("the group of the files: %v", info.Mode())
	}
	must(t, os.WriteFile(m.GetPath()+"/file", []byte("hello"), 0o644))
	if err := os.WriteFile(m.GetPath()+"/big", make([]byte, 80<<20), 0o644); !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("80 MiB in 64: %v", err)
	}
	if _, err := m.GetMetrics(); err != nil {
		t.Errorf("metrics: %v", err)
	}
	must(t, n.unmounter("hostvol/local", "data", pod("1")).TearDown())
	if _, err := os.Stat(m.GetPath()); !os.IsNotExist(err) {
		t.Errorf("the directory is there: %v", err)
	}

	second := n.mounter(inline("other-name", "hostvol/local", true, map[string]string{"volume": "precious"}), pod("2"))
	must(t, second.SetUp(volume.MounterArgs{}))
	if data, err := os.ReadFile(second.GetPath() + "/file"); err != nil || string(data) != "hello" {
		t.Errorf("%q %v", data, err)
	}
	if err := os.WriteFile(second.GetPath()+"/x", nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("%v", err)
	}
	// As after a restart: the kubelet knows nothing but the directory's name.
	plugin, err := n.manager.FindPluginByName("hostvol/local")
	must(t, err)
	again, err := plugin.ConstructVolumeSpec("other-name", second.GetPath())
	must(t, err)
	must(t, n.unmounter("hostvol/local", again.Spec.Name(), pod("2")).TearDown())
	if n.mounted(second.GetPath()) != 0 {
		t.Error("it is mounted")
	}
}

// What the daemon refuses reaches the pod's event as it is, and leaves no directory.
func TestRefusal(t *testing.T) {
	n := newNode(t)
	n.install(executable(t))
	m := n.mounter(inline("data", "hostvol/local", false, map[string]string{"volume": "nobody"}), pod("1"))
	if err := m.SetUp(volume.MounterArgs{}); err == nil || !strings.Contains(err.Error(), "give a size") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(m.GetPath()); !os.IsNotExist(err) {
		t.Errorf("the directory is there: %v", err)
	}
}

// A persistent volume grows when its capacity does.
func TestExpand(t *testing.T) {
	n := newNode(t)
	n.install(executable(t))
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: v1.PersistentVolumeSpec{
		PersistentVolumeSource: v1.PersistentVolumeSource{FlexVolume: &v1.FlexPersistentVolumeSource{Driver: "hostvol/local", Options: map[string]string{"volume": "grows", "size": "64Mi"}}},
	}}
	spec := volume.NewSpecFromPersistentVolume(pv, false)
	m := n.mounter(spec, pod("1"))
	must(t, m.SetUp(volume.MounterArgs{}))
	plugin, err := n.manager.FindNodeExpandablePluginBySpec(spec)
	must(t, err)
	if !plugin.RequiresFSResize() {
		t.Error("the kubelet would not ask")
	}
	done, err := plugin.NodeExpand(volume.NodeResizeOptions{
		VolumeSpec: spec, DeviceMountPath: m.GetPath(), NewSize: resource.MustParse("160Mi"), OldSize: resource.MustParse("64Mi"),
	})
	must(t, err)
	if !done {
		t.Error("not done")
	}
	must(t, os.WriteFile(m.GetPath()+"/big", make([]byte, 100<<20), 0o644))
	must(t, n.unmounter("hostvol/local", "pv-1", pod("1")).TearDown())
}

// An upgrade by rename, again and again, under a kubelet that probes and mounts all the time.
func TestUpgrade(t *testing.T) {
	n := newNode(t)
	first := executable(t)
	// Another version is another file; what follows the end of an executable changes nothing of what it does.
	second := filepath.Join(n.dir, "hostvol-flex")
	data, err := os.ReadFile(first)
	must(t, err)
	n.run("cp", first, second+".new")
	must(t, os.WriteFile(second+".bin", append(data, "another version"...), 0o755))
	n.run("cp", second+".bin", second)
	n.install(first)
	spec := inline("data", "hostvol/local", false, map[string]string{"volume": "v", "size": "64Mi"})
	n.plugin(spec)

	done := make(chan struct{})
	var installs sync.WaitGroup
	var rounds atomic.Int64
	installs.Go(func() {
		defer close(done)
		for i := 0; i < 40 || rounds.Load() < 20; i++ {
			n.install([]string{second, first}[i%2])
		}
	})
	for ended := false; !ended; rounds.Add(1) {
		select {
		case <-done:
			ended = true
		default:
		}
		p := pod(strconv.FormatInt(rounds.Load(), 10))
		plugin, err := n.manager.FindPluginBySpec(spec) // probes
		must(t, err)
		m, err := plugin.NewMounter(spec, p)
		must(t, err)
		must(t, m.SetUp(volume.MounterArgs{}))
		must(t, n.unmounter("hostvol/local", "data", p).TearDown())
	}
	installs.Wait()
	t.Logf("%d volumes were mounted and unmounted under at least 40 upgrades", rounds.Load())
}

// Attachable mode: the kubelet asks for it when init says so. Its volumes need LVM, which this machine's kernel lacks:
// what can be shown here is that the calls are made, and that the errors come through. The virtual machine has the rest.
func TestAttachable(t *testing.T) {
	n := newNode(t)
	n.install(executable(t), "--drivers", "lvm", "--lvm-attach", "--lvm-groups", "hostvol-test")
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: v1.PersistentVolumeSpec{
		PersistentVolumeSource: v1.PersistentVolumeSource{FlexVolume: &v1.FlexPersistentVolumeSource{Driver: "hostvol/lvm", Options: map[string]string{"volumeID": "v", "volumegroup": "hostvol-test"}}},
	}}
	spec := volume.NewSpecFromPersistentVolume(pv, false)
	n.plugin(spec)
	plugin, err := n.manager.FindAttachablePluginBySpec(spec)
	must(t, err)
	if plugin == nil {
		t.Fatal("it is not attachable")
	}
	if name, err := plugin.GetVolumeName(spec); err != nil || name != "pv-1" {
		t.Errorf("%q %v", name, err)
	}
	attacher, err := plugin.NewAttacher()
	must(t, err)
	device, err := attacher.Attach(spec, "node")
	if err != nil || device != "/dev/hostvol-test/v" {
		t.Errorf("%q %v", device, err)
	}
	if _, err := attacher.WaitForAttach(spec, device, nil, time.Minute); err == nil || !strings.Contains(err.Error(), "hostvol-test") {
		t.Errorf("%v", err)
	}
	at, err := attacher.GetDeviceMountPath(spec)
	must(t, err)
	if want := filepath.Join(n.root, "plugins/kubernetes.io/flexvolume/hostvol/lvm/mounts/pv-1"); at != want {
		t.Errorf("%s", at)
	}
	if err := attacher.MountDevice(spec, "/dev/hostvol-test/v", at, volume.DeviceMounterArgs{}); err == nil {
		t.Error("it was mounted")
	}
	detacher, err := plugin.NewDetacher()
	must(t, err)
	must(t, detacher.Detach("pv-1", "node"), detacher.UnmountDevice(at))
}

// A Secret reaches the driver when its type is the driver's name, and no text of the kubelet's.
func TestSecret(t *testing.T) {
	n := newNode(t, &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "login", Namespace: "ns"}, Type: "hostvol/cifs",
		Data: map[string][]byte{"username": []byte("joe"), "password": []byte("pa,ss'word\n")}})
	n.install(executable(t), "--drivers", "cifs", "--timeout", "2s")
	spec := inline("data", "hostvol/cifs", false, map[string]string{"networkPath": "//127.0.0.1/none"})
	spec.Volume.FlexVolume.SecretRef = &v1.LocalObjectReference{Name: "login"}
	err := n.mounter(spec, pod("1")).SetUp(volume.MounterArgs{})
	if err == nil || !strings.Contains(err.Error(), "//127.0.0.1/none") {
		t.Errorf("%v", err)
	}
	if err != nil && strings.Contains(err.Error(), "pa,ss") {
		t.Errorf("%v", err)
	}
}
