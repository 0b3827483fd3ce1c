// Package sanity runs csi-sanity, the conformance suite of the CSI project, against hostvol: the built binary on
// its socket and the same parts in this process, on ext4 and on btrfs with quotas, in both modes.
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
	volumeSize   = 16 << 20
	expandedSize = 32 << 20
	poolMiB      = 4096 // sparse; csi-sanity also asks for volumes of the default size
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

func TestSanity(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it mounts file systems")
	}
	dir := t.TempDir()
	names := map[string]*target{}
	for _, kind := range []string{"ext4", "btrfs"} {
		mountpoint, cleanup, err := daemon.LoopFS(dir, kind, poolMiB)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cleanup(); err != nil {
				t.Error(err)
			}
		})
		for _, mode := range []string{"single", "distributed"} {
			for how, driver := range drivers() {
				name := strings.Join([]string{how, kind, mode}, " ")
				names[name] = &target{
					dir:    filepath.Join(dir, fmt.Sprint(len(names))),
					pool:   filepath.Join(mountpoint, fmt.Sprint(len(names))),
					mode:   mode,
					driver: driver,
					config: sanity.NewTestConfig(),
				}
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
	t.config.TestVolumeSize = volumeSize
	t.config.TestVolumeExpandSize = expandedSize
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
