package sanity

import (
	"context"

	"github.com/hostvol/hostvol/test/daemon"
)

// drivers gives a fresh driver of each kind, by the name that specs carry.
func drivers() map[string]driver {
	return map[string]driver{
		"binary": &child{},
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
