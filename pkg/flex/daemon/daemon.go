// Package daemon is how the FlexVolume driver local asks hostvol's daemon for
// volumes: what goes over the socket, and the end that asks. The other end is
// package server.
package daemon

import (
	"context"
	"net/http"

	"github.com/hostvol/hostvol/pkg/wire"
)

// Mount asks for a volume at a target. Either Volume or Path is given.
type Mount struct {
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	// Volume is the name or the handle of a volume of a pool. It is made if there is
	// none, when Bytes is not 0. Pool is "" for any.
	Volume string `json:"volume,omitempty"`
	Pool   string `json:"pool,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
	// FSType is "" for whatever it has.
	FSType string `json:"fsType,omitempty"`
	// Path is that of a directory below an allowed root.
	Path string `json:"path,omitempty"`
}

// Unmount asks that nothing be mounted at a target.
type Unmount struct {
	Target string `json:"target"`
}

// Expand asks for more bytes.
type Expand struct {
	Volume string `json:"volume"`
	Bytes  int64  `json:"bytes"`
}

// None is the answer when there is nothing to tell.
type None struct{}

// The methods.
const (
	MountPath   = "/v1/flex/mount"
	UnmountPath = "/v1/flex/unmount"
	ExpandPath  = "/v1/flex/expand"
)

// Client asks a running daemon. A call that ends early leaves the daemon to end
// what it does; a repeat finds it.
type Client struct{ wire *wire.Client }

// NewClient makes a client of the daemon at the socket's path.
func NewClient(socket string) *Client {
	return &Client{wire.NewClient(socket, "is hostvol running on this node, with flex in its configuration? Else install the driver with the right --socket")}
}

// Mount mounts a volume at a target. A repeat finds it and succeeds.
func (c *Client) Mount(ctx context.Context, m Mount) error {
	return c.call(ctx, MountPath, m)
}

// Unmount takes what is mounted off a target, and lets go what it was attached by.
func (c *Client) Unmount(ctx context.Context, target string) error {
	return c.call(ctx, UnmountPath, Unmount{target})
}

// Expand grows a volume, with its filesystem. One that is large enough stays.
func (c *Client) Expand(ctx context.Context, e Expand) error {
	return c.call(ctx, ExpandPath, e)
}

func (c *Client) call(ctx context.Context, path string, body any) error {
	_, err := wire.Call[None](ctx, c.wire, http.MethodPost, path, body)
	return err
}
