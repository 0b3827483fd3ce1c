package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// A volume that was made earlier and kept is used by its handle alone.
func TestAKeptVolume(t *testing.T) {
	n := serve(t)
	id := n.volume("pvc-1")
	target := n.mounted(id, "first")
	must(t, os.WriteFile(filepath.Join(target, "file"), []byte("x"), 0o600))
	n.unmounted(id, target)
	n.restart()
	target = n.mounted("pvc-1", "second", attributes(map[string]string{"anything": "else"}))
	if _, err := os.Stat(filepath.Join(target, "file")); err != nil {
		t.Error(err)
	}
}

// static starts a node that allows directories below two roots, and makes one in the first.
func static(t *testing.T) (n *node, roots [2]string) {
	t.Helper()
	n = newNode(t)
	roots = [2]string{filepath.Join(n.dir, "root"), filepath.Join(n.dir, "other")}
	for _, root := range roots {
		must(t, os.MkdirAll(filepath.Join(root, "shop/data"), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(roots[0], "shop/data/file"), []byte("dear"), 0o600))
	n.start("--pool", "default="+n.pool, "--config", writeConfig(t, "staticRoots: ["+roots[0]+", "+roots[1]+"]"))
	return n, roots
}

func at(path string) func(*csi.NodePublishVolumeRequest) {
	return attributes(map[string]string{"path": path})
}

func TestStaticVolume(t *testing.T) {
	n, roots := static(t)
	path := filepath.Join(roots[0], "shop/data")
	unchanged(t, roots[0])
	target := n.mounted("shop", "pod", at(path))
	must(t, n.publish("shop", target, at(path)))
	want(t, n.publish("shop", target, at(roots[1]+"/shop/data")), codes.AlreadyExists)
	text, err := os.ReadFile(filepath.Join(target, "file"))
	if err != nil || string(text) != "dear" {
		t.Errorf("%q %v", text, err)
	}
	readonly := n.mounted("shop", "reader", at(path), readOnly)
	if os.WriteFile(filepath.Join(readonly, "new"), nil, 0o600) == nil {
		t.Error("written through a read-only mount")
	}

	answer, err := n.controller.ValidateVolumeCapabilities(n.ctx(), &csi.ValidateVolumeCapabilitiesRequest{
		VolumeId: "shop", VolumeCapabilities: []*csi.VolumeCapability{many()}, VolumeContext: map[string]string{"path": path},
	})
	if err != nil || answer.GetConfirmed() == nil {
		t.Errorf("%v %v", answer, err)
	}
	_, err = n.controller.ControllerPublishVolume(n.ctx(), &csi.ControllerPublishVolumeRequest{
		VolumeId: "shop", NodeId: "node-a", VolumeCapability: many(), VolumeContext: map[string]string{"path": path},
	})
	want(t, err, codes.OK)

	// Calls without attributes go by the mount, also those to a daemon that did not make it.
	for range 2 {
		stats, err := n.stats("shop", target)
		if err != nil || stats.GetUsage()[0].GetTotal() == 0 {
			t.Errorf("%v %v", stats, err)
		}
		health, err := n.kubelet.NodeGetVolumeHealth(n.ctx(), &csi.NodeGetVolumeHealthRequest{VolumeId: "shop", VolumePublishPath: target})
		if err != nil || len(health.GetVolumeHealth().GetHealthStatuses()) > 0 {
			t.Errorf("%v %v", health, err)
		}
		n.restart()
	}
	_, err = n.stats("shop", n.target("elsewhere"))
	want(t, err, codes.NotFound)
	n.unmounted("shop", target)
	n.unmounted("shop", readonly)
	must(t, n.remove("shop")) // never there for the controller, and never deleted
	if why := differ(n.all(), "[]"); why != "" {
		t.Error(why)
	}
}

func TestStaticVolumesThatAreRefused(t *testing.T) {
	n, roots := static(t)
	out := canary(t)
	n.volume("vol")
	must(t, os.Symlink(out, filepath.Join(roots[0], "out")))
	must(t, os.Symlink("shop", filepath.Join(roots[0], "inside")))
	must(t, os.WriteFile(filepath.Join(roots[0], "file"), nil, 0o600))
	for _, c := range []struct {
		name, handle, path string
		code               codes.Code
	}{
		{"outside", "s", out, codes.InvalidArgument},
		{"etc", "s", "/etc", codes.InvalidArgument},
		{"relative", "s", "shop/data", codes.InvalidArgument},
		{"dots", "s", roots[0] + "/../" + filepath.Base(out), codes.InvalidArgument},
		{"unclean", "s", roots[0] + "/shop//data", codes.InvalidArgument},
		{"the root itself", "s", roots[0], codes.InvalidArgument},
		{"beside the root", "s", roots[0] + "-2/shop", codes.InvalidArgument},
		{"by a link", "s", roots[0] + "/out", codes.InvalidArgument},
		{"through a link", "s", roots[0] + "/out/empty", codes.InvalidArgument},
		{"through a link inside", "s", roots[0] + "/inside/data", codes.InvalidArgument},
		{"a file", "s", roots[0] + "/file", codes.InvalidArgument},
		{"missing", "s", roots[0] + "/shop/none", codes.NotFound},
		{"NUL", "s", roots[0] + "/shop\x00", codes.InvalidArgument},
		{"the handle of a pool's volume", "vol", roots[0] + "/shop/data", codes.InvalidArgument},
		{"a pool", "s", n.pool + "/volumes/vol", codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := n.target("pod")
			want(t, n.publish(c.handle, target, at(c.path)), c.code)
			if layers(t, target) > 0 {
				t.Error("it is mounted")
			}
			_, err := n.controller.ControllerPublishVolume(n.ctx(), &csi.ControllerPublishVolumeRequest{
				VolumeId: c.handle, NodeId: "node-a", VolumeCapability: many(), VolumeContext: map[string]string{"path": c.path},
			})
			want(t, err, c.code)
		})
	}
}

// The attributes of an inline volume are the pod author's, who could name any directory.
func TestInlineVolumesMayNotNameADirectory(t *testing.T) {
	n, roots := static(t)
	p := n.podOf("web")
	path := []string{"path", roots[0] + "/shop/data", "size", "16Mi"}
	want(t, n.publishInline(p, path...), codes.InvalidArgument, "inline")
	p.id = n.volume("vol")
	want(t, n.publishInline(p, path...), codes.InvalidArgument, "inline")
}

func TestNoStaticRoots(t *testing.T) {
	n := serve(t)
	want(t, n.publish("s", n.target("pod"), at(canary(t))), codes.InvalidArgument, "staticRoots")
}
