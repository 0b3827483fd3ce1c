package flex

import (
	"context"
	"fmt"
	"path/filepath"
)

func notSupported(context.Context, Driver, call) (Reply, error) { return Reply{}, ErrNotSupported }

func serveInit(_ context.Context, d Driver, _ call) (Reply, error) {
	capabilities := d.Backend.Capabilities()
	return Reply{Capabilities: &capabilities}, nil
}

// serveMount is for the pod's directory. It is served in attach mode, too: the bind
// that the kubelet makes by itself forgets that a volume is read-only, and goes by
// the volume's name, which two pods may use for different volumes.
func serveMount(ctx context.Context, d Driver, c call) (Reply, error) {
	target, err := d.Targets.open(ctx, c.path)
	if err != nil {
		return Reply{}, err
	}
	defer target.close()
	return Reply{}, d.Backend.Mount(ctx, target, c.options)
}

// serveUnmount serves unmount and unmountdevice: all that they know is a path. A
// path that is not there is success.
func serveUnmount(ctx context.Context, d Driver, c call) (Reply, error) {
	target, err := d.Targets.open(ctx, c.path)
	if isGone(err) {
		return Reply{}, nil
	}
	if err != nil {
		return Reply{}, err
	}
	defer target.close()
	if u, ok := d.Backend.(Unmounter); ok {
		if err := u.Unmount(ctx, target); err != nil {
			return Reply{}, err
		}
	}
	if err := target.Clear(ctx); err != nil {
		return Reply{}, err
	}
	target.lock.end()
	return Reply{}, nil
}

// attacher is the backend, if it attaches.
func (d Driver) attacher() (Attacher, error) {
	a, ok := d.Backend.(Attacher)
	if !ok || !d.Backend.Capabilities().Attach {
		return nil, ErrNotSupported
	}
	return a, nil
}

// serveAttach is called by the controller manager, which may run on another node:
// it tells where the device will be, and touches nothing.
func serveAttach(_ context.Context, d Driver, c call) (Reply, error) {
	a, err := d.attacher()
	if err != nil {
		return Reply{}, err
	}
	device, err := a.Device(c.options)
	return Reply{Device: &device}, err
}

// serveDetach has nothing to do: what is attached is a disk of the node.
func serveDetach(_ context.Context, d Driver, _ call) (Reply, error) {
	_, err := d.attacher()
	return Reply{}, err
}

// serveWaitForAttach is called by the kubelet of the volume's node.
func serveWaitForAttach(ctx context.Context, d Driver, c call) (Reply, error) {
	a, err := d.attacher()
	if err != nil {
		return Reply{}, err
	}
	device, err := a.Attach(ctx, c.options)
	return Reply{Device: &device}, err
}

func serveMountDevice(ctx context.Context, d Driver, c call) (Reply, error) {
	a, err := d.attacher()
	if err != nil {
		return Reply{}, err
	}
	target, err := d.Targets.open(ctx, c.path)
	if err != nil {
		return Reply{}, err
	}
	defer target.close()
	return Reply{}, a.MountDevice(ctx, target, c.device, c.options)
}

// serveExpandVolume grows what is below the filesystem. No component of Kubernetes
// calls it.
func serveExpandVolume(ctx context.Context, d Driver, c call) (Reply, error) {
	e, ok := d.Backend.(Expander)
	if !ok {
		return Reply{}, ErrNotSupported
	}
	return Reply{}, e.Expand(ctx, c.options, nil, c.bytes)
}

// serveExpandFS grows the filesystem, and what is below it: in Kubernetes nobody
// else does. The path is a pod's directory, or in attach mode the device's.
func serveExpandFS(ctx context.Context, d Driver, c call) (Reply, error) {
	e, ok := d.Backend.(Expander)
	if !ok {
		return Reply{}, ErrNotSupported
	}
	if c.path != "" && !filepath.IsAbs(c.path) {
		return Reply{}, fmt.Errorf("path %q is not absolute", c.path)
	}
	target, err := d.Targets.open(ctx, c.path)
	if err != nil {
		return Reply{}, err
	}
	defer target.close()
	return Reply{}, e.Expand(ctx, c.options, target, c.bytes)
}
