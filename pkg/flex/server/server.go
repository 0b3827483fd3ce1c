// Package server is the daemon's end of package daemon: it lets the FlexVolume
// driver local have volumes, within what the administrator allows. Whoever may make
// a pod can write a FlexVolume into it, so what comes in is a stranger's wish.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hostvol/hostvol/pkg/flex/daemon"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/volume"
	"github.com/hostvol/hostvol/pkg/wire"
)

// Allowed is what pods may have.
type Allowed struct {
	// Pools are those whose volumes they may use and make.
	Pools []string
	// Roots are directories below which a path may lie.
	Roots []string
	// KubeletDir is the kubelet's, which no path may reach.
	KubeletDir string
}

// New serves the service's volumes.
func New(ctx context.Context, volumes *volume.Service, allowed Allowed) *http.Server {
	s := server{volumes, allowed}
	mux := &wire.Mux{StatusOf: func(error) int { return http.StatusConflict }} // the text is what counts
	wire.Handle(mux, "POST "+daemon.MountPath, with(s.mount))
	wire.Handle(mux, "POST "+daemon.UnmountPath, with(s.unmount))
	wire.Handle(mux, "POST "+daemon.ExpandPath, with(s.expand))
	return mux.Server(ctx)
}

type server struct {
	volumes *volume.Service
	allowed Allowed
}

// with gives a method its request's body. Who asks may be gone at any time; what was
// begun is ended all the same, as the CO's repeat wants to find it.
func with[T any](method func(context.Context, T) error) func(*http.Request) (daemon.None, error) {
	return func(r *http.Request) (daemon.None, error) {
		body, err := wire.Body[T](r)
		if err != nil {
			return daemon.None{}, fmt.Errorf("the request is not understood, the driver and the daemon may be of different versions: %w", err)
		}
		return daemon.None{}, method(context.WithoutCancel(r.Context()), body)
	}
}

func (s server) mount(ctx context.Context, m daemon.Mount) error {
	r := volume.PublishRequest{Target: m.Target, ReadOnly: m.ReadOnly}
	if m.Path != "" {
		if err := s.below(m.Path); err != nil {
			return err
		}
		r.Handle, r.Context = m.Path, volume.StaticContext(m.Path)
		return s.volumes.Publish(ctx, r)
	}
	v, err := s.volume(ctx, m)
	if err != nil {
		return err
	}
	r.Handle, r.Access = v.Handle, volume.Access{FSType: m.FSType}
	return s.volumes.Publish(ctx, r)
}

// below checks that a path lies below an allowed root; the service checks that no
// link leads out of it again.
func (s server) below(path string) error {
	if slices.ContainsFunc(s.allowed.Roots, func(root string) bool { return mount.Below(path, root) }) {
		return s.notKubelet(path)
	}
	return fmt.Errorf("path %q is not below any of the roots that flex.roots allows on this node (%s)", path, strings.Join(s.allowed.Roots, ", "))
}

// notKubelet refuses what leads to the kubelet's own directory, where other pods'
// volumes and secrets are, whatever links the roots may be.
func (s server) notKubelet(path string) error {
	plain, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the service says so
	}
	if err != nil {
		return err
	}
	kubelet, err := filepath.EvalSymlinks(s.allowed.KubeletDir)
	if err != nil {
		return err
	}
	if plain == kubelet || mount.Below(plain, kubelet) || mount.Below(kubelet, plain) {
		return fmt.Errorf("path %q and the kubelet's directory %s contain one another", path, s.allowed.KubeletDir)
	}
	return nil
}

// volume finds the volume that a mount asks for, or makes it. The size of one that is
// there stays what it is: whoever may mount it may not take the pool with it.
func (s server) volume(ctx context.Context, m daemon.Mount) (volume.Volume, error) {
	v, err := s.volumes.Find(m.Volume)
	switch {
	case err == nil:
	case m.Bytes == 0 && errors.Is(err, volume.ErrNotFound):
		return v, fmt.Errorf("%w; give a size to have it made", err)
	case !errors.Is(err, volume.ErrNotFound):
		return v, err
	default:
		return s.create(ctx, m)
	}
	if !slices.Contains(s.allowed.Pools, v.Pool) {
		return v, s.refused(v.Pool)
	}
	if m.Pool != "" && m.Pool != v.Pool {
		return v, fmt.Errorf("volume %s is in pool %s, not in %s", v.ID, v.Pool, m.Pool)
	}
	return v, nil
}

func (s server) create(ctx context.Context, m daemon.Mount) (volume.Volume, error) {
	if m.Pool == "" && len(s.allowed.Pools) == 1 {
		m.Pool = s.allowed.Pools[0]
	}
	if !slices.Contains(s.allowed.Pools, m.Pool) {
		return volume.Volume{}, s.refused(m.Pool)
	}
	parameters := map[string]string{"pool": m.Pool}
	if m.FSType != "" { // a filesystem of its own is an image's
		parameters["engine"] = "image"
	}
	return s.volumes.Create(ctx, volume.CreateRequest{
		Name: m.Volume, Size: volume.Range{Required: m.Bytes}, Access: volume.Access{FSType: m.FSType}, Parameters: parameters,
	})
}

func (s server) refused(pool string) error {
	if pool == "" {
		return fmt.Errorf("give the option pool, one of those that flex.pools allows on this node (%s)", strings.Join(s.allowed.Pools, ", "))
	}
	return fmt.Errorf("pool %q is none of those that flex.pools allows on this node (%s)", pool, strings.Join(s.allowed.Pools, ", "))
}

func (s server) unmount(ctx context.Context, u daemon.Unmount) error {
	// Where the volume is not known, or a path, the target stands for it.
	return s.volumes.Unpublish(ctx, cmp.Or(s.volumes.PublishedAt(u.Target), u.Target), u.Target)
}

func (s server) expand(ctx context.Context, e daemon.Expand) error {
	v, err := s.volumes.Find(e.Volume)
	if err != nil {
		return err
	}
	if !slices.Contains(s.allowed.Pools, v.Pool) {
		return s.refused(v.Pool)
	}
	_, err = s.volumes.Expand(ctx, v.Handle, volume.Range{Required: e.Bytes})
	return err
}
