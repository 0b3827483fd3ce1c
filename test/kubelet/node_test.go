package kubelet

import (
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/flexvolume"
	volumetest "k8s.io/kubernetes/pkg/volume/testing"
	"k8s.io/mount-utils"
	"k8s.io/utils/exec"
)

// node is what the kubelet and hostvol have on a node.
type node struct {
	testing.TB
	dir, root, plugins, pool string
	manager                  *volume.VolumePluginMgr
}

// host is the kubelet as plugins see it, with a real mounter.
type host struct {
	volumetest.FakeVolumeHost
	mounter mount.Interface
}

// GetMounter implements volume.VolumeHost.
func (h host) GetMounter() mount.Interface { return h.mounter }

// newNode starts a daemon and the kubelet's plugin manager, which watches an empty plugin directory.
func newNode(t *testing.T, secrets ...*v1.Secret) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{TB: t, dir: dir, root: filepath.Join(dir, "kubelet"), plugins: filepath.Join(dir, "exec"), pool: filepath.Join(dir, "disk")}
	must(t, os.MkdirAll(n.root, 0o755), os.MkdirAll(n.plugins, 0o755), os.MkdirAll(n.pool, 0o755))
	n.disk()
	n.start()
	client := fake.NewClientset()
	for _, s := range secrets {
		_, err := client.CoreV1().Secrets(s.Namespace).Create(t.Context(), s, metav1.CreateOptions{})
		must(t, err)
	}
	h := host{volumetest.NewFakeKubeletVolumeHost(t, n.root, client, nil), mount.New("")}
	n.manager = &volume.VolumePluginMgr{}
	must(t, n.manager.InitPlugins(nil, flexvolume.GetDynamicPluginProber(t.Context(), n.plugins, exec.New()), h))
	return n
}

// disk mounts a btrfs with quotas for the pool.
func (n *node) disk() {
	n.Helper()
	image := filepath.Join(n.dir, "disk.img")
	n.run("truncate", "-s", "1G", image)
	n.run("mkfs.btrfs", "-q", image)
	n.run("mount", "-o", "loop", image, n.pool)
	n.Cleanup(func() { n.run("umount", "-d", n.pool) })
	n.run("btrfs", "quota", "enable", n.pool)
	must(n, os.Mkdir(n.pool+"/pool", 0o700))
}

func (n *node) socket() string { return filepath.Join(n.dir, "flex.sock") }

// start starts the daemon, which ends with the test.
func (n *node) start() {
	n.Helper()
	config := filepath.Join(n.dir, "config.yaml")
	must(n, os.WriteFile(config, fmt.Appendf(nil, "pools: [{name: default, path: %s/pool, create: true}]\nflex: {endpoint: \"unix://%s\", pools: [default]}\n", n.pool, n.socket()), 0o600))
	cmd := osexec.Command(os.Getenv("HOSTVOL_BINARY"), "serve", "--config", config, "--node-id", "node", "--kubelet-dir", n.root,
		"--endpoint", "unix://"+n.dir+"/csi.sock", "--run-dir", n.dir+"/run")
	var log strings.Builder
	cmd.Stderr = &log
	must(n, cmd.Start())
	n.Cleanup(func() {
		must(n, cmd.Process.Signal(syscall.SIGTERM))
		if err := cmd.Wait(); err != nil {
			n.Errorf("the daemon: %v\n%s", err, log.String())
		}
	})
	n.until("the daemon serves", func() bool { _, err := os.Stat(n.dir + "/csi.sock"); return err == nil })
}

// install installs drivers, as an administrator does.
func (n *node) install(executable string, more ...string) {
	n.Helper()
	n.run(append([]string{executable, "install", "--plugin-dir", n.plugins, "--kubelet-dir", n.root, "--socket", n.socket(), "--log", n.dir + "/flex.log"}, more...)...)
}

// plugin waits until the kubelet knows a driver.
func (n *node) plugin(spec *volume.Spec) (p volume.VolumePlugin) {
	n.Helper()
	n.until("the kubelet knows the driver", func() bool {
		var err error
		p, err = n.manager.FindPluginBySpec(spec)
		return err == nil
	})
	return p
}

func (n *node) mounter(spec *volume.Spec, pod *v1.Pod) volume.Mounter {
	n.Helper()
	m, err := n.plugin(spec).NewMounter(spec, pod)
	must(n, err)
	return m
}

func (n *node) unmounter(driver, name string, pod *v1.Pod) volume.Unmounter {
	n.Helper()
	p, err := n.manager.FindPluginByName(driver)
	must(n, err)
	u, err := p.NewUnmounter(name, pod.UID)
	must(n, err)
	return u
}

// mounted tells how many mounts lie on a path.
func (n *node) mounted(path string) (count int) {
	n.Helper()
	all, err := mount.New("").List()
	must(n, err)
	for _, m := range all {
		if m.Path == path {
			count++
		}
	}
	return count
}

func (n *node) until(what string, is func() bool) {
	n.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			n.Fatalf("waited too long: %s", what)
		}
	}
}

func (n *node) run(argv ...string) string {
	n.Helper()
	out, err := osexec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		n.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

func pod(uid string) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod-" + uid, Namespace: "ns", UID: types.UID(uid)}}
}

func inline(name, driver string, readOnly bool, options map[string]string) *volume.Spec {
	return volume.NewSpecFromVolume(&v1.Volume{Name: name, VolumeSource: v1.VolumeSource{FlexVolume: &v1.FlexVolumeSource{
		Driver: driver, ReadOnly: readOnly, Options: options,
	}}})
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
