package crash

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/hostvol/hostvol/pkg/admin"
	"github.com/hostvol/hostvol/pkg/app"
	"github.com/hostvol/hostvol/pkg/config"
	"github.com/hostvol/hostvol/test/daemon"
)

const (
	mebibyte = 1 << 20
	// poolBytes is small beside the filesystem, so that what is available is this less what is promised.
	poolBytes = 1 << 30
	poolName  = "crash"
)

// world is one pool and its daemon, which may be dead at the moment.
type world struct {
	fs      *filesystem
	dir     string // sockets, the kubelet's directory, orders
	pool    string
	origins string // directories to be adopted
	config  config.Config
	daemon  *daemon.Daemon
	admin   *admin.Client
	orders  int
	ids     int
}

// newWorld makes an empty pool and starts its daemon; change may be nil.
func newWorld(t *testing.T, fs *filesystem, change func(*config.Config)) *world {
	t.Helper()
	w := prepareWorld(t, fs, change)
	if err := w.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func prepareWorld(t *testing.T, fs *filesystem, change func(*config.Config)) *world {
	t.Helper()
	on, dir, err := fs.place()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{fs: fs, dir: dir, pool: filepath.Join(on, "pool"), origins: filepath.Join(on, "origins")}
	if err := os.Mkdir(w.origins, 0o755); err != nil {
		t.Fatal(err)
	}
	w.config = config.Config{
		RunDir: filepath.Join(dir, "run"),
		Pools:  []config.Pool{{Name: poolName, Path: w.pool, Limit: &config.Size{Quantity: *resource.NewQuantity(poolBytes, resource.BinarySI)}, Create: true}},
		Trash:  config.Trash{Retention: config.Duration{Duration: time.Hour}},
	}
	if change != nil {
		change(&w.config)
	}
	data, err := json.Marshal(w.config)
	if err == nil {
		err = os.WriteFile(w.configFile(), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.close(t) })
	return w
}

func (w *world) configFile() string { return filepath.Join(w.dir, "config.json") }

func (w *world) start(ctx context.Context) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	w.daemon, err = daemon.Start(ctx, daemon.Options{
		Binary: binary, Dir: w.dir, Args: []string{"--config", w.configFile()}, Env: []string{
			daemonVariable + "=1",
			"GORACE=atexit_sleep_ms=0", // the second that the race detector else waits at each end
		},
	})
	if err == nil {
		err = w.connect(ctx)
	}
	return err
}

// restart starts the daemon again, which has died or is killed now.
func (w *world) restart(ctx context.Context) error {
	if err := w.daemon.Kill(); err != nil {
		return err
	}
	if err := w.daemon.Restart(ctx); err != nil {
		return err
	}
	return w.connect(ctx)
}

// connect makes a new client, since an old one may hold a connection to the daemon that died, and waits for the
// second socket: the daemon is ready when it serves the first.
func (w *world) connect(ctx context.Context) error {
	w.admin = admin.NewClient(strings.TrimPrefix(w.daemon.AdminEndpoint(), "unix://"))
	var err error
	waited := until("for the admin socket", func() bool {
		_, err = w.admin.Pools(ctx)
		return carriedOut(w.dir) || !errors.Is(err, admin.ErrNotRunning)
	})
	return errors.Join(waited, err)
}

// checkOffline is `hostvol check` while no daemon runs.
func (w *world) checkOffline(ctx context.Context) ([]admin.Fault, error) {
	cfg := w.config
	cfg.AdminEndpoint = w.daemon.AdminEndpoint()
	cfg.Complete()
	faults, online, err := app.Check(ctx, cfg)
	if online {
		err = errors.Join(errors.New("a daemon answered that should be dead"), err)
	}
	return faults, err
}

// close ends the daemon, and verifies that it saw no data race in all its lives.
func (w *world) close(t *testing.T) {
	if w.daemon == nil {
		return
	}
	if err := w.daemon.Stop(); err != nil {
		t.Error(err)
	}
	log := w.daemon.Log()
	if _, race, found := strings.Cut(log, "WARNING: DATA RACE"); found {
		t.Errorf("data race in the daemon:%.4000s", race)
	}
	if t.Failed() {
		t.Logf("log of the daemon ends:\n%s", log[max(0, len(log)-8000):])
	}
	mounts, err := mountsBelow(w.dir)
	for i := len(mounts) - 1; err == nil && i >= 0; i-- {
		err = unix.Unmount(mounts[i].point, unix.UMOUNT_NOFOLLOW)
	}
	if err := errors.Join(err, w.detachAll()); err != nil {
		t.Error(err)
	}
}
