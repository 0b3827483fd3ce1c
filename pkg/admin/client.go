package admin

import (
	"context"
	"net/http"
	"net/url"

	"github.com/hostvol/hostvol/pkg/wire"
)

// ErrNotRunning means that no daemon listens on the socket.
var ErrNotRunning = wire.ErrNotRunning

// Client asks a running daemon.
type Client struct{ wire *wire.Client }

// NewClient makes a client of the daemon at the socket's path.
func NewClient(socket string) *Client {
	return &Client{wire.NewClient(socket, "is the daemon running, and --admin-endpoint the same?")}
}

// Pools lists the configured pools.
func (c *Client) Pools(ctx context.Context) ([]Pool, error) {
	return wire.Call[[]Pool](ctx, c.wire, http.MethodGet, "/v1/pools", nil)
}

// Volumes lists all volumes.
func (c *Client) Volumes(ctx context.Context) ([]Volume, error) {
	return wire.Call[[]Volume](ctx, c.wire, http.MethodGet, "/v1/volumes", nil)
}

// Snapshots lists all snapshots.
func (c *Client) Snapshots(ctx context.Context) ([]Snapshot, error) {
	return wire.Call[[]Snapshot](ctx, c.wire, http.MethodGet, "/v1/snapshots", nil)
}

// Trash lists what was deleted and not yet purged.
func (c *Client) Trash(ctx context.Context) ([]TrashEntry, error) {
	return wire.Call[[]TrashEntry](ctx, c.wire, http.MethodGet, "/v1/trash", nil)
}

// Restore brings back a deleted volume or snapshot.
func (c *Client) Restore(ctx context.Context, name string) (Restored, error) {
	return wire.Call[Restored](ctx, c.wire, http.MethodPost, "/v1/trash/"+url.PathEscape(name)+"/restore", nil)
}

// Purge removes one trash entry for good, or all for "".
func (c *Client) Purge(ctx context.Context, name string) (Purged, error) {
	path := "/v1/trash/purge"
	if name != "" {
		path = "/v1/trash/" + url.PathEscape(name) + "/purge"
	}
	return wire.Call[Purged](ctx, c.wire, http.MethodPost, path, nil)
}

// Adopt makes a volume of a directory.
func (c *Client) Adopt(ctx context.Context, a Adoption) (Volume, error) {
	return wire.Call[Volume](ctx, c.wire, http.MethodPost, "/v1/adopt", a)
}

// Release undoes an adoption.
func (c *Client) Release(ctx context.Context, name string) (Released, error) {
	return wire.Call[Released](ctx, c.wire, http.MethodPost, "/v1/volumes/"+url.PathEscape(name)+"/release", nil)
}

// Inspect mounts a volume or snapshot read-only for a person to look into.
func (c *Client) Inspect(ctx context.Context, name string, snapshot bool) (Inspection, error) {
	return wire.Call[Inspection](ctx, c.wire, http.MethodPost, inspectionOf(name, snapshot), nil)
}

// EndInspection ends that.
func (c *Client) EndInspection(ctx context.Context, name string, snapshot bool) error {
	_, err := wire.Call[Inspection](ctx, c.wire, http.MethodDelete, inspectionOf(name, snapshot), nil)
	return err
}

func inspectionOf(name string, snapshot bool) string {
	kind := "volumes"
	if snapshot {
		kind = "snapshots"
	}
	return "/v1/" + kind + "/" + url.PathEscape(name) + "/inspection"
}

// Delete moves a volume to the trash, by its handle or its name. One that is not
// there is an error: an administrator has mistyped it.
func (c *Client) Delete(ctx context.Context, name string) (Deleted, error) {
	return wire.Call[Deleted](ctx, c.wire, http.MethodDelete, "/v1/volumes/"+url.PathEscape(name), nil)
}

// Check has the daemon check its pools.
func (c *Client) Check(ctx context.Context) ([]Fault, error) {
	return wire.Call[[]Fault](ctx, c.wire, http.MethodGet, "/v1/check", nil)
}
