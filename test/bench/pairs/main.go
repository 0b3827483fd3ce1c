// Pairs compares two executables of the daemon, call by call, in one run: -old twice and -new once, each with a pool
// of its own on the same kind of filesystem. Each round makes the same calls to all three, in an order that changes.
// What -new takes in relation to -old is told beside what -old takes in relation to itself. Root.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/hostvol/hostvol/test/daemon"
)

func main() {
	old := flag.String("old", "", "the executable to compare with")
	binary := flag.String("new", "bin/hostvol", "the executable that is compared")
	rounds := flag.Int("rounds", 24, "rounds, each a pair")
	calls := flag.Int("calls", 8, "calls of each kind in a round")
	kind := flag.String("fs", "ext4", "filesystem of the pools")
	busy := flag.Int("busy", 20, "image volumes that are published meanwhile, for each daemon")
	flag.Parse()
	if err := run(context.Background(), *old, *binary, *kind, *rounds, *calls, *busy); err != nil {
		fmt.Fprintln(os.Stderr, "pairs:", err)
		os.Exit(1)
	}
}

// side is one daemon.
type side struct {
	d    *daemon.Daemon
	node csi.NodeClient
	ctl  csi.ControllerClient
	// took are the medians of each call, round by round.
	took map[string][]time.Duration
}

func run(ctx context.Context, old, binary, kind string, rounds, calls, busy int) (err error) {
	var sides []*side
	for i, executable := range []string{old, old, binary} {
		s, end, serr := start(ctx, executable, kind, i)
		if serr != nil {
			return serr
		}
		defer func() { err = errors.Join(err, end()) }()
		for n := range busy {
			if err := s.publishBusy(ctx, fmt.Sprintf("busy-%d", n)); err != nil {
				return err
			}
			defer s.end(ctx, fmt.Sprintf("busy-%d", n)) //nolint:errcheck // the pool goes
		}
		sides = append(sides, s)
	}
	for round := range rounds {
		for i := range sides {
			if err := sides[(i+round)%len(sides)].round(ctx, round, calls); err != nil {
				return err
			}
		}
	}
	report(sides)
	return nil
}

func start(ctx context.Context, executable, kind string, i int) (*side, func() error, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("pairs-%d-", i))
	if err != nil {
		return nil, nil, err
	}
	at, unmount, err := daemon.LoopFS(dir, kind, 16<<10)
	if err != nil {
		return nil, nil, err
	}
	d, err := daemon.Start(ctx, daemon.Options{Binary: executable, Dir: dir, Args: []string{"--pool", "p=" + filepath.Join(at, "pool"), "--mode", "single"}})
	if err != nil {
		return nil, nil, errors.Join(err, unmount())
	}
	s := &side{d: d, node: csi.NewNodeClient(d.Conn()), ctl: csi.NewControllerClient(d.Conn()), took: map[string][]time.Duration{}}
	return s, func() error { return errors.Join(d.Stop(), unmount(), os.RemoveAll(dir)) }, nil
}

func (s *side) target(name string) string { return filepath.Join(s.d.KubeletDir(), name) }

// form is a kind of volume.
type form struct {
	name   string
	params map[string]string
	access *csi.VolumeCapability
}

func forms() []form {
	mode := &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER}
	dir := &csi.VolumeCapability{AccessMode: mode, AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}}}
	ext4 := &csi.VolumeCapability{AccessMode: mode, AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "ext4"}}}
	raw := &csi.VolumeCapability{AccessMode: mode, AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}}
	return []form{{"directory", nil, dir}, {"image", map[string]string{"engine": "image"}, ext4}, {"block", nil, raw}}
}

func (s *side) create(ctx context.Context, name string, f form) error {
	_, err := s.ctl.CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name: name, Parameters: f.params, CapacityRange: &csi.CapacityRange{RequiredBytes: 16 << 20}, VolumeCapabilities: []*csi.VolumeCapability{f.access},
	})
	return err
}

func (s *side) publish(ctx context.Context, name, target string, f form) error {
	_, err := s.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: name, TargetPath: s.target(target), VolumeCapability: f.access})
	return err
}

func (s *side) unpublish(ctx context.Context, name, target string) error {
	_, err := s.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: name, TargetPath: s.target(target)})
	return err
}

func (s *side) publishBusy(ctx context.Context, name string) error {
	f := forms()[1]
	return errors.Join(s.create(ctx, name, f), s.publish(ctx, name, name, f))
}

func (s *side) end(ctx context.Context, name string) error { return s.unpublish(ctx, name, name) }

// round makes each call some times, and keeps the median.
func (s *side) round(ctx context.Context, round, calls int) error {
	took := map[string][]time.Duration{}
	timed := func(call string, do func() error) error {
		begin := time.Now()
		err := do()
		took[call] = append(took[call], time.Since(begin))
		if err != nil {
			err = fmt.Errorf("%s: %w", call, err)
		}
		return err
	}
	for n := range calls {
		for _, f := range forms() {
			name := fmt.Sprintf("%s-%d-%d", f.name, round, n)
			second := name + "-2"
			steps := []struct {
				call string
				do   func() error
			}{
				{"create", func() error { return s.create(ctx, name, f) }},
				{"publish", func() error { return s.publish(ctx, name, name, f) }},
				{"publish again", func() error { return s.publish(ctx, name, name, f) }},
				{"publish second", func() error { return s.publish(ctx, name, second, f) }},
				{"stats", func() error {
					_, err := s.node.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: name, VolumePath: s.target(name)})
					return err
				}},
				{"unpublish second", func() error { return s.unpublish(ctx, name, second) }},
				{"unpublish", func() error { return s.unpublish(ctx, name, name) }},
				{"delete", func() error {
					_, err := s.ctl.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: name})
					return err
				}},
			}
			for _, step := range steps {
				if err := timed(f.name+" "+step.call, step.do); err != nil {
					return err
				}
			}
		}
	}
	for call, all := range took {
		s.took[call] = append(s.took[call], quantile(all, 50))
	}
	return nil
}

func quantile[T cmp.Ordered](all []T, percent int) T {
	all = slices.Sorted(slices.Values(all))
	return all[(len(all)-1)*percent/100]
}

// ratios are b to a, round by round.
func ratios(b, a []time.Duration) (out []float64) {
	for i := range a {
		out = append(out, float64(b[i])/float64(a[i]))
	}
	return out
}

func report(sides []*side) {
	a, again, b := sides[0], sides[1], sides[2]
	fmt.Printf("%-28s %9s %9s  %-22s %-22s\n", "", "old ms", "new ms", "new/old p10 p50 p90", "old/old p10 p50 p90")
	for _, f := range forms() {
		for _, call := range []string{"create", "publish", "publish again", "publish second", "stats", "unpublish second", "unpublish", "delete"} {
			name := f.name + " " + call
			x, y := ratios(b.took[name], a.took[name]), ratios(again.took[name], a.took[name])
			verdict := ""
			if quantile(x, 50) > quantile(y, 90) {
				verdict = "slower"
			}
			fmt.Printf("%-28s %9.3f %9.3f  %.2f %.2f %.2f         %.2f %.2f %.2f  %s\n", name, ms(quantile(a.took[name], 50)), ms(quantile(b.took[name], 50)),
				quantile(x, 10), quantile(x, 50), quantile(x, 90), quantile(y, 10), quantile(y, 50), quantile(y, 90), verdict)
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
