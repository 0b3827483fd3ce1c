// Package flex is the FlexVolume protocol: one process for each call of the
// kubelet, its arguments and a JSON object in, one JSON object out. It knows the
// calls, their forms and their replies, what is the same for all drivers (targets,
// unmount, deadlines), and that a driver is a Backend. It knows no driver, and
// nothing of CSI.
//
// Source: k8s.io/kubernetes/pkg/volume/flexvolume, v1.34 and v1.36.
package flex

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/klog/v2"
)

// Backend is one driver. A method may run twice, also at the same time as another
// process does, and find what an earlier one has left when it was killed.
type Backend interface {
	// Capabilities are those of init. The kubelet asks once for each installation.
	Capabilities() Capabilities
	// Mount makes the volume appear at the target, which is locked, in the way that
	// the options ask for. What is there already and is the same is success; anything
	// else that is there is an error, and stays.
	Mount(ctx context.Context, target *Target, o Options) error
}

// Unmounter is a Backend that has more to do than to unmount.
type Unmounter interface {
	// Unmount comes before the target is unmounted in the common way, which follows
	// if it succeeds. It must not need the volume's options.
	Unmount(ctx context.Context, target *Target) error
}

// Expander is a Backend whose volumes grow.
type Expander interface {
	// Expand grows the volume to at least bytes, and the filesystem too when path
	// is not nil: then it is the root of it, mounted.
	Expand(ctx context.Context, o Options, path *Target, bytes int64) error
}

// Attacher is a Backend whose Capabilities say Attach. Its volumes are mounted once
// for all pods of a node, and bound for each by the kubelet.
type Attacher interface {
	// Device is the path that the volume's device has on its node. It looks at nothing
	// but the options.
	Device(o Options) (string, error)
	// Attach makes the volume's device ready on this node, and returns its path.
	Attach(ctx context.Context, o Options) (device string, err error)
	// MountDevice mounts it, formatted if it is proven blank.
	MountDevice(ctx context.Context, target *Target, device string, o Options) error
}

// ErrNotSupported is the answer to a call that the driver never serves. The kubelet
// remembers it, and does then what it does by default.
var ErrNotSupported = errors.New("not supported")

// grace is how much longer than its deadline a call may take to undo what it has
// begun. The kubelet wants the process gone 10 s after SIGTERM.
const grace = 8 * time.Second

// Driver is an installed driver.
type Driver struct {
	// Name is that of the executable.
	Name    string
	Backend Backend
	Targets Targets
	// Timeout bounds one call.
	Timeout time.Duration
}

// Call serves one call: its arguments without the executable's name. It returns
// within the driver's timeout, and some seconds when ctx ends, whatever the backend
// does.
func (d Driver) Call(ctx context.Context, args []string) Reply {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	log := klog.FromContext(ctx)
	begin := time.Now()
	c, err := parse(args)
	if err != nil {
		return d.end(log, c, begin, failed(c, err))
	}
	done := make(chan Reply, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				log.Error(nil, "The call met a fault in hostvol-flex itself", "call", c.name, "panic", scrub(fmt.Sprint(r), c.options.Secrets))
				done <- failed(c, errors.New("a fault in hostvol-flex itself; its log tells more, please report it"))
			}
		}()
		done <- d.serve(klog.NewContext(ctx, log.WithValues("call", c.name)), c)
	}()
	select {
	case r := <-done:
		return d.end(log, c, begin, r)
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return d.end(log, c, begin, r)
	case <-time.After(grace):
		return d.end(log, c, begin, failed(c, fmt.Errorf("not done in time and not undone either, a program or the kernel does not come back: %w", ctx.Err())))
	}
}

// end logs what came of a call.
func (d Driver) end(log klog.Logger, c call, begin time.Time, r Reply) Reply {
	values := []any{"driver", d.Name, "call", c.name, "target", c.path, "volume", c.options.Name, "status", r.Status, "took", time.Since(begin).Round(time.Millisecond)}
	if r.Status == statusFailure {
		log.Error(nil, "Call failed", append(values, "reason", r.Message)...)
	} else {
		log.V(2).Info("Call served", values...)
	}
	return r
}

func (d Driver) serve(ctx context.Context, c call) Reply {
	reply, err := c.serve(ctx, d, c)
	switch {
	case errors.Is(err, ErrNotSupported):
		return Reply{Status: statusNotSupported}
	case err != nil:
		return failed(c, err)
	}
	reply.Status = statusSuccess
	return reply
}
