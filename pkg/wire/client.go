package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// ErrNotRunning means that no daemon listens on the socket.
var ErrNotRunning = errors.New("no daemon listens there")

// Client asks a running daemon.
type Client struct {
	socket, hint string
	http         *http.Client
}

// NewClient makes a client of the daemon at the socket's path. The hint tells a user
// what to look at when there is none.
func NewClient(socket, hint string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, hint: hint, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Call asks one thing: body goes out as JSON, the answer comes back as a T. What the
// daemon refuses is an error with its text; ErrNotRunning means that it never heard
// of it.
func Call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
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
			err = fmt.Errorf("%w: %s (%w); %s", ErrNotRunning, c.socket, op.Err, c.hint)
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
