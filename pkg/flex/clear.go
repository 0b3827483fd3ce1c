package flex

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/run"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// An unmount may wait for a dead server where no signal ends it. The process that
// answers must not be the one that waits, so this executable starts itself for it.
const (
	takeOff = "take-off"
	force   = "force"
)

// The exit statuses of that process.
const (
	exitBusy = 3
	exitOut  = 1
)

const (
	// politely is how long a server has to answer before an unmount is forced.
	politely = 10 * time.Second
	// layersLimit ends an unmount of what is mounted again and again.
	layersLimit = 1000
)

// Clear unmounts all that is mounted on the target, and nothing else: the directory
// and what lies in it stay as they are. Nothing mounted is success. A mount that is
// in use stays, and is an error: it is never taken out of sight while it is there.
// A server that does not answer has some seconds, then what waits for it is given
// up, unless others have the same filesystem mounted.
func (t *Target) Clear(ctx context.Context) error {
	for range layersLimit {
		layers, err := t.Layers()
		if err != nil || len(layers) == 0 {
			return err
		}
		if err := t.clearTop(ctx, layers[len(layers)-1], len(layers)); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s is mounted again and again", t.Path)
}

func (t *Target) clearTop(ctx context.Context, top mount.Entry, before int) error {
	polite, cancel := context.WithTimeout(ctx, politely)
	err := t.takeOff(polite)
	cancel()
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && remote(top.Type) && t.alone(top) {
		klog.FromContext(ctx).Error(err, "A server does not answer; what waits for it is given up", "target", t.Path, "type", top.Type)
		err = t.takeOff(ctx, force)
	}
	// Whatever the process said: the mount table knows.
	layers, lerr := t.Layers()
	switch {
	case lerr != nil:
		return errors.Join(err, lerr)
	case len(layers) < before:
		return nil
	case err == nil:
		return fmt.Errorf("%s was unmounted and is mounted still", t.Path)
	case run.Code(err) == exitBusy:
		return fmt.Errorf("%s is in use: a process has a file or its working directory there; it stays mounted", t.Path)
	case remote(top.Type):
		return fmt.Errorf("%s stays mounted, its server does not answer: %w", t.Path, err)
	}
	return fmt.Errorf("unmount %s: %w", t.Path, err)
}

// alone tells whether a mount is still there, and the only one of its filesystem:
// what is given up for one is given up for all, and other pods can still wait.
func (t *Target) alone(top mount.Entry) bool {
	table, err := mount.Table()
	if err != nil {
		return false
	}
	there := false
	for _, e := range table {
		if e.ID == top.ID {
			there = true
		} else if e.Device == top.Device {
			return false
		}
	}
	return there
}

// takeOff has a process of its own take off the topmost layer.
func (t *Target) takeOff(ctx context.Context, how ...string) error {
	parent, err := t.parent.Open(".", os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer parent.Close() //nolint:errcheck // read only
	out, err := run.Do(ctx, run.Program{Argv: append([]string{run.Self, takeOff, t.name}, how...), Files: []*os.File{parent, t.lock.file}})
	if err != nil && out != "" {
		err = fmt.Errorf("%s: %w", out, err)
	}
	return err
}

// TakeOff is the main function of that process, if the arguments (with the
// executable's own name) are its: it unmounts the topmost layer of an entry of the
// directory that it has as descriptor 3.
func TakeOff(args []string, out io.Writer) (code int, is bool) {
	if len(args) < 3 || args[0] != run.Self || args[1] != takeOff {
		return 0, false
	}
	parent := safepath.FromFD(3, "its directory")
	unmount := mount.UnmountTop
	if slices.Contains(args[3:], force) {
		unmount = mount.ForceTop
	}
	_, err := unmount(parent, args[2])
	switch {
	case err == nil:
		return 0, true
	case errno.Busy(err):
		return exitBusy, true
	}
	_, _ = fmt.Fprintln(out, err)
	return exitOut, true
}

// remote tells a filesystem that waits for a server.
func remote(kind string) bool {
	return slices.Contains([]string{"nfs", "nfs4", "cifs", "smb3", "smb2", "ceph", "9p"}, kind)
}
