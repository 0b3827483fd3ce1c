// Package sanity runs csi-sanity, the conformance suite of the CSI project, against hostvol: the built binary on
// its socket and the same parts in this process, in both modes, with directories, images and block devices on
// ext4, XFS and btrfs with quotas.
//
// One Ginkgo suite holds all combinations, since a process can run only one. A spec may be skipped only when
// skips.go gives the reason.
package sanity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/hostvol/hostvol/test/daemon"
)

const (
	volumeMiB = 16
	poolMiB   = 8192 // sparse; csi-sanity also asks for volumes of the default size
)

// target is one hostvol that csi-sanity runs against.
type target struct {
	dir    string // sockets and kubelet directory
	pool   string
	mode   string
	driver driver
	config sanity.TestConfig
}

// driver runs hostvol for one target.
type driver interface {
	start(ctx context.Context, t *target) (endpoint string, err error)
	stop() error
}

// volumes are the kinds of volumes that the suite makes.
func volumes() []kind {
	image := func(fstype string) map[string]string {
		return map[string]string{"engine": "image", "csi.storage.k8s.io/fstype": fstype}
	}
	return []kind{
		{name: "ext4", pool: "ext4", access: "mount"},
		{name: "btrfs", pool: "btrfs", access: "mount"},
		{name: "xfs", pool: "xfs", access: "mount", brief: true},
		// A process without CAP_SYS_RESOURCE cannot grow a mounted ext4, which distributed mode asks for.
		{name: "image-of-ext4", pool: "xfs", access: "mount", parameters: image("ext4"), only: "single"},
		{name: "image-of-xfs", pool: "ext4", access: "mount", parameters: image("xfs"), mib: 320, brief: true},
		{name: "image-of-xfs-on-btrfs", pool: "btrfs", access: "mount", parameters: image("xfs"), mib: 320, brief: true},
		{name: "image-of-btrfs", pool: "xfs", access: "mount", parameters: image("btrfs"), mib: 256, brief: true},
		{name: "block-on-ext4", pool: "ext4", access: "block", brief: true},
		{name: "block-on-xfs", pool: "xfs", access: "block", brief: true},
		{name: "block-on-btrfs", pool: "btrfs", access: "block", brief: true},
	}
}

// kind is one kind of volumes: a word for specs, the file system of its pool, what is asked of the driver.
type kind struct {
	name, pool, access string
	parameters         map[string]string
	// mib is the size, 16 unless set. Volumes are expanded to twice of it.
	mib int64
	// only is the one mode to run in, "" for both.
	only string
	// brief: the binary in single mode and the parts in distributed mode, and not all four.
	brief bool
}

func TestSanity(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it mounts file systems")
	}
	dir := t.TempDir()
	names := map[string]*target{}
	mountpoints := map[string]string{}
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		mountpoint, cleanup, err := daemon.LoopFS(dir, kind, poolMiB)
		if err != nil {
			t.Fatal(err)
		}
		mountpoints[kind] = mountpoint
		t.Cleanup(func() {
			if err := cleanup(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, v := range volumes() {
		for _, mode := range []string{"single", "distributed"} {
			for how, driver := range drivers() {
				if v.brief && (how == "binary") != (mode == "single") || v.only != "" && v.only != mode {
					continue
				}
				name := strings.Join([]string{how, v.name, mode}, " ")
				target := &target{
					dir:    filepath.Join(dir, fmt.Sprint(len(names))),
					pool:   filepath.Join(mountpoints[v.pool], fmt.Sprint(len(names))),
					mode:   mode,
					driver: driver,
					config: sanity.NewTestConfig(),
				}
				target.config.TestVolumeSize = max(v.mib, volumeMiB) << 20
				target.config.TestVolumeExpandSize = 2 * target.config.TestVolumeSize
				target.config.TestVolumeParameters = v.parameters
				target.config.TestVolumeAccessType = v.access
				names[name] = target
			}
		}
	}

	for name, target := range names {
		ginkgo.Describe(name, func() { sanity.GinkgoTest(&target.config) })
	}
	ginkgo.BeforeSuite(func(ctx ginkgo.SpecContext) {
		for name, target := range names {
			gomega.Expect(target.start(context.WithoutCancel(ctx))).To(gomega.Succeed(), name)
		}
	})
	ginkgo.AfterSuite(func(ctx ginkgo.SpecContext) {
		for name, target := range names {
			gomega.Expect(target.stop(ctx)).To(gomega.Succeed(), name)
		}
	})
	ginkgo.ReportAfterSuite("skipped specs", func(report ginkgo.Report) {
		for _, complaint := range judge(report) {
			t.Error(complaint)
		}
	})
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.NoColor = true // most often read in a log
	ginkgo.RunSpecs(t, "csi-sanity", suite, reporter)
}

func (t *target) start(ctx context.Context) error {
	for _, dir := range []string{t.dir, t.pool, t.kubeletDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	endpoint, err := t.driver.start(ctx, t)
	if err != nil {
		return err
	}
	t.config.Address = endpoint
	t.config.TargetPath = filepath.Join(t.kubeletDir(), "targets")
	t.config.StagingPath = filepath.Join(t.kubeletDir(), "staging")
	return nil
}

// stop verifies that the suite's own cleaning left nothing, and stops the driver.
func (t *target) stop(ctx context.Context) error {
	return errors.Join(t.isEmpty(ctx), t.driver.stop())
}

func (t *target) isEmpty(ctx context.Context) error {
	conn, err := grpc.NewClient(t.config.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := csi.NewControllerClient(conn).ListVolumes(ctx, &csi.ListVolumesRequest{})
	if err == nil && len(answer.GetEntries()) > 0 {
		err = fmt.Errorf("volumes are left: %v", answer.GetEntries())
	}
	if err != nil {
		return err
	}
	snapshots, err := csi.NewControllerClient(conn).ListSnapshots(ctx, &csi.ListSnapshotsRequest{})
	if err == nil && len(snapshots.GetEntries()) > 0 {
		err = fmt.Errorf("snapshots are left: %v", snapshots.GetEntries())
	}
	if err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil && strings.Contains(string(mounts), t.kubeletDir()+"/") {
		err = fmt.Errorf("mounts are left below %s:\n%s", t.kubeletDir(), mounts)
	}
	return err
}

func (t *target) kubeletDir() string { return filepath.Join(t.dir, "kubelet") }
