package integration

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

func TestHealthFindsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		status       csi.VolumeHealthErrorType
		spoil        func(n *node, item string)
	}{
		{"nested subvolume", "NestedSubvolumes", csi.VolumeHealthErrorType_DEGRADED, func(n *node, item string) {
			run(n.t, "btrfs", "subvolume", "create", filepath.Join(item, "data/nested"))
		}},
		{"quota off", "QuotaOff", csi.VolumeHealthErrorType_DEGRADED, func(n *node, _ string) {
			run(n.t, "btrfs", "quota", "disable", n.pool)
		}},
		{"limit gone", "LimitMissing", csi.VolumeHealthErrorType_DEGRADED, func(n *node, item string) {
			run(n.t, "btrfs", "qgroup", "limit", "none", filepath.Join(item, "data"))
		}},
		{"copied by hand", "QuotaOff", csi.VolumeHealthErrorType_DEGRADED, func(n *node, item string) {
			must(n.t, os.Rename(filepath.Join(item, "data"), filepath.Join(n.pool, "staging/data")))
			must(n.t, os.Mkdir(filepath.Join(item, "data"), 0o755))
		}},
		{"data missing", "DataMissing", csi.VolumeHealthErrorType_DATA_LOSS, func(n *node, item string) {
			run(n.t, "btrfs", "subvolume", "delete", filepath.Join(item, "data"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, "btrfs")
			n.faulty = true
			n.volume("good")
			n.volume("vol")
			if why := differ(n.reasons("vol"), "[]"); why != "" {
				t.Error(why)
			}
			c.spoil(n, filepath.Join(n.pool, "volumes/vol"))
			answer, err := n.controller.ControllerGetVolumeHealth(n.ctx(), &csi.ControllerGetVolumeHealthRequest{VolumeId: "vol"})
			must(t, err)
			found := answer.GetVolumeHealth().GetHealthStatuses()
			if len(found) != 1 || found[0].GetReason() != c.reason || found[0].GetStatus() != c.status || found[0].GetMessage() == "" {
				t.Errorf("%v", found)
			}
			if c.reason == "DataMissing" {
				want(t, n.publish("vol", n.target("pod")), codes.FailedPrecondition, "data")
			}
			if out := n.refused("check"); out == "" {
				t.Error("check finds nothing")
			}
			if c.reason == "LimitMissing" { // which a restart mends
				return
			}
			n.restart()
			var listed []string
			eventually(t, waitPurge, func() string {
				list, err := n.controller.ControllerListVolumeHealth(n.ctx(), &csi.ControllerListVolumeHealthRequest{})
				must(t, err)
				listed = nil
				for _, h := range list.GetEntries() {
					listed = append(listed, h.GetVolumeId())
				}
				if !slices.Contains(listed, "vol") {
					return "vol is not listed"
				}
				return ""
			})
			if c.name != "quota off" && slices.Contains(listed, "good") {
				t.Errorf("%v", listed)
			}
		})
	}
}

func TestNodeHealthLooksAtTheTarget(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	target := n.mounted(id, "pod")
	health := func(path string) []string {
		answer, err := n.kubelet.NodeGetVolumeHealth(n.ctx(), &csi.NodeGetVolumeHealthRequest{VolumeId: id, VolumePublishPath: path})
		must(t, err)
		return reasonsOf(answer.GetVolumeHealth())
	}
	if why := differ(health(target), "[]"); why != "" {
		t.Error(why)
	}
	n.unmounted(id, target)
	if why := differ(health(target), "[NotMounted]"); why != "" {
		t.Error(why)
	}
	_, err := n.kubelet.NodeGetVolumeHealth(n.ctx(), &csi.NodeGetVolumeHealthRequest{VolumeId: "nobody", VolumePublishPath: target})
	want(t, err, codes.NotFound)
}
