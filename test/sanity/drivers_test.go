package sanity

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/onsi/ginkgo/v2"
	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/app"
	"github.com/hostvol/hostvol/pkg/config"
	"github.com/hostvol/hostvol/test/daemon"
)

// drivers gives a fresh driver of each kind, by the name that specs carry.
func drivers() map[string]driver {
	return map[string]driver{
		"binary":    &child{},
		"inprocess": &inProcess{},
	}
}

// child is the built binary as a child process.
type child struct{ daemon *daemon.Daemon }

func (c *child) start(ctx context.Context, t *target) (string, error) {
	d, err := daemon.Start(ctx, daemon.Options{
		Dir:  t.dir,
		Args: []string{"--pool", "default=" + t.pool, "--mode", t.mode},
	})
	if err != nil {
		return "", err
	}
	c.daemon = d
	return d.Endpoint(), nil
}

func (c *child) stop() error { return c.daemon.Stop() }

// inProcess is the daemon's own wiring in this process, so that the race detector and a debugger see all of it.
type inProcess struct {
	cancel context.CancelFunc
	ended  chan error
}

func (p *inProcess) start(ctx context.Context, t *target) (string, error) {
	cfg := config.Config{
		NodeID:        "node-a",
		Mode:          t.mode,
		Endpoint:      "unix://" + filepath.Join(t.dir, "csi.sock"),
		AdminEndpoint: config.None,
		KubeletDir:    t.kubeletDir(),
		RunDir:        filepath.Join(t.dir, "run"),
		Pools:         []config.Pool{{Name: "default", Path: t.pool, Create: true}},
	}
	cfg.Complete()
	if err := cfg.Check(); err != nil {
		return "", err
	}
	klog.LogToStderr(false)
	klog.SetOutput(ginkgo.GinkgoWriter) // shown with the specs that fail

	ctx, p.cancel = context.WithCancel(ctx)
	p.ended = make(chan error, 1)
	ready := make(chan struct{})
	go func() { p.ended <- app.Run(ctx, cfg, app.Options{Ready: func() { close(ready) }}) }()
	select {
	case <-ready:
		return cfg.Endpoint, nil
	case err := <-p.ended:
		return "", err
	}
}

func (p *inProcess) stop() error {
	p.cancel()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(30 * time.Second):
		return errors.New("app.Run did not return within 30 s of the end of its context")
	}
}
