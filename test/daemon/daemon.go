// Package daemon starts the built hostvol binary as a child process, for demo, bench and tests.
//
// It knows the command line, the sockets and the life of the process, and makes scratch file systems for pools
// (LoopFS). It knows nothing of what the driver answers beyond Probe. Everything is below one directory, and no
// daemon outlives the process that started it.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// maxSocketPath is what sun_path holds, without its final NUL.
const maxSocketPath = 107

// Options say what to start. Zero values are filled in by Start.
type Options struct {
	Binary string        // the hostvol executable; default Binary()
	Dir    string        // existing directory for sockets and the kubelet directory; required
	NodeID string        // default "node-a"
	Args   []string      // after the arguments that Start gives: --pool, --mode, --config, …
	Env    []string      // added to the environment
	Log    io.Writer     // also gets what the daemon prints
	Wait   time.Duration // how long to wait until it is ready; default 30 s
}

// Daemon is a running hostvol, or one that ran.
type Daemon struct {
	options Options
	log     *log
	process *process
	conn    *grpc.ClientConn

	// Startup is the time from exec to the first Probe that said ready, in the latest start.
	Startup time.Duration
}

// Start starts a daemon and returns when Probe says ready. On error nothing runs, and the error carries the end
// of the daemon's log.
func Start(ctx context.Context, options Options) (*Daemon, error) {
	if options.Binary == "" {
		binary, err := Binary(ctx)
		if err != nil {
			return nil, err
		}
		options.Binary = binary
	}
	if options.NodeID == "" {
		options.NodeID = "node-a"
	}
	if options.Wait == 0 {
		options.Wait = 30 * time.Second
	}
	d := &Daemon{options: options, log: &log{tee: options.Log}}
	if path := d.socket("admin.sock"); len(path) > maxSocketPath {
		return nil, fmt.Errorf("start daemon: %s is longer than the %d bytes of a unix socket's path: choose a shorter directory", path, maxSocketPath)
	}
	if err := os.MkdirAll(d.KubeletDir(), 0o755); err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	conn, err := grpc.NewClient(d.Endpoint(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(quickReconnect()))
	if err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	d.conn = conn
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return d, nil
}

// Endpoint is the address of the CSI socket.
func (d *Daemon) Endpoint() string { return "unix://" + d.socket("csi.sock") }

// AdminEndpoint is the address of the administration's socket.
func (d *Daemon) AdminEndpoint() string { return "unix://" + d.socket("admin.sock") }

// KubeletDir is the directory below which targets must lie.
func (d *Daemon) KubeletDir() string { return filepath.Join(d.options.Dir, "kubelet") }

// Conn is the connection to the CSI socket. It reconnects by itself after Restart.
func (d *Daemon) Conn() *grpc.ClientConn { return d.conn }

// PID is the process id of the latest start.
func (d *Daemon) PID() int { return d.process.pid() }

// Log is what all processes of this daemon have printed so far.
func (d *Daemon) Log() string { return d.log.String() }

// CommandLine is what Start executes.
func (d *Daemon) CommandLine() []string {
	return append([]string{
		d.options.Binary, "serve",
		"--endpoint", d.Endpoint(),
		"--admin-endpoint", d.AdminEndpoint(),
		"--node-id", d.options.NodeID,
		"--kubelet-dir", d.KubeletDir(),
	}, d.options.Args...)
}

// Kill ends the daemon with SIGKILL and waits until it is gone. The connection stays for a Restart.
func (d *Daemon) Kill() error {
	if err := d.process.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill daemon: %w", err)
	}
	<-d.process.done
	return nil
}

// Ended waits until the daemon has ended by itself, closes the connection, and tells how it ended: nil for status 0.
func (d *Daemon) Ended(within time.Duration) error {
	defer d.conn.Close()
	select {
	case <-d.process.done:
		return d.process.result()
	case <-time.After(within):
		return fmt.Errorf("the daemon has not ended within %s", within)
	}
}

// Stop asks the daemon to end with SIGTERM, waits, and closes the connection. The error says when it did not end
// in time or with a status other than 0, which includes a data race found in a binary built with -race.
func (d *Daemon) Stop() error {
	defer d.conn.Close()
	if d.process.ended() {
		return nil
	}
	return d.terminate()
}

// Restart ends the daemon with SIGTERM if it runs, and starts it again with the same options.
func (d *Daemon) Restart(ctx context.Context) error {
	if !d.process.ended() {
		if err := d.terminate(); err != nil {
			return err
		}
	}
	return d.start(ctx)
}

// Admin runs one of the binary's administrative commands against the running daemon and returns what it prints.
func (d *Daemon) Admin(ctx context.Context, args ...string) (string, error) {
	args = append(args, "--admin-endpoint", d.AdminEndpoint())
	out, err := exec.CommandContext(ctx, d.options.Binary, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("hostvol %v: %w: %s", args, err, out)
	}
	return string(out), nil
}

func (d *Daemon) socket(name string) string { return filepath.Join(d.options.Dir, name) }

func (d *Daemon) start(ctx context.Context) error {
	begin := time.Now()
	line := d.CommandLine()
	p, err := startProcess(line, d.options.Env, d.log)
	if err != nil {
		return fmt.Errorf("start daemon: %w", err)
	}
	d.process = p
	if err := d.waitReady(ctx); err != nil {
		if killErr := d.Kill(); killErr != nil {
			err = errors.Join(err, killErr)
		}
		return fmt.Errorf("start daemon %v: %w; its log ends:\n%s", line, err, d.log.tail())
	}
	d.Startup = time.Since(begin)
	return nil
}

// waitReady asks Probe until it says ready, the process ends or the time is over.
func (d *Daemon) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.options.Wait)
	defer cancel()
	identity := csi.NewIdentityClient(d.conn)
	for {
		d.conn.ResetConnectBackoff()
		answer, err := identity.Probe(ctx, &csi.ProbeRequest{})
		if err == nil && (answer.GetReady() == nil || answer.GetReady().GetValue()) {
			return nil
		}
		select {
		case <-d.process.done:
			return fmt.Errorf("it ended: %w", d.process.result())
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v, Probe: %w", d.options.Wait, errors.Join(err, ctx.Err()))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (d *Daemon) terminate() error {
	if err := d.process.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop daemon: %w", err)
	}
	select {
	case <-d.process.done:
	case <-time.After(30 * time.Second):
		return errors.Join(fmt.Errorf("stop daemon: still running 30 s after SIGTERM; its log ends:\n%s", d.log.tail()), d.Kill())
	}
	if err := d.process.result(); err != nil {
		return fmt.Errorf("stop daemon: %w; its log ends:\n%s", err, d.log.tail())
	}
	return nil
}
