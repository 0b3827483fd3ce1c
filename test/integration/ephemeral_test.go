package integration

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/hostvol/hostvol/pkg/admin"
)

// pod is one with an inline volume, as the kubelet sees it.
type pod struct {
	uid, dir   string
	id, target string // of the volume
}

// pods is where the kubelet has its pods.
func (n *node) pods() string { return filepath.Join(n.dir, "kubelet", "pods") }

// podOf makes a pod's directory, as the kubelet does before it publishes.
func (n *node) podOf(name string) pod {
	n.t.Helper()
	p := pod{uid: "5a1e-" + name}
	p.id = fmt.Sprintf("csi-%x", sha256.Sum256([]byte(p.uid+"data")))
	p.dir = filepath.Join(n.pods(), p.uid)
	p.target = filepath.Join(p.dir, "volumes/kubernetes.io~csi/data/mount")
	must(n.t, os.MkdirAll(filepath.Dir(p.target), 0o755))
	return p
}

// inline is the volume's context: the attributes of the pod's author, given as key, value, …, and the kubelet's.
func inline(p pod, pairs ...string) func(*csi.NodePublishVolumeRequest) {
	context := map[string]string{
		"csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.uid": p.uid, "csi.storage.k8s.io/pod.name": "web-0",
		"csi.storage.k8s.io/pod.namespace": "default", "csi.storage.k8s.io/serviceAccount.name": "default",
	}
	for pair := range slices.Chunk(pairs, 2) {
		context[pair[0]] = pair[1]
	}
	return attributes(context)
}

func (n *node) publishInline(p pod, pairs ...string) error {
	return n.publish(p.id, p.target, inline(p, pairs...))
}

// item is where a volume lies in the pool.
func (n *node) item(id string) string { return filepath.Join(n.pool, "volumes", id) }

// there tells whether the pool has a volume of that id on its disk.
func (n *node) there(id string) bool {
	n.t.Helper()
	_, err := os.Lstat(n.item(id))
	if err != nil && !os.IsNotExist(err) {
		n.t.Fatal(err)
	}
	return err == nil
}

// gone verifies that nothing is left of a pod's volume, nor promised to it.
func (n *node) gone(p pod) {
	n.t.Helper()
	if n.there(p.id) || layers(n.t, p.target) > 0 {
		n.t.Errorf("%s is left, with %d mounts", p.id, layers(n.t, p.target))
	}
	n.empty()
}

func TestEphemeralVolume(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			n.pool = n.filesystem(kind, 4096)
			metrics := n.metrics()
			n.start("--config", writeConfig(t, "pools: [{name: default, path: "+n.pool+", create: true}]\ntrash: {retention: 1h}"))
			p := n.podOf("web")
			for range 2 {
				must(t, n.publishInline(p, "size", "16Mi", "mode", "0750", "uid", "7", "pool", "default"))
			}
			if got := layers(t, p.target); got != 1 {
				t.Errorf("%d layers", got)
			}
			var st unix.Stat_t
			must(t, unix.Stat(p.target, &st))
			if st.Mode&0o7777 != 0o750 || st.Uid != 7 || st.Gid != 0 {
				t.Errorf("%o %d:%d", st.Mode, st.Uid, st.Gid)
			}
			if kind == "btrfs" {
				bound(t, p.target, 16*mib)
			}
			must(t, os.WriteFile(filepath.Join(p.target, "file"), []byte("x"), 0o600))
			n.seen(p, metrics())

			n.unmounted(p.id, p.target)
			n.gone(p)
			must(t, n.unpublish(p.id, p.target))
			must(t, os.RemoveAll(p.dir))
			must(t, n.unpublish(p.id, p.target))
			n.gone(p)
		})
	}
}

// seen verifies that a published volume is shown to the administrator and the kubelet, and not to the controller.
func (n *node) seen(p pod, metrics string) {
	n.t.Helper()
	v := decode[[]admin.Volume](n.t, n.admin("volumes", "-o", "json"))
	if len(v) != 1 || v[0].ID != p.id || v[0].Handle != p.id || v[0].Pod != p.uid || len(v[0].Targets) != 1 || v[0].Bytes != 16*mib {
		n.t.Errorf("%+v", v)
	}
	if out := n.admin("volumes"); !strings.Contains(out, "EPHEMERAL") || !strings.Contains(out, p.uid) {
		n.t.Errorf("%s", out)
	}
	for _, line := range []string{`hostvol_pool_volumes{pool="default"} 1`, `hostvol_pool_reserved_bytes{pool="default"} 1.6777216e+07`} {
		if !strings.Contains(metrics, "\n"+line) {
			n.t.Errorf("no line %s in\n%s", line, metrics)
		}
	}
	stats, err := n.stats(p.id, p.target)
	must(n.t, err)
	if total := stats.GetUsage()[0].GetTotal(); total == 0 {
		n.t.Errorf("%v", stats)
	}
	health, err := n.kubelet.NodeGetVolumeHealth(n.ctx(), &csi.NodeGetVolumeHealthRequest{VolumeId: p.id, VolumePublishPath: p.target})
	if err != nil || len(health.GetVolumeHealth().GetHealthStatuses()) > 0 {
		n.t.Errorf("%v %v", health, err)
	}
	if why := differ(n.all(), "[]"); why != "" {
		n.t.Error(why)
	}
}

// While the purge takes long, the trash does not offer to restore what was a pod's.
func TestAnEphemeralVolumeIsNotRestorable(t *testing.T) {
	n := newNode(t)
	n.start("--pool", "default="+n.pool, "--config", writeConfig(t, "trash: {retention: 1h, purgeRate: 1}"))
	p := n.podOf("web")
	must(t, n.publishInline(p, "size", "16Mi"))
	for i := range 30 {
		must(t, os.WriteFile(filepath.Join(p.target, fmt.Sprint(i)), nil, 0o600))
	}
	n.unmounted(p.id, p.target)
	for range 2 {
		e := n.trash()
		if len(e) != 1 || !e[0].Purging || e[0].Expiry.After(e[0].Deleted) {
			t.Fatalf("%+v", e)
		}
		if out := n.admin("trash", "list"); strings.Contains(out, "can be restored") {
			t.Errorf("%s", out)
		}
		if out := n.refused("trash", "restore", p.id); !strings.Contains(out, "purge has begun") {
			t.Errorf("%s", out)
		}
		n.restart()
	}
	must(t, n.publishInline(p, "size", "16Mi")) // a new one, with nothing of the old
	if left, err := os.ReadDir(p.target); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
	n.unmounted(p.id, p.target)
	n.stop()
	n.args = n.args[:4] // at full speed
	n.start()
	n.gone(p)
}

func TestEphemeralVolumesThatAreRefused(t *testing.T) {
	n := newNode(t)
	limited(t, n, "")
	p := n.podOf("web")
	for _, c := range []struct {
		name  string
		pairs []string
		code  codes.Code
		words []string
	}{
		{"no size", nil, codes.InvalidArgument, []string{"size: 1Gi"}},
		{"no such size", []string{"size", "huge"}, codes.InvalidArgument, []string{"huge"}},
		{"unknown", []string{"size", "16Mi", "colour", "red"}, codes.InvalidArgument, []string{"colour", "size, pool, engine, enforce, mode, uid, gid"}},
		{"mode", []string{"size", "16Mi", "mode", "rw"}, codes.InvalidArgument, []string{"mode"}},
		{"another pool", []string{"size", "16Mi", "pool", "ssd"}, codes.InvalidArgument, []string{"ssd", "default"}},
		{"enforced", []string{"size", "16Mi", "enforce", "required"}, codes.FailedPrecondition, []string{"enforce"}},
		{"too large for ever", []string{"size", "101Mi"}, codes.OutOfRange, []string{"default"}},
		{"no pod", []string{"size", "16Mi", "csi.storage.k8s.io/pod.uid", ""}, codes.InvalidArgument, []string{"podInfoOnMount"}},
		{"a pod elsewhere", []string{"size", "16Mi", "csi.storage.k8s.io/pod.uid", ".."}, codes.InvalidArgument, nil},
		{"another pod", []string{"size", "16Mi", "csi.storage.k8s.io/pod.uid", "other"}, codes.InvalidArgument, []string{"other"}},
		{"not ephemeral", []string{"size", "16Mi", "csi.storage.k8s.io/ephemeral", "false"}, codes.NotFound, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			want(t, n.publishInline(p, c.pairs...), c.code, c.words...)
		})
	}
	want(t, n.publish(p.id, p.target), codes.NotFound)
	p.id += "@01234567"
	want(t, n.publishInline(p, "size", "16Mi"), codes.InvalidArgument)
	n.empty()
}

func TestEphemeralVolumesInAFullPool(t *testing.T) {
	n := newNode(t)
	limited(t, n, "trash: {retention: 1h}")
	a, b := n.podOf("a"), n.podOf("b")
	must(t, n.publishInline(a, "size", "60Mi"))
	want(t, n.publishInline(b, "size", "41Mi"), codes.ResourceExhausted, "available", "default")
	if n.there(b.id) || layers(t, b.target) > 0 {
		t.Error("something is left")
	}
	_, err := n.create("vol", bytes(41*mib))
	want(t, err, codes.ResourceExhausted)
	must(t, n.unpublish(b.id, b.target)) // as the kubelet does when the pod is given up
	n.unmounted(a.id, a.target)
	eventually(t, waitPurge, func() string {
		if err := n.publishInline(b, "size", "41Mi"); err != nil {
			return err.Error()
		}
		return ""
	})
	n.unmounted(b.id, b.target)
	n.gone(b)
}

// What a call has made it removes if it cannot mount it, and nothing else.
func TestAFailedPublishOfAnEphemeralVolume(t *testing.T) {
	n := serve(t)
	p := n.podOf("web")
	block := func() {
		must(t, os.Mkdir(p.target, 0o755))
		must(t, os.WriteFile(filepath.Join(p.target, "mine"), nil, 0o600))
	}
	block()
	want(t, n.publishInline(p, "size", "16Mi"), codes.FailedPrecondition, "mine")
	n.gone(p)
	must(t, os.RemoveAll(p.target))

	must(t, n.publishInline(p, "size", "16Mi"))
	must(t, os.WriteFile(filepath.Join(p.target, "file"), []byte("dear"), 0o600))
	n.lose(p)
	must(t, os.Remove(p.target))
	block()
	want(t, n.publishInline(p, "size", "16Mi"), codes.FailedPrecondition, "mine")
	must(t, os.RemoveAll(p.target))
	must(t, n.publishInline(p, "size", "16Mi"))
	if text, err := os.ReadFile(filepath.Join(p.target, "file")); err != nil || string(text) != "dear" {
		t.Errorf("%q %v", text, err)
	}
	n.unmounted(p.id, p.target)
	n.gone(p)

	must(t, os.RemoveAll(p.dir)) // the kubelet has given up meanwhile
	want(t, n.publishInline(p, "size", "16Mi"), codes.FailedPrecondition, "parent")
	n.gone(p)
}

// A volume belongs to one pod and one place. Between the kubelet's volumes and the CO's nothing is mixed up.
func TestEphemeralVolumesAndOthers(t *testing.T) {
	n := serve(t, keeping(t)...)
	p := n.podOf("web")
	must(t, n.publishInline(p, "size", "16Mi"))
	must(t, os.WriteFile(filepath.Join(p.target, "file"), []byte("dear"), 0o600))

	_, err := n.create(p.id)
	want(t, err, codes.AlreadyExists, "ephemeral")
	_, err = n.get(p.id)
	want(t, err, codes.NotFound)
	want(t, n.expand(p.id, 32*mib), codes.NotFound)
	_, err = n.kubelet.NodeExpandVolume(n.ctx(), &csi.NodeExpandVolumeRequest{VolumeId: p.id, VolumePath: p.target})
	want(t, err, codes.NotFound)
	_, err = n.controller.ControllerPublishVolume(n.ctx(), &csi.ControllerPublishVolumeRequest{VolumeId: p.id, NodeId: "node-a", VolumeCapability: many()})
	want(t, err, codes.NotFound)
	_, err = n.controller.ControllerGetVolumeHealth(n.ctx(), &csi.ControllerGetVolumeHealthRequest{VolumeId: p.id})
	want(t, err, codes.NotFound)
	want(t, n.publish(p.id, n.target("other")), codes.NotFound)
	want(t, n.publish(p.id, p.target), codes.NotFound)
	_, err = n.kubelet.NodeStageVolume(n.ctx(), &csi.NodeStageVolumeRequest{VolumeId: p.id, StagingTargetPath: n.target("stage"), VolumeCapability: many()})
	want(t, err, codes.NotFound)
	n.refused("release", p.id)
	must(t, n.remove(p.id)) // never there for the controller, and never deleted

	other := n.podOf("other")
	other.id = p.id
	want(t, n.publishInline(other, "size", "16Mi"), codes.AlreadyExists, p.uid)
	want(t, n.publishInline(p, "size", "17Mi"), codes.AlreadyExists, "bytes")
	want(t, n.publishInline(p, "size", "16Mi", "mode", "0700"), codes.AlreadyExists, "attributes")
	must(t, n.unpublish(p.id, other.target)) // nothing is mounted there, and it is not this volume's place
	if text, err := os.ReadFile(filepath.Join(p.target, "file")); err != nil || string(text) != "dear" || layers(t, p.target) != 1 {
		t.Fatalf("%q %v", text, err)
	}
	n.unmounted(p.id, p.target)
	n.gone(p)

	// The other way round.
	id := n.volume(p.id)
	target := n.mounted(id, "pvc")
	must(t, os.WriteFile(filepath.Join(target, "file"), []byte("dear"), 0o600))
	want(t, n.publishInline(p, "size", "16Mi"), codes.AlreadyExists, "no ephemeral")
	must(t, n.unpublish(p.id, p.target))
	if text, err := os.ReadFile(filepath.Join(target, "file")); err != nil || string(text) != "dear" {
		t.Errorf("%q %v", text, err)
	}
	n.unmounted(id, target)
	n.restart()
	if why := differ(n.all(), []string{id}); why != "" {
		t.Error(why)
	}
}

// The kubelet has no handle but its own, whatever the mode.
func TestEphemeralVolumesInDistributedMode(t *testing.T) {
	n := distributed(t)
	p := n.podOf("web")
	must(t, n.publishInline(p, "size", "16Mi"))
	if v := decode[[]admin.Volume](t, n.admin("volumes", "-o", "json")); len(v) != 1 || v[0].Handle != p.id {
		t.Errorf("%+v", v)
	}
	n.restart()
	if _, err := n.stats(p.id, p.target); err != nil {
		t.Error(err)
	}
	n.unmounted(p.id, p.target)
	n.gone(p)
}

func TestEphemeralVolumesTogether(t *testing.T) {
	n := serve(t)
	p := n.podOf("web")
	for range 10 {
		for name, call := range map[string]func(int) error{
			"publish":   func(int) error { return n.publishInline(p, "size", "16Mi") },
			"unpublish": func(int) error { return n.unpublish(p.id, p.target) },
			"both": func(i int) error {
				if i%2 == 0 {
					return n.publishInline(p, "size", "16Mi")
				}
				return n.unpublish(p.id, p.target)
			},
		} {
			for _, err := range together(call) {
				oneOf(t, err, codes.OK, codes.Aborted)
			}
			if n.there(p.id) != (layers(t, p.target) == 1) {
				t.Errorf("after %s: there %v, %d layers", name, n.there(p.id), layers(t, p.target))
			}
		}
	}
	must(t, n.unpublish(p.id, p.target))
	n.gone(p)
}
