package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"

	"github.com/hostvol/hostvol/pkg/config"
	"github.com/hostvol/hostvol/pkg/host/umask"
	"github.com/hostvol/hostvol/pkg/metrics"
)

// drain is how long a stop waits for calls that are under way.
const drain = 20 * time.Second

// group is the servers of the process.
type group struct {
	failed chan<- error
	stops  []func(context.Context)
}

// grpc serves on a unix socket of mode 0600.
func (g *group) grpc(endpoint string, register func(grpc.ServiceRegistrar), options ...grpc.ServerOption) error {
	listener, err := listen(endpoint)
	if err != nil {
		return err
	}
	// Workers keep their stacks, which a goroutine for each call would have to
	// grow each time.
	server := grpc.NewServer(append(options, grpc.NumStreamWorkers(workers()))...)
	register(server)
	g.run(func() error { return server.Serve(listener) }, func(ctx context.Context) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			server.GracefulStop()
		}()
		select {
		case <-done:
		case <-ctx.Done():
			server.Stop()
		}
	})
	return nil
}

// workers is how many calls are served without a new goroutine.
func workers() uint32 { return uint32(4 * runtime.GOMAXPROCS(0)) } //nolint:gosec // small

// httpUnix serves on a unix socket of mode 0600.
func (g *group) httpUnix(endpoint string, server *http.Server) error {
	listener, err := listen(endpoint)
	if err != nil {
		return err
	}
	g.http(listener, server)
	return nil
}

func (g *group) httpTCP(address string, handler http.Handler) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	g.http(listener, &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second})
	return nil
}

func (g *group) http(listener net.Listener, server *http.Server) {
	serve := func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
	g.run(serve, func(ctx context.Context) { _ = server.Shutdown(ctx) })
}

func (g *group) run(serve func() error, stop func(context.Context)) {
	g.stops = append(g.stops, stop)
	go func() {
		if err := serve(); err != nil {
			select {
			case g.failed <- err:
			default:
			}
		}
	}()
}

// stop ends the servers, the last one first, and waits for calls under way. It
// tells whether all of them have ended.
func (g *group) stop(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	for _, stop := range slices.Backward(g.stops) {
		stop(ctx)
	}
	return ctx.Err() == nil
}

// listen makes a unix socket that only root can open. One that a killed daemon
// left is replaced; one that somebody listens on is not.
func listen(endpoint string) (net.Listener, error) {
	path, err := config.Socket(endpoint)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: another process listens there; is a second daemon running?", path)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s exists and is no socket; remove it", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// Made under another name, and moved over the old one when it listens.
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var listener *net.UnixListener
	umask.With(0o177, func() { listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"}) })
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err := os.Rename(temp, path); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &socket{listener, path}, nil
}

// socket removes its file when it is closed.
type socket struct {
	*net.UnixListener
	path string
}

// Close implements net.Listener.
func (s *socket) Close() error {
	return errors.Join(s.UnixListener.Close(), os.Remove(s.path))
}

// metricsHandler serves /metrics and /healthz. The latter is for a liveness
// probe, and touches no disk: a restart does not mend one. A pool's trouble is
// in the metrics.
func metricsHandler(m *metrics.Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	return mux
}
