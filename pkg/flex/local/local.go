// Package local is the FlexVolume driver for volumes of this node: it asks the
// daemon, which makes, limits, mounts and unmounts them as it does for CSI. The
// package knows what the options mean, and nothing of pools or records.
package local

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/flex"
	"github.com/hostvol/hostvol/pkg/flex/daemon"
	"github.com/hostvol/hostvol/pkg/wire"
)

// Backend is the driver.
type Backend struct {
	daemon *daemon.Client
}

// New makes a driver that asks the daemon at the socket's path.
func New(socket string) Backend { return Backend{daemon.NewClient(socket)} }

// Capabilities implements flex.Backend.
func (Backend) Capabilities() flex.Capabilities {
	return flex.Capabilities{SELinuxRelabel: true, SupportsMetrics: true, FSGroup: true, RequiresFSResize: true}
}

// Mount implements flex.Backend.
func (b Backend) Mount(ctx context.Context, target *flex.Target, o flex.Options) error {
	m, err := wanted(o)
	if err != nil {
		return err
	}
	m.Target, m.ReadOnly = target.Path, o.ReadOnly
	if err := b.daemon.Mount(ctx, m); err != nil {
		return err
	}
	layers, err := target.Layers()
	switch {
	case err != nil:
		return err
	case len(layers) == 1 && layers[0].ReadOnly == o.ReadOnly:
		return nil
	case len(layers) == 0:
		err = fmt.Errorf("the daemon has mounted the volume where the kubelet does not see it; its container needs mountPropagation: Bidirectional for the kubelet's directory")
	case len(layers) > 1:
		return fmt.Errorf("%d mounts lie on %s; unmount it first", len(layers), target.Path)
	default:
		err = fmt.Errorf("%s is mounted in another way than was asked (read-only: %t)", target.Path, layers[0].ReadOnly)
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return errors.Join(err, b.daemon.Unmount(undo, target.Path))
}

const (
	// undoTime is how long a mount that went wrong may take to be undone.
	undoTime = 4 * time.Second
	// askTime is how long the daemon has for an unmount; then we do it by ourselves.
	askTime = 20 * time.Second
)

// Unmount implements flex.Unmounter. Where no daemon answers, the unmount in the
// common way suffices: a daemon that starts sees what is mounted no more.
func (b Backend) Unmount(ctx context.Context, target *flex.Target) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err := b.daemon.Unmount(ctx, target.Path)
	if errors.Is(err, wire.ErrNotRunning) || errors.Is(err, context.DeadlineExceeded) {
		klog.FromContext(ctx).Info("No daemon answers; unmounting without it", "target", target.Path, "err", err)
		return nil
	}
	return err
}

// Expand implements flex.Expander.
func (b Backend) Expand(ctx context.Context, o flex.Options, _ *flex.Target, bytes int64) error {
	m, err := wanted(o)
	if err != nil {
		return err
	}
	if m.Path != "" {
		return errors.New("a directory that was given by its path has no size that could grow")
	}
	return b.daemon.Expand(ctx, daemon.Expand{Volume: m.Volume, Bytes: bytes})
}

// wanted reads the options. The name that the kubelet gives is no name of a volume:
// that of an inline one is unique within its pod only.
func wanted(o flex.Options) (daemon.Mount, error) {
	picked, err := o.Pick("pool", "volume", "size", "path")
	if err != nil {
		return daemon.Mount{}, err
	}
	m := daemon.Mount{Pool: picked[0], Volume: picked[1], Path: picked[3], FSType: o.FSType}
	switch size := picked[2]; {
	case m.Path != "" && (m.Pool != "" || m.Volume != "" || size != ""):
		return m, errors.New("give either path, or volume with pool and size")
	case m.Path == "" && m.Volume == "":
		return m, errors.New("the option volume, the volume's name on this node, is required (or path, a directory); the name in the pod is none, since other pods may use the same")
	case m.Path != "" && (!filepath.IsAbs(m.Path) || filepath.Clean(m.Path) != m.Path || strings.ContainsRune(m.Path, 0)):
		return m, fmt.Errorf("option path: %q is not an absolute, clean path", m.Path)
	case size != "":
		if m.Bytes, err = flex.Size(size); err != nil {
			return m, err
		}
	}
	return m, nil
}
