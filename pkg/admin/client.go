package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// ErrNotRunning means that no daemon listens on the socket.
var ErrNotRunning = errors.New("no daemon listens there")

// Client asks a running daemon.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client of the daemon at the socket's path.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Pools lists the configured pools.
func (c *Client) Pools(ctx context.Context) ([]Pool, error) {
	return call[[]Pool](ctx, c, http.MethodGet, "/v1/pools", nil)
}

// Volumes lists all volumes.
func (c *Client) Volumes(ctx context.Context) ([]Volume, error) {
	return call[[]Volume](ctx, c, http.MethodGet, "/v1/volumes", nil)
}

// Snapshots lists all snapshots.
func (c *Client) Snapshots(ctx context.Context) ([]Snapshot, error) {
	return call[[]Snapshot](ctx, c, http.MethodGet, "/v1/snapshots", nil)
}

// Trash lists what was deleted and not yet purged.
func (c *Client) Trash(ctx context.Context) ([]TrashEntry, error) {
	return call[[]TrashEntry](ctx, c, http.MethodGet, "/v1/trash", nil)
}

// Restore brings back a deleted volume or snapshot.
func (c *Client) Restore(ctx context.Context, name string) (Restored, error) {
	return call[Restored](ctx, c, http.MethodPost, "/v1/trash/"+url.PathEscape(name)+"/restore", nil)
}

// Purge removes one trash entry for good, or all for "".
func (c *Client) Purge(ctx context.Context, name string) (Purged, error) {
	path := "/v1/trash/purge"
	if name != "" {
		path = "/v1/trash/" + url.PathEscape(name) + "/purge"
	}
	return call[Purged](ctx, c, http.MethodPost, path, nil)
}

// Adopt makes a volume of a directory.
func (c *Client) Adopt(ctx context.Context, a Adoption) (Volume, error) {
	return call[Volume](ctx, c, http.MethodPost, "/v1/adopt", a)
}

// Release undoes an adoption.
func (c *Client) Release(ctx context.Context, name string) (Released, error) {
	return call[Released](ctx, c, http.MethodPost, "/v1/volumes/"+url.PathEscape(name)+"/release", nil)
}

// Check has the daemon check its pools.
func (c *Client) Check(ctx context.Context) ([]Fault, error) {
	return call[[]Fault](ctx, c, http.MethodGet, "/v1/check", nil)
}

func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var answer T
	data, err := json.Marshal(body)
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://hostvol"+path, bytes.NewReader(data))
	if err != nil {
		return answer, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			err = fmt.Errorf("%w: %s (%w); is the daemon running, and --admin-endpoint the same?", ErrNotRunning, c.socket, op.Err)
		}
		return answer, err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if resp.StatusCode != http.StatusOK {
		var f failure
		if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Error == "" {
			return answer, fmt.Errorf("the daemon answered %s", resp.Status)
		}
		return answer, errors.New(f.Error)
	}
	return answer, json.NewDecoder(resp.Body).Decode(&answer)
}
