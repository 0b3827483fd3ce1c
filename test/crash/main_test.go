package crash

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/app"
	"github.com/hostvol/hostvol/pkg/config"
)

// daemonVariable in the environment makes this binary the daemon.
const daemonVariable = "HOSTVOL_CRASH_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(daemonVariable) == "" {
		os.Exit(m.Run())
	}
	if err := serve(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "daemon:", err)
		os.Exit(1)
	}
}

// serve is `hostvol serve` with the hook. It understands the arguments that package daemon gives.
func serve(args []string) error {
	var over config.Config
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	file := f.String("config", "", "")
	f.StringVar(&over.Endpoint, "endpoint", "", "")
	f.StringVar(&over.AdminEndpoint, "admin-endpoint", "", "")
	f.StringVar(&over.NodeID, "node-id", "", "")
	f.StringVar(&over.KubeletDir, "kubelet-dir", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	cfg, err := config.Read(*file)
	if err != nil {
		return err
	}
	cfg.Endpoint, cfg.AdminEndpoint, cfg.NodeID, cfg.KubeletDir = over.Endpoint, over.AdminEndpoint, over.NodeID, over.KubeletDir
	cfg.Complete()
	if err := cfg.Check(); err != nil {
		return err
	}
	verbose := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(verbose)
	if err := verbose.Set("v", "2"); err != nil {
		return err
	}
	hook := newHook(filepath.Dir(*file))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return app.Run(klog.NewContext(ctx, klog.Background()), cfg, app.Options{Step: hook.step})
}
